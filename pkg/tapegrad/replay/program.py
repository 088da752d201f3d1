"""The flat program: buffers, and steps that are kernel calls on them.

A recording becomes a `Program`, passes rewrite it, and `layout.py` lays it out as machine words. Everything
here is plain data; a pass is a function from a program to a program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from .._layout import (
    FRAME_ACC,
    FRAME_GX,
    FRAME_GX_N,
    FRAME_N,
    FRAME_OUT,
    FRAME_STEP,
    FRAME_WORDS,
    KIND_POINTWISE,
    KIND_STRUCTURED,
    LAYOUT_FLAT,
)
from ..dtypes import DTYPES
from ..ops.registry import OPS, Op

__all__ = ["ARGUMENT", "CONSTANT", "FRESH", "GRADIENT", "INSIDE", "OUTSIDE", "Buffer", "Operand", "Program", "Step"]

# Where a buffer's memory comes from at a replay.
INSIDE = "inside"  # the program's own arena
FRESH = "fresh"  # a new storage each time: the caller gets it (a result, a gradient, a saved value)
ARGUMENT = "argument"  # a tensor argument
GRADIENT = "gradient"  # the gradient that a leaf has when the program starts
OUTSIDE = "outside"  # a tensor from outside: parameters, optimizer state, closures
CONSTANT = "constant"  # bytes that Python computed while recording; the program writes none of it


@dataclass
class Buffer:
    """A piece of memory; `source` is the argument's number, the tensor, the leaf, or the constant's bytes."""

    number: int
    kind: str
    nbytes: int
    source: Any = None
    storage: int = 0  # of the recording; meaningless afterwards


class Operand(NamedTuple):
    """An address: `offset` bytes into a buffer."""

    buffer: int
    offset: int


T = TypeVar("T")


class once(Generic[T]):
    """`functools.cached_property` without its lock, which takes longer than what is kept here."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.name = compute.__name__

    def __get__(self, step: Any, kind: Any = None) -> T:
        found = step.__dict__[self.name] = self.compute(step)
        return found


