"""What a program does beside its arithmetic: gradients, versions, results, records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import _plans

__all__ = ["PLAIN", "Effects", "Leaf", "Made", "Record", "same"]

PLAIN = (int, float, complex, str, bytes, bool, type(None))  # values that are compared, and returned, as they are

EXACT = (*PLAIN, tuple, frozenset)


def same(a: Any, b: Any) -> bool:
    """Whether two values are plain and equal, so that a program recorded with one serves the other."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b != 0.0 or repr(a) == repr(b)  # -0.0 is not 0.0, and nan is nan
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if type(a) not in EXACT and getattr(a, "__dict__", None):
        return False  # they may differ in their attributes
    if isinstance(a, PLAIN):
        return bool(a == b)
    if isinstance(a, (tuple, frozenset)):
        return len(a) == len(b) and all(x is y or same(x, y) for x, y in zip(a, b, strict=True))
    return False


class Leaf(NamedTuple):
    """A leaf whose gradient the code looks at or puts.

    `tensor` may be an Argument. `entry`: None if what it was before makes no difference, else whether there was
    one.
    """

    tensor: Any
    entry: bool | None

    def owner(self, arguments: tuple[Any, ...]) -> Any:
        """The leaf itself, in a call with these tensor arguments."""
        return arguments[self.tensor.number] if isinstance(self.tensor, _plans.Argument) else self.tensor


class Made(NamedTuple):
    """A tensor to make: over a buffer, or (buffer -1) `over` a tensor or argument; its history is a record."""

    buffer: int
    offset: int
    dt: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    record: int
    requires: bool
    inference: bool
    marks: int  # how it was made as a view
    over: Any
    base: Any  # of a view: the tensor, Root or Made that it is a view of, where the caller has it


class Record(NamedTuple):
    """A record to make; see `_plans.Stamp`."""

    words: bytes
    ext: bytes | None
    edges: tuple[tuple[int, int, Any], ...]
    saved: tuple[tuple[int, Any, Any, int, int], ...]


@dataclass
class Effects:
    """All of it. `exits` per leaf: None as it was, False None, or Made.

    `events` tell what has become of gradients before a step that fails: (the first step that sees it, leaf, False, Made
    or None), or (step, -1 - argument, True) where an argument begins to require gradients.
    """

    leaves: list[Leaf]
    exits: list[Any]
    events: list[tuple[int, int, Any]]
    result: Any
    records: list[Record]
    guarded: list[Any]
    versions: list[tuple[Any, int, tuple[int, ...]]]  # what, how often, by the steps at which places
    fresh_versions: dict[int, tuple[int, tuple[int, ...]]]  # by buffer
    fixed_arguments: frozenset[int]
    generators: list[Any] = field(default_factory=list)
    options: tuple[Any, ...] = ()  # tensors among optimizers' options, whose values the cells hold
    fixed: tuple[tuple[int, Any], ...] = ()  # arguments that must be these tensors
    doubtful: tuple[tuple[int, Any], ...] = ()  # arguments that the function reaches in another way too
    apart: tuple[int, ...] = ()  # arguments that must be none of `guarded`
    twice: int = 0  # pairs of arguments that are one object
    turned_on: tuple[int, ...] = ()  # arguments that the code makes require gradients
    switches: tuple[tuple[int, Any, bool], ...] = ()  # (place in the recording, tensor or argument, requires_grad)
    modes: tuple[tuple[int, Any, bool], ...] = ()  # (place in the recording, module, its training mode from there on)
    kept: tuple[tuple[int, int], ...] = ()  # buffers, and where they are kept for steps whose errors are handled
    together: tuple[tuple[int, int], ...] = ()  # leaves whose gradients lie in one memory, which is changed
    relations: tuple[tuple[int, int, int, bool], ...] = ()  # arguments i, j share memory: bytes between, same object
