"""The memory in which programs work: the programs of one function share it, since one of them runs at a time.

Data of many sizes has a program for each size, and none of them needs its room while another one runs. Threads run
at the same time, so each has rooms of its own.
"""

from __future__ import annotations

import threading

from ..tape import _storage
from . import _plans

__all__ = ["Rooms"]

ALIGN = 64
MUCH = 32 << 20  # bytes


class Rooms:
    """Gives each program a room that is large enough, an old one where that serves.

    Each new room is half as large again as the largest before, so that all together stay within three times that.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, list[_plans.Arena]] = {}

    def take(self, nbytes: int) -> _plans.Arena:
        """A room of at least so many bytes in which no program runs now."""
        mine = self._by_thread.setdefault(threading.get_ident(), [])
        found = min((r for r in mine if r.nbytes >= nbytes and not r.busy), key=lambda r: r.nbytes, default=None)
        if found is None:
            if nbytes >= MUCH:
                _storage.empty_cache()  # what the recordings worked in waits there, and a replay needs none of it
            largest = max((r.nbytes for r in mine), default=0)
            found = _plans.Arena(max(nbytes, largest * 3 // 2 if largest < nbytes else nbytes, ALIGN))
            mine.append(found)
        return found
