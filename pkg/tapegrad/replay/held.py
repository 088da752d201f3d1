"""What programs keep alive, and letting go of it when nobody else has it.

Arguments that are known by identity are held so that it stays theirs; what guards and programs name is held by them.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from .._tensor import Tensor
from . import _look
from .program import Program

__all__ = ["Held"]

MOST = 32  # held before it is seen which of them live
MUCH = 64 << 20  # bytes that programs name, before it is seen what of that lives

Probes: TypeAlias = tuple[list[Any], list["weakref.ref[Tensor]"]]


class Held:
    """The objects in the forms of a compiled function's calls, and the memory that its programs name.

    Programs hold what they were recorded with, so nothing tells that an object is dead to everybody else but
    letting go of its programs. That is done whenever there is twice as much as was found alive the last time.
    """

    def __init__(self) -> None:
        self._objects: dict[int, Any] = {}
        self._most = MOST
        self._memory: dict[int, int] = {}  # named since then: bytes, by where it starts
        self._nbytes = 0
        self._most_bytes = MUCH

    @property
    def full(self) -> bool:
        """Whether it is time to see which objects live."""
        return len(self._objects) >= self._most

    def add(self, objects: Iterable[Any]) -> None:
        for o in objects:
            self._objects[id(o)] = o

    def weigh(self, program: Program) -> bool:
        """Notes the memory that a new program names; whether it is time to see what of it all lives."""
        for start, nbytes in memories(program.effects.guarded):
            self._nbytes += nbytes - self._memory.get(start, 0)
            self._memory[start] = nbytes
        return self._nbytes > self._most_bytes

    def any_in(self, form: Any) -> bool:
        """Whether a form has one of the objects in it."""
        return any(i in self._objects for i in identities(form))

    def keep(self, forms: Iterable[Any]) -> None:
        """Lets go of what no form has in it."""
        named = {i for form in forms for i in identities(form)}
        self._objects = {i: o for i, o in self._objects.copy().items() if i in named}

    def probes(self, programs: Iterable[Program]) -> Probes:
        """What tells later what lives: weak references, or objects that allow none."""
        objects = []
        for o in self._objects.copy().values():  # another thread may add to them
            objects.append(o)
            with contextlib.suppress(TypeError):
                objects[-1] = weakref.ref(o)
        tensors = {id(t): t for p in programs for t in p.effects.guarded}
        return objects, [weakref.ref(t) for t in tensors.values()]

    def look_again(self, probes: Probes) -> None:
        """Counts what lives, when all programs that named it are gone."""
        gc.collect()
        objects, tensors = probes
        living = sum(not isinstance(p, weakref.ref) or p() is not None for p in objects)
        self._most = max(MOST, 2 * living)
        alive = dict(memories([t for p in tensors if (t := p()) is not None]))
        self._most_bytes = max(MUCH, 2 * sum(alive.values()))
        self._memory, self._nbytes = {}, 0


def memories(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Where the memory of each tensor, and of its gradient, starts, and its bytes."""
    for t in tensors:
        gradient = _look.gradient_of(t)
        for one in (t,) if gradient is None else (t, gradient):
            _, start, nbytes, _, _ = _look.memory_of(one)
            yield start, nbytes


def identities(form: Any) -> Iterator[int]:
    """The identities in a form as `flatten` makes it."""
    if isinstance(form, tuple):
        if len(form) == 2 and form[0] == "object":
            yield form[1]
        for part in form:
            yield from identities(part)
