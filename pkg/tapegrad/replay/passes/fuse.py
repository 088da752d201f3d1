"""Fusion: steps on the same elements become one kernel, which keeps what lies between them in registers.

Steps that make or read each other's elements are joined as long as no other step has to run between them.
What is stored is what somebody still reads. A chain is worth a kernel

 - if the kernel exists already (in memory or in the object cache) and saves SMALL_GAIN nanoseconds a run, or
 - if all its places in the program together save MIN_GAIN nanoseconds a run, since compiling a new
   structure takes 0.3 to 1 s, once.

The saving is estimated from the calls and the bytes that go away.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace

from ...dtypes import DTYPES
from .. import fused_kernels
from ..fused_kernels import Chain
from ..program import Program, Step
from .composing import Group, fused_step
from .dependence import Access, Units
from .order import stays
from .pieces import Cell, Piece, piece_of
from .remaking import CACHE, FAR, MOST_NODES, NEAR, Values

__all__ = ["fuse_pointwise"]

MIN_GAIN = 1000.0  # ns a run for which a new structure is compiled
SMALL_GAIN = 20.0  # ns a run for which an old one is loaded
CALL = 8.0  # ns that a step costs beside its work
MOST_OPERANDS = 24


def fuse_pointwise(program: Program) -> Program:
    """The program with chains of pointwise steps, and reductions of them, as one step each."""
    try:
        return _fused(program)
    except RecursionError:  # hundreds of steps that each read the last one: formulas nest as deep
        return program


def _fused(program: Program) -> Program:
    pieces = [piece_of(step) for step in program.steps]
    if sum(p is not None for p in pieces) < 2:
        return program
    units = Units(program)
    _join(units, pieces)
    order = units.order()
    if all(len(unit) == 1 for unit in order):
        return program
    values = Values(program, order, pieces, units.accesses)
    gains = _gains(program, values)
    values.choose(u for u, (_, gain) in gains.items() if gain >= MIN_GAIN)
    if values.chosen:
        gains = _gains(program, values)
    wanted = {
        u for u, (chain, gain) in gains.items()
        if gain >= MIN_GAIN or (gain >= SMALL_GAIN and fused_kernels.is_compiled(chain))
    }  # fmt: skip
    steps: list[Step] = []
    places: dict[int, int] = {}
    for u, made in reversed(_from_behind(program, values, wanted)):
        if isinstance(made, Group):
            steps.append(fused_step(made, program, order[u]))
            continue
        for i in made:
            places[i] = len(steps)
            steps.append(program.steps[i])
    changed = replace(program, buffers=dict(program.buffers), steps=steps)
    changed.effects = _moved_events(program, places, len(steps))
    return changed


def _gains(program: Program, values: Values) -> dict[int, tuple[Chain, float]]:
    """Per unit of several steps its chain, and what all units with that chain save, in ns."""
    units = {u for u, unit in enumerate(values.order) if len(unit) > 1}
    found = {u: group for u, group in _from_behind(program, values, units) if isinstance(group, Group)}
    gains: dict[Chain, float] = defaultdict(float)
    for u, group in found.items():
        moved = group.nbytes()
        alone = sum(piece.nbytes() for i in values.order[u] if (piece := values.pieces[i]) is not None)
        gains[group.chain] += (len(values.order[u]) - 1) * CALL
        gains[group.chain] += max(0, alone - moved) * (NEAR if moved <= CACHE else FAR)
    return {u: (group.chain, gains[group.chain]) for u, group in found.items()}


def _from_behind(program: Program, values: Values, fused: set[int]) -> list[tuple[int, Group | list[int]]]:
    """The units, last first: those of `fused` as groups, others as what is left of their steps.

    Going backwards it is known who reads a value, so nothing is stored for nobody.
    """
    later = Later(program)
    found: list[tuple[int, Group | list[int]]] = []
    for u in range(len(values.order) - 1, -1, -1):
        unit = values.order[u]
        if u in fused:
            draft = values.draft(u)
            stored = [o for o, c in draft.written.items() if later.needs(o.buffer, *values.range(c, draft.n))]
            group = draft.finish(stored)
            if not group.writes and group.result is None:
                found.append((u, []))  # nobody wants any of it
                continue
            found.append((u, group))
            if group.result is not None:
                size = DTYPES[group.chain.reduction[1]].itemsize * group.sizes[0]  # type: ignore[index]
                later.add(Access(group.result.buffer, group.result.offset, group.result.offset + size, True, True))
            for c in group.writes:
                later.add(Access(c.operand.buffer, *values.range(c, group.n), True, True))
            for c in group.reads:
                later.add(Access(c.operand.buffer, *values.range(c, group.n), False, True))
            continue
        left = []
        for i in reversed(unit):
            piece = values.pieces[i]
            if piece is not None and piece.target is not None:
                target = piece.target
                if not later.needs(target.operand.buffer, *values.range(target, piece.n)):
                    continue  # computed for readers that make it again
            left.append(i)
            if stays(program.steps[i]):
                later.failing()
            for a in sorted(values.accesses[i], key=lambda a: not a.write):
                later.add(a)
        found.append((u, left[::-1]))
    return found


class Later:
    """What the steps behind a place touch, while it moves to the front."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.touched: dict[int, list[tuple[int, Access]]] = defaultdict(list)
        self.time = 0
        self.failed = 0

    def add(self, a: Access) -> None:
        """This access comes before all others."""
        self.time += 1
        self.touched[a.buffer].append((self.time, a))

    def failing(self) -> None:
        """A step that can end the program comes before all others."""
        self.time += 1
        self.failed = self.time

    def needs(self, buffer: int, lo: int, hi: int) -> bool:
        """Whether somebody sees these bytes as they are now."""
        seen = self.program.observed(buffer)
        for time, a in reversed(self.touched[buffer]):
            if a.hi <= lo or hi <= a.lo:
                continue
            if seen and self.failed > time:
                return True
            if not a.write:
                return True
            if a.exact and a.lo <= lo and hi <= a.hi:
                return False
        return seen