@dataclass
class Step:
    """One kernel call.

    `role` is 0 for an op's value and 1 + k for its derivative by input k; -1 for a kernel that a pass has
    generated. `frame` has the words that are not addresses, `operands` those that are; `reads` and `writes`
    name the words among them that the kernel reads and writes (both for a gradient that is added to).
    `scalars` are inputs given by value. `table` are addresses that the kernel finds in the words at FRAME_EXT,
    by their place there (a list of inputs at FRAME_IN for variadic ops), with what is read and written of them.
    """

    op: int
    role: int
    layout: int
    dt: int
    kernel: int
    items: int
    frame: tuple[int, ...]
    operands: dict[int, Operand]
    reads: frozenset[int]
    writes: frozenset[int]
    words: bytes | None = None
    params: bytes | None = None
    scalars: tuple[tuple[int, bytes], ...] = ()
    table: dict[int, Operand] = field(default_factory=dict)
    table_reads: frozenset[int] = frozenset()
    table_writes: frozenset[int] = frozenset()
    table_size: int = 0  # words of the table; 0: the table's places are places in `words`
    update: Any = None  # (numbers, group): params are numbers(group), read again at each replay
    plan: tuple[int, int, int, int] | None = None  # of structured ops: items, grain, phases, bytes of scratch
    generator: Any = None  # the kernel draws from it; FRAME_EXT is its state
    at: int = 0  # the step's number in the recording: versions, if a kernel fails, go by it
    line: Any = None  # (code, offset) of the user's line
    handled: bool = False  # user code does something about its error
    name: str = ""

    @property
    def declaration(self) -> Op | None:
        return OPS[self.op] if self.op >= 0 else None

    @property
    def label(self) -> str:
        """The op's name as a table of the program shows it."""
        if self.name:
            return self.name
        name = OPS[self.op].name
        if self.role == 0:
            return name
        inputs = OPS[self.op].inputs
        return f"{name}.d{inputs[self.role - 1] if self.role - 1 < len(inputs) else self.role - 1}"

    @property
    def can_fail(self) -> bool:
        """Whether the kernel may end in an error (an index out of range)."""
        return self.op >= 0 and bool(OPS[self.op].errors)

    @property
    def pointwise(self) -> bool:
        return self.op >= 0 and OPS[self.op].kind == KIND_POINTWISE

    @property
    def structured(self) -> bool:
        return self.op < 0 or OPS[self.op].kind == KIND_STRUCTURED

    @property
    def flat(self) -> bool:
        """A pointwise call in which every operand is contiguous or one element."""
        return self.pointwise and self.layout == LAYOUT_FLAT

    @property
    def target(self) -> Operand:
        """Where the (first) result goes."""
        word = FRAME_OUT if self.role <= 0 else FRAME_GX
        return self.operands[word]

    @property
    def elements(self) -> int:
        """Elements of the result: of the op's, or of the gradient that a derivative makes."""
        return self.frame[FRAME_N] if self.role <= 0 else self.frame[FRAME_GX_N]

    @property
    def adds(self) -> bool:
        """Whether the kernel adds to what is there."""
        return self.role > 0 and self.frame[FRAME_ACC] == 1

    def steps_with(self, k: int) -> bool:
        """Whether input k advances with the result (flat layout: has its size; else it is one element)."""
        return self.frame[FRAME_STEP + k] == 1

    def read_operands(self) -> list[Operand]:
        return [self.operands[w] for w in self.reads] + [self.table[p] for p in self.table_reads]

    def written_operands(self) -> list[Operand]:
        return [self.operands[w] for w in self.writes] + [self.table[p] for p in self.table_writes]

    @once
    def read_buffers(self) -> frozenset[int]:
        return frozenset([o.buffer for o in self.read_operands()])

    @once
    def written_buffers(self) -> frozenset[int]:
        return frozenset([o.buffer for o in self.written_operands()])

    @once
    def touched_buffers(self) -> frozenset[int]:
        return self.read_buffers | self.written_buffers

    def with_operands(self, move: dict[int, Operand]) -> Step:
        """The step with whole buffers exchanged: buffer number -> where its first byte lies now."""
        if not any(o.buffer in move for o in (*self.operands.values(), *self.table.values())):
            return self

        def moved(o: Operand) -> Operand:
            to = move.get(o.buffer)
            return o if to is None else Operand(to.buffer, to.offset + o.offset)

        made = object.__new__(Step)  # as dataclasses.replace does, in a tenth of the time
        made.__dict__ = {k: v for k, v in self.__dict__.items() if k not in DERIVED}
        made.operands = {w: moved(o) for w, o in self.operands.items()}
        made.table = {p: moved(o) for p, o in self.table.items()}
        return made


DERIVED = ("read_buffers", "written_buffers", "touched_buffers")


@dataclass
class Program:
    """Buffers by number, and the steps in order.

    `keep` are the buffers whose content somebody sees when the program has run, beside those from outside;
    `effects` say what else it does (see effects.py).
    """

    buffers: dict[int, Buffer]
    steps: list[Step]
    keep: set[int] = field(default_factory=set)
    effects: Any = None

    def observed(self, number: int) -> bool:
        """Whether the content of a buffer can be seen from outside after the run."""
        return self.buffers[number].kind not in (INSIDE, CONSTANT) or number in self.keep

    def new_buffer(self, nbytes: int, kind: str = INSIDE, source: Any = None) -> Buffer:
        number = max(self.buffers, default=-1) + 1
        self.buffers[number] = Buffer(number, kind, nbytes, source)
        return self.buffers[number]

    def copy(self) -> Program:
        return Program(dict(self.buffers), list(self.steps), set(self.keep), self.effects)

    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """First and last step that touch each buffer."""
        found: dict[int, tuple[int, int]] = {}
        for i, step in enumerate(self.steps):
            for number in step.touched_buffers:
                found[number] = (found[number][0] if number in found else i, i)
        return found


def itemsize(dt: int) -> int:
    return DTYPES[dt].itemsize


def blank_frame() -> list[int]:
    return [0] * FRAME_WORDS
