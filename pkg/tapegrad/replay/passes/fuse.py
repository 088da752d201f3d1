"""Fusion: steps on the same elements become one kernel, which keeps what lies between them in registers.

Steps that make or read each other's elements are joined as long as no other step has to run between them.
What is stored is what somebody still reads. A chain is worth a kernel

 - if the kernel exists already (in memory or in the object cache) and saves anything, or
 - if all its places in the program together save MIN_GAIN nanoseconds a run, since compiling a new
   structure takes 0.3 to 1 s, once.

The saving is estimated from the calls and the bytes that go away.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace

from ..._layout import CHUNK_ELEMENTS, FRAME_GX_N, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_WORDS, PARALLEL_ELEMENTS
from ...dtypes import DTYPES
from .. import _machine, fused_kernels
from ..fused_kernels import TABLE, Chain, Node, Ref
from ..program import Operand, Program, Step
from .dependence import Access, Units, bits, fallible
from .pieces import Call, Cell, Number, Piece, piece_of

__all__ = ["fuse_pointwise"]

MIN_GAIN = 1000.0  # ns a run for which a new structure is compiled
SMALL_GAIN = 20.0  # ns a run for which an old one is loaded
CALL = 8.0  # ns that a step costs beside its work
NEAR, FAR = 0.015, 0.1  # ns to move a byte within the cache, and beyond
CACHE = 1 << 20
import os
AHEAD=int(os.environ.get("AH","0"))
MOST_NODES, MOST_OPERANDS = 64, 24


@dataclass
class Group:
    """Steps that can become one; `order` are their places in the new order."""

    steps: list[int]
    chain: Chain
    memory: list[Cell]
    written: list[int]  # places in memory
    sizes: tuple[int, ...]
    result: Operand | None
    numbers: list[bytes]
    params: list[bytes]
    n: int
    gain: float


def fuse_pointwise(program: Program) -> Program:
    """The program with chains of pointwise steps, and reductions of them, as one step each."""
    pieces = [piece_of(step) for step in program.steps]
    if sum(p is not None for p in pieces) < 2:
        return program
    units = Units(program)
    _join(units, pieces)
    order = units.order()
    if all(len(unit) == 1 for unit in order):
        return program
    readers = Readers(program, units, order)
    groups: dict[int, Group] = {}
    gains: dict[Chain, float] = defaultdict(float)
    for at, unit in enumerate(order):
        if len(unit) > 1:
            group = _compose(unit, pieces, readers, at)
            groups[at] = group
            gains[group.chain] += group.gain
    wanted = {
        chain for chain, gain in gains.items()
        if gain >= MIN_GAIN or (gain >= SMALL_GAIN and fused_kernels.is_compiled(chain))
    }  # fmt: skip
    steps: list[Step] = []
    places: dict[int, int] = {}
    for at, unit in enumerate(order):
        found = groups.get(at)
        if found is not None and found.chain in wanted:
            steps.append(_step(found, program))
            continue
        for i in unit:
            places[i] = len(steps)
            steps.append(program.steps[i])
    changed = replace(program, buffers=dict(program.buffers), steps=steps)
    changed.effects = _moved_events(program, places, len(steps))
    return changed


def _moved_events(program: Program, places: dict[int, int], end: int) -> object:
    """The effects with the gradients' history at its new places: what counts is which step may fail after it."""
    failing = [i for i, step in enumerate(program.steps) if fallible(step)]

    def moved(at: int) -> int:
        later = [i for i in failing if i >= at]
        return places[later[0]] if later else end

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


# ---------------------------------------------------------------- what must be stored


class Readers:
    """Who touches a buffer when, in the new order."""

    def __init__(self, program: Program, units: Units, order: list[list[int]]) -> None:
        self.program = program
        self.by_buffer: dict[int, list[tuple[int, Access]]] = defaultdict(list)
        self.failing: list[int] = []
        for at, unit in enumerate(order):
            for i in unit:
                if fallible(program.steps[i]):
                    self.failing.append(at)
                for a in units.accesses[i]:  # what a step reads comes before what it writes
                    self.by_buffer[a.buffer].append((at, a))

    def needs(self, buffer: int, lo: int, hi: int, at: int) -> bool:
        """Whether somebody after place `at` sees these bytes as they are then."""
        end = len(self.failing) and bisect_right(self.failing, at)
        seen = self.program.observed(buffer)
        fails = self.failing[end] if seen and end < len(self.failing) else None
        for place, a in self.by_buffer[buffer]:
            if place <= at or a.hi <= lo or hi <= a.lo:
                continue
            if fails is not None and fails < place:
                return True
            if not a.write:
                return True
            if a.exact and a.lo <= lo and hi <= a.hi:
                return False
        return seen


