"""Values that are computed again where they are read, from what is still there, instead of being stored.

A backward pass reads what the forward pass made. Where that can be computed from memory that has not changed
since, and costs less than storing and loading it, the reader's kernel does so; if all readers do, the value is
not stored at all. Only pointwise values are remade, so a reader's own elements are all it takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, partial

from ...dtypes import DTYPES
from ...native.symbols import Symbol
from ...ops.scalars import scalar
from ..fused_kernels import Ref
from ..program import INSIDE, Program
from .composing import Draft
from .dependence import Access
from .pieces import Cell, Piece

__all__ = ["Values"]

CHEAP, SLOW, LONG = 0.01, 0.04, 0.25  # ns an element: an instruction; division, root; a polynomial
LIGHT = {"where", "fabs", "maximum", "minimum", "fma", "floor", "ceil", "trunc", "rint", "isnan"}
NEAR, FAR = 0.005, 0.1  # ns to move a byte within the cache, and beyond
CACHE = 1 << 20
MOST_NODES = 64


@cache
def cost(op: int, role: int, dt: int) -> float:
    """About how long a formula takes for an element, in ns."""
    formula = scalar(op, role, dt)
    assert formula is not None
    function = formula.formula.function
    total = CHEAP
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, Symbol):
            total += CHEAP if value.name in LIGHT else SLOW if value.name == "sqrt" else LONG
    if formula.compute.itemsize == 8:
        total *= 2
    return total


class Gone(Exception):
    """A value can neither be loaded nor computed any more."""


class Values:
    """Who made what a step reads, and until when it is there; in the new order of the steps."""

    def __init__(
        self, program: Program, order: list[list[int]], pieces: Sequence[Piece | None], accesses: list[list[Access]]
    ) -> None:
        self.program = program
        self.order = order
        self.pieces = pieces
        self.accesses = accesses
        self.place: dict[int, int] = {}  # of a step, in the line of all
        self.unit: dict[int, int] = {}
        self.touched: dict[int, list[tuple[int, int, Access]]] = defaultdict(list)  # by buffer: place, step, access
        self.start: list[int] = []
        for u, unit in enumerate(order):
            self.start.append(len(self.place))
            for i in unit:
                self.unit[i] = u
                self.place[i] = len(self.place)
                for a in accesses[i]:
                    self.touched[a.buffer].append((self.place[i], i, a))
        self.chosen: set[int] = set()

    def range(self, cell: Cell, n: int) -> tuple[int, int]:
        size = DTYPES[cell.dt].itemsize * (n if cell.full else 1)
        return cell.operand.offset, cell.operand.offset + size

    def maker(self, cell: Cell, n: int, before: int) -> int | None:
        """The step whose value this is for a step at place `before`, if it is just that value."""
        lo, hi = self.range(cell, n)
        for place, i, a in reversed(self.touched[cell.operand.buffer]):
            if place < before and a.write and a.lo < hi and lo < a.hi:
                piece = self.pieces[i]
                if piece is None or piece.target != cell or piece.n != n:
                    return None
                return i
        return None

    def unchanged(self, cell: Cell, n: int, since: int, until: int) -> bool:
        lo, hi = self.range(cell, n)
        return not any(
            since <= place < until and a.write and a.lo < hi and lo < a.hi
            for place, _, a in self.touched[cell.operand.buffer]
        )

    def _value(self, found: Draft, again: dict[int, Ref], begin: int, at: int, n: int, cell: Cell) -> Ref:
        """A cell as it is at step `at`, in a draft whose unit starts at step `begin`."""
        i = self.maker(cell, n, at) if cell.full else None
        if i is not None and i in self.chosen:
            if i not in again:
                piece = self.pieces[i]
                assert piece is not None
                again[i] = found.evaluate(piece, partial(self._value, found, again, begin, self.place[i], n))
            return again[i]
        if at < begin and not self.unchanged(cell, n, at, begin):
            raise Gone
        return found.load(cell)

    def draft(self, u: int) -> Draft:
        """What unit u computes, with the chosen values made again."""
        found = Draft()
        again: dict[int, Ref] = {}
        for i in self.order[u]:
            piece = self.pieces[i]
            assert piece is not None
            found.add(piece, partial(self._value, found, again, self.start[u], self.start[u], piece.n))
        return found

    def choose(self, units: Iterable[int]) -> None:
        """Decides which values are made again by these units."""
        allowed = set(units)
        readers: dict[int, set[int]] = {}
        for i, piece in enumerate(self.pieces):
            if piece is not None and piece.target is not None:
                found = self._readers(i, piece)
                if found is not None and found <= allowed:
                    readers[i] = found
        self.chosen = set(readers)
        reads: dict[int, set[int]] = defaultdict(set)
        for i, found in readers.items():
            for u in found:
                reads[u].add(i)
        pending = sorted(reads)
        while pending:
            given_up = [u for u in pending if reads[u] & self.chosen and not self._worth(u, reads[u], readers)]
            for u in given_up:
                self.chosen -= reads[u]
            if not given_up:
                break

    def _readers(self, i: int, piece: Piece) -> set[int] | None:
        """The other units that read the value of step i; None if it must be stored in any case."""
        assert piece.target is not None
        cell = piece.target
        b = self.program.buffers[cell.operand.buffer]
        if b.kind != INSIDE or b.number in self.program.keep:
            return None
        lo, hi = self.range(cell, piece.n)
        found: set[int] = set()
        for place, j, a in self.touched[cell.operand.buffer]:
            if place <= self.place[i] or a.hi <= lo or hi <= a.lo:
                continue
            if a.write:
                if a.exact and a.lo <= lo and hi <= a.hi:
                    break
                return None
            if self.unit[j] == self.unit[i]:
                continue
            other = self.pieces[j]
            if other is None or other.n != piece.n or cell not in other.cells():
                return None
            found.add(self.unit[j])
        return found

    def _worth(self, u: int, own: set[int], readers: dict[int, set[int]]) -> bool:
        """Whether unit u gains by making again what is chosen of the values that it reads."""
        try:
            after = self.draft(u)
        except Gone:
            return False
        chosen, self.chosen = self.chosen, set()
        before = self.draft(u)
        self.chosen = chosen
        if len(after.nodes) > MOST_NODES:
            return False
        n = before.n

        def nbytes(cells: Iterable[Cell]) -> int:
            return sum(DTYPES[c.dt].itemsize for c in cells if c.full)

        saved: float = nbytes(before.cells) - nbytes(after.cells)
        for i in own & self.chosen:
            piece = self.pieces[i]
            assert piece is not None
            assert piece.target is not None
            saved += DTYPES[piece.target.dt].itemsize / len(readers[i])
        rate = NEAR if nbytes(before.cells) * n <= CACHE else FAR
        extra = sum(cost(*node[:3]) for node in after.nodes) - sum(cost(*node[:3]) for node in before.nodes)
        return saved * rate > extra
