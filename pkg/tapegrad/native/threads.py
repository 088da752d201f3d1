"""Threads: how many, and running a kernel's chunks over them.

There is one parallel function in the library (`parallel.py`), made by Numba at the first region
that is worth it. Chunks depend on the kernel's grain alone, never on the number of threads, and the
status that counts is that of the first failing chunk, so results do not depend on them either.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from .._config import add_section, settings
from .._interrupts import held_back
from .._layout import FRAME_ERROR, FRAME_WORDS
from . import _cpu
from .kernels import compile_kernel
from .symbols import call_int, call_kernel, pointer

__all__ = ["get_num_threads", "run_parallel", "set_num_threads"]

T = dtypes.int64
_SLOT = FRAME_WORDS + 1  # words of a chunk: its status, its own copy of the frame
_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)

_asked: int | None = settings.num_threads
_forked = False
_listeners: list[Callable[[int], None]] = []
_count = 1  # the number in effect


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pool_size() -> int:
    """Threads Numba's pool has or will have; fixed when Numba is imported."""
    numba = sys.modules.get("numba")
    if numba is not None and hasattr(numba, "config"):
        return int(numba.config.NUMBA_NUM_THREADS)
    asked = os.environ.get("NUMBA_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else available_cores()


def get_num_threads() -> int:
    """Threads that a kernel may use; 1 in a forked child, where OpenMP cannot run.

    >>> from tapegrad import native
    >>> native.get_num_threads() >= 1
    True
    """
    return _count


def set_num_threads(count: int) -> None:
    """Use at most `count` threads, and at most as many as there are cores for this process.

    RuntimeError if `count` is not a positive integer. Results do not depend on it.

    >>> from tapegrad import native
    >>> native.set_num_threads(native.get_num_threads())
    """
    global _asked
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {count!r}")
    _asked = count
    _decide()


def when_changed(listener: Callable[[int], None]) -> None:
    """Call `listener` with the number of threads now and whenever it changes, also in a forked child."""
    _listeners.append(listener)
    listener(_count)


def _decide() -> None:
    global _count
    size = 1 if _forked else _pool_size()
    _count = size if _asked is None else min(_asked, size)
    for listener in _listeners:
        listener(_count)


def _run_chunks(f, lo, hi):  # type: ignore[no-untyped-def]
    """A kernel that runs chunks lo to hi of another: f = [kernel, frame, items, grain, slots or 0, flush, word].

    `flush` is 0, or a function that is called with `word` before the chunks and with what it returned after them.
    """
    kernel = f[0]
    items = f[2]
    grain = f[3]
    slots = f[4]
    flush = f[5]
    before = call_int(flush, f[6]) if flush != 0 else 0
    for chunk in range(lo, hi):
        start = chunk * grain
        stop = min(start + grain, items)
        frame = f[1]
        if slots == 0:
            status = call_kernel(kernel, frame, start, stop)
            if status != 0:
                return status
        else:
            # A frame of its own, so that two failing chunks do not mix their error details.
            own = pointer(slots + chunk * (8 * _SLOT), T)
            shared = pointer(frame, T)
            for word in range(FRAME_WORDS):
                own[1 + word] = shared[word]
            own[0] = call_kernel(kernel, slots + chunk * (8 * _SLOT) + 8, start, stop)
    if flush != 0:
        call_int(flush, before)
    return 0


def run_parallel(kernel: int, frame: int, items: int, grain: int) -> int:
    """Run work items [0, items) of a kernel in chunks of `grain`, over threads if there is a use.

    `kernel` is an address from `compile_kernel`, `frame` that of FRAME_WORDS int64 words. The GIL is
    released meanwhile. Returns the status of the first chunk, in order, that is not 0, with its
    details in the frame's FRAME_ERROR words; chunks after it may or may not have run.
    """
    if items <= grain:
        return int(_CALL(kernel)(frame, 0, items))
    chunks = -(-items // grain)
    words = (ctypes.c_int64 * 7)(kernel, frame, items, grain)
    driver = _chunk_driver()
    if get_num_threads() == 1:
        return int(_CALL(driver)(ctypes.addressof(words), 0, chunks))
    slots = np.empty(chunks * _SLOT, np.int64)
    words[4] = slots.ctypes.data
    # Always: a thread of the pool keeps what was set in the thread that started it.
    words[5], words[6] = _cpu.flush_function(), _cpu.flush_word()
    _pool().run(driver, ctypes.addressof(words), chunks, get_num_threads())
    statuses = slots[::_SLOT]
    if not statuses.any():
        return 0
    first = int(np.flatnonzero(statuses)[0])
    details = (ctypes.c_int64 * FRAME_WORDS).from_address(frame)
    for word in (FRAME_ERROR, FRAME_ERROR + 1):
        details[word] = int(slots[first * _SLOT + 1 + word])
    return int(statuses[first])


_parallel: Any = None


def _pool() -> Any:
    """The module of the parallel function, which imports Numba."""
    global _parallel
    if _parallel is None:
        with held_back():
            from . import parallel

            _parallel = parallel
    return _parallel


_driver: int | None = None


def _chunk_driver() -> int:
    global _driver
    if _driver is None:
        _driver = compile_kernel(_run_chunks, {}, "run_chunks")
    return _driver


def _after_fork() -> None:
    global _forked
    _forked = True
    _decide()


def _configuration() -> dict[str, object]:
    return {
        "count": f"{get_num_threads()} of {available_cores()} cores",
        "layer": "not started yet" if _parallel is None else _parallel.layer(),
    }


_decide()
add_section("threads", _configuration)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