# ---------------------------------------------------------------- the kernel


def _compose(unit: list[int], pieces: list[Piece | None], readers: Readers, at: int) -> Group:
    """The chain that a unit computes."""
    memory: dict[Cell, int] = {}
    values: dict[Operand, Ref] = {}
    numbers: dict[Number, int] = {}
    params: list[bytes] = []
    nodes: list[Node] = []
    seen: dict[Node, Ref] = {}
    written: dict[Operand, Cell] = {}
    reduction: tuple[int, int, Ref] | None = None
    result, sizes = None, ()
    alone = 0

    def ref(argument: object, before: Ref | None) -> Ref | None:
        if isinstance(argument, Cell):
            if argument.full:
                if argument.operand not in values:
                    values[argument.operand] = Ref("full", memory.setdefault(argument, len(memory)))
                return values[argument.operand]
            return Ref("one", memory.setdefault(argument, len(memory)))
        if isinstance(argument, Number):
            return Ref("number", numbers.setdefault(argument, len(numbers)))
        return None if argument is None else before

    def call(c: Call, before: Ref | None) -> Ref:
        place = -1
        if c.params is not None:
            if c.params not in params:
                params.append(c.params)
            place = params.index(c.params)
        node = Node(c.op, c.role, c.dt, tuple(ref(a, before) for a in c.args), place)
        if node not in seen:  # computed already: the same
            seen[node] = Ref("node", len(nodes))
            nodes.append(node)
        return seen[node]

    for i in unit:
        piece = pieces[i]
        assert piece is not None
        alone += piece.nbytes()
        value = ref(piece.value, None)
        for c in piece.calls:
            value = call(c, value)
        assert value is not None
        if piece.reduction is not None:
            op, dt, sizes, result = piece.reduction
            reduction = op, dt, value
        else:
            assert piece.target is not None
            values[piece.target.operand] = value
            written[piece.target.operand] = piece.target
    n = piece.n
    stores = []
    for operand, cell in written.items():
        size = DTYPES[cell.dt].itemsize * n
        if readers.needs(operand.buffer, operand.offset, operand.offset + size, at):
            stores.append((values[operand], memory.setdefault(cell, len(memory))))
    chain, used = _only_what_is_used(
        Chain(tuple(c.dt for c in memory), tuple(x.dt for x in numbers), len(params), tuple(nodes), tuple(stores), reduction)
    )
    cells = list(memory)
    moved = sum(n * DTYPES[c.dt].itemsize for c in cells if c.full)
    rate = NEAR if moved <= CACHE else FAR
    gain = (len(unit) - 1) * CALL + max(0, alone - moved) * rate
    return Group(
        unit, chain, cells, [k for _, k in stores], tuple(sizes), result, [x.data for x in numbers], params, n, gain
    )


def _only_what_is_used(chain: Chain) -> tuple[Chain, set[int]]:
    return chain, set(range(len(chain.nodes)))


def _step(group: Group, program: Program) -> Step:
    """The step that runs a group's kernel."""
    frame = [0] * FRAME_WORDS
    frame[FRAME_N] = group.n
    words = fused_kernels.pack(group.sizes, AHEAD, len(group.memory), group.numbers, group.params)
    address = fused_kernels.address(group.chain)
    reads = {ref.at for node in group.chain.nodes for ref in node.args if ref is not None and ref.kind in ("full", "one")}
    reads |= {ref.at for ref, _ in group.chain.stores if ref.kind in ("full", "one")}
    if group.chain.reduction is not None and group.chain.reduction[2].kind in ("full", "one"):
        reads.add(group.chain.reduction[2].at)
    operands, writes = {}, frozenset()
    if group.result is not None:
        operands, writes = {FRAME_OUT: group.result}, frozenset({FRAME_OUT})
        plan = _machine.plan_call(address, _bytes(frame), words, None, None, FRAME_IN)
    elif group.n >= PARALLEL_ELEMENTS:
        plan = (group.n, CHUNK_ELEMENTS, 1, 0)
    else:
        plan = (group.n, 1 << 62, 1, 0)
    return Step(
        -1, -1, 0, 0, address, group.n, tuple(frame), operands, frozenset(), writes, words=words,
        table={TABLE + k: cell.operand for k, cell in enumerate(group.memory)},
        table_reads=frozenset(TABLE + k for k in reads),
        table_writes=frozenset(TABLE + k for k in group.written),
        plan=plan, line=program.steps[group.steps[0]].line,
        name="fused(" + ", ".join(program.steps[i].label for i in group.steps) + ")",
    )  # fmt: skip


def _bytes(frame: list[int]) -> bytes:
    import struct

    return struct.pack(f"{FRAME_WORDS}q", *frame)