def _moved_events(program: Program, places: dict[int, int], end: int) -> object:
    """The effects with the gradients' history at its new places: what counts is which step may fail after it."""
    failing = [i for i, step in enumerate(program.steps) if stays(step)]

    def moved(at: int) -> int:
        k = bisect_left(failing, at)
        return places[failing[k]] if k < len(failing) else end

    effects = program.effects
    if effects is None or not effects.events:
        return effects
    return replace(effects, events=[(moved(at), leaf, what) for at, leaf, what in effects.events])


# ---------------------------------------------------------------- what goes together


class Shape:
    """What a unit touches, to see whether another can join it."""

    def __init__(self, piece: Piece) -> None:
        self.n = piece.n
        self.calls = max(1, len(piece.calls))
        self.cells = set(piece.cells())
        self.written: set[Cell] = set()
        self.sinks: list[tuple[int, int, int]] = []
        self.reductions = 0
        self.sizes: tuple[int, ...] = ()
        if piece.target is not None:
            self.written.add(piece.target)
        if piece.reduction is not None:
            _, dt, self.sizes, result = piece.reduction
            self.sinks.append((result.buffer, result.offset, result.offset + self.sizes[0] * DTYPES[dt].itemsize))
            self.reductions = 1

    def range(self, c: Cell) -> tuple[int, int, int]:
        size = DTYPES[c.dt].itemsize * (self.n if c.full else 1)
        return c.operand.buffer, c.operand.offset, c.operand.offset + size

    def fits(self, other: Shape) -> bool:
        """Whether both can run element by element, one after the other."""
        if self.n != other.n or self.reductions + other.reductions > 1:
            return False
        if self.calls + other.calls > MOST_NODES:
            return False
        cells = self.cells | other.cells | self.written | other.written
        if len(cells) > 2 * MOST_OPERANDS:
            return False
        for a in self.written | other.written:
            for b in cells:
                if a != b and overlap(self.range(a), self.range(b)):
                    return False
        for sink in self.sinks + other.sinks:
            for b in cells:
                if overlap(sink, self.range(b)):
                    return False
        return True

    def add(self, other: Shape) -> None:
        self.calls += other.calls
        self.cells |= other.cells
        self.written |= other.written
        self.sinks += other.sinks
        self.reductions += other.reductions
        self.sizes = self.sizes or other.sizes


def overlap(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]


def _join(units: Units, pieces: list[Piece | None]) -> None:
    """Joins units that share elements."""
    shapes = {i: Shape(p) for i, p in enumerate(pieces) if p is not None}
    writer: dict[tuple[int, int], int] = {}
    users: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, piece in enumerate(pieces):
        if piece is None:
            continue
        partners: dict[int, None] = {}
        for c in piece.cells():
            if c.full and c.operand in writer:
                partners[writer[c.operand]] = None
        for c in (*piece.cells(), *([piece.target] if piece.target is not None else [])):
            if c.full:
                for j in reversed(users[c.operand][-4:]):
                    partners[j] = None
                users[c.operand].append(i)
        if piece.target is not None:
            writer[piece.target.operand] = i
        for j in partners:
            a, b = units.unit[j], units.unit[i]
            if a != b and shapes[a].fits(shapes[b]) and units.join(a, b):
                first, second = min(a, b), max(a, b)
                shapes[first].add(shapes.pop(second))
