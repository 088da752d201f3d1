"""From a unit of steps to the chain that computes them, and to the step that runs its kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._layout import CHUNK_ELEMENTS, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_WORDS, PARALLEL_ELEMENTS
from ...dtypes import DTYPES
from .. import _look, fused_kernels
from ..fused_kernels import TABLE, Chain, Node, Ref
from ..program import Operand, Program, Step
from .pieces import Call, Cell, Number, Piece

__all__ = ["Draft", "Group", "fused_step"]

# A kernel that works beyond the cache asks for memory this many elements ahead: 20 to 25 % less time over
# 10 million floats, where hardware prefetching starts anew at each page; nothing at a million.
AHEAD, CACHE = 512, 1 << 21


@dataclass
class Draft:
    """What a unit computes, before it is known which of its values are stored."""

    n: int = 0
    cells: dict[Cell, Ref] = field(default_factory=dict)  # loads
    numbers: dict[Number, int] = field(default_factory=dict)
    params: list[bytes] = field(default_factory=list)
    nodes: dict[Node, Ref] = field(default_factory=dict)
    values: dict[Operand, Ref] = field(default_factory=dict)  # what the unit's places hold, as it goes along
    written: dict[Operand, Cell] = field(default_factory=dict)
    reduction: tuple[int, int, Ref] | None = None
    sizes: tuple[int, ...] = ()
    result: Operand | None = None

    def load(self, cell: Cell) -> Ref:
        """The value of memory when the unit starts."""
        return self.cells.setdefault(cell, Ref("full" if cell.full else "one", len(self.cells)))

    def call(self, call: Call, args: Sequence[Ref | None]) -> Ref:
        """A formula's value; what was computed before is not computed again."""
        place = -1
        if call.params is not None:
            if call.params not in self.params:
                self.params.append(call.params)
            place = self.params.index(call.params)
        node = Node(call.op, call.role, call.dt, tuple(args), place)
        return self.nodes.setdefault(node, Ref("node", len(self.nodes)))

    def number(self, number: Number) -> Ref:
        return Ref("number", self.numbers.setdefault(number, len(self.numbers)))

    def evaluate(self, piece: Piece, read: Any) -> Ref:
        """The value of a piece; `read(cell)` gives those of its arguments in memory."""
        value = None if piece.value is None else read(piece.value)
        for call in piece.calls:
            args: list[Ref | None] = []
            for a in call.args:
                if isinstance(a, Cell):
                    args.append(read(a))
                elif isinstance(a, Number):
                    args.append(self.number(a))
                else:
                    args.append(None if a is None else value)
            value = self.call(call, args)
        assert value is not None
        return value

    def add(self, piece: Piece, read: Any) -> None:
        """Appends a step."""
        self.n = piece.n

        def here(cell: Cell) -> Ref:
            known = self.values.get(cell.operand) if cell.full else None
            return read(cell) if known is None else known

        value = self.evaluate(piece, here)
        if piece.reduction is not None:
            op, dt, self.sizes, self.result = piece.reduction
            self.reduction = op, dt, value
        else:
            assert piece.target is not None
            self.values[piece.target.operand] = value
            self.written[piece.target.operand] = piece.target

    def finish(self, stored: Sequence[Operand]) -> Group:
        """The group that stores these values: nothing is computed or loaded that they do not need."""
        nodes, cells, numbers = list(self.nodes), list(self.cells), list(self.numbers)
        wanted = [self.values[o] for o in stored]
        if self.reduction is not None:
            wanted.append(self.reduction[2])
        used: set[Ref] = set()
        while wanted:
            ref = wanted.pop()
            if ref not in used:
                used.add(ref)
                if ref.kind == "node":
                    wanted += [a for a in nodes[ref.at].args if a is not None]
        new: dict[Ref, Ref] = {}
        counts = {"node": 0, "number": 0}
        memory: list[Cell] = []
        reads = []
        for ref in sorted(used, key=lambda r: r.at):
            if ref.kind in counts:
                new[ref] = Ref(ref.kind, counts[ref.kind])
                counts[ref.kind] += 1
            else:
                new[ref] = Ref(ref.kind, len(memory))
                reads.append(cells[ref.at])
                memory.append(cells[ref.at])
        params: list[int] = []
        kept = []
        for ref, node in ((Ref("node", k), node) for k, node in enumerate(nodes)):
            if ref not in used:
                continue
            place = node.params
            if place >= 0:
                if place not in params:
                    params.append(place)
                place = params.index(place)
            kept.append(node._replace(args=tuple(a if a is None else new[a] for a in node.args), params=place))
        stores = []
        for o in stored:
            cell = self.written[o]
            if cell not in memory:
                memory.append(cell)
            stores.append((new[self.values[o]], memory.index(cell)))
        reduction = None if self.reduction is None else (*self.reduction[:2], new[self.reduction[2]])
        chain = Chain(
            tuple(c.dt for c in memory),
            tuple(x.dt for k, x in enumerate(numbers) if Ref("number", k) in used),
            tuple(kept), tuple(stores), reduction,
        )  # fmt: skip
        return Group(
            chain, self.n, memory, reads, [self.written[o] for o in stored], self.sizes, self.result,
            [x.data for k, x in enumerate(numbers) if Ref("number", k) in used], [self.params[k] for k in params],
        )  # fmt: skip


@dataclass
class Group:
    """A chain with its operands."""

    chain: Chain
    n: int
    memory: list[Cell]
    reads: list[Cell]
    writes: list[Cell]
    sizes: tuple[int, ...]
    result: Operand | None
    numbers: list[bytes]
    params: list[bytes]

    def nbytes(self) -> int:
        """Bytes that the kernel moves."""
        return self.n * sum(DTYPES[c.dt].itemsize for c in (*self.reads, *self.writes) if c.full)


def fused_step(group: Group, program: Program, unit: Sequence[int]) -> Step:
    """The step that runs a group's kernel, which is compiled if need be."""
    frame = [0] * FRAME_WORDS
    frame[FRAME_N] = group.n
    ahead = AHEAD if group.nbytes() > CACHE else 0
    words = fused_kernels.pack(group.sizes, ahead, len(group.memory), group.numbers, group.params)
    address = fused_kernels.address(group.chain)
    operands: dict[int, Operand] = {}
    writes: frozenset[int] = frozenset()
    plan = (group.n, CHUNK_ELEMENTS if group.n >= PARALLEL_ELEMENTS else 1 << 62, 1, 0)
    if group.result is not None:
        operands, writes = {FRAME_OUT: group.result}, frozenset({FRAME_OUT})
        plan = _look.plan_call(address, struct.pack(f"{FRAME_WORDS}q", *frame), words, None, None, FRAME_IN)
    places = {cell: TABLE + k for k, cell in enumerate(group.memory)}
    return Step(
        -1, -1, 0, 0, address, group.n, tuple(frame), operands, frozenset(), writes, words=words,
        table={place: cell.operand for cell, place in places.items()},
        table_reads=frozenset(places[c] for c in group.reads),
        table_writes=frozenset(places[c] for c in group.writes),
        plan=plan, line=program.steps[unit[0]].line,
        name="fused(" + ", ".join(program.steps[i].label for i in unit) + ")",
    )  # fmt: skip
