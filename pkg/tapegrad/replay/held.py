"""Arguments that are known by identity: held so that it stays theirs, and let go when nobody else has them."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["Held"]

MOST = 32  # held before it is seen which of them live


class Held:
    """The objects in the forms of a compiled function's calls.

    Programs hold what they were recorded with, so nothing tells that an object is dead to everybody else but
    letting go of its programs. That is done whenever there are twice as many as were found alive the last time.
    """

    def __init__(self) -> None:
        self._objects: dict[int, Any] = {}
        self._most = MOST

    @property
    def full(self) -> bool:
        """Whether it is time to see which live."""
        return len(self._objects) >= self._most

    def add(self, objects: Iterable[Any]) -> None:
        for o in objects:
            self._objects[id(o)] = o

    def any_in(self, form: Any) -> bool:
        """Whether a form has one of the objects in it."""
        return any(i in self._objects for i in identities(form))

    def keep(self, forms: Iterable[Any]) -> None:
        """Lets go of what no form has in it."""
        named = {i for form in forms for i in identities(form)}
        self._objects = {i: o for i, o in self._objects.copy().items() if i in named}

    def probes(self) -> list[Any]:
        """What tells later whether the objects live: weak references, or objects that allow none."""
        found = []
        for o in self._objects.copy().values():  # another thread may add to them
            found.append(o)
            with contextlib.suppress(TypeError):
                found[-1] = weakref.ref(o)
        return found

    def look_again(self, probes: list[Any]) -> None:
        """Counts the living, when all programs of theirs are gone."""
        gc.collect()
        living = sum(not isinstance(p, weakref.ref) or p() is not None for p in probes)
        self._most = max(MOST, 2 * living)


def identities(form: Any) -> Iterator[int]:
    """The identities in a form as `flatten` makes it."""
    if isinstance(form, tuple):
        if len(form) == 2 and form[0] == "object":
            yield form[1]
        for part in form:
            yield from identities(part)
