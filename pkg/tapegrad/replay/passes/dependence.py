"""Which steps must stay in which order, and which of them can run as one.

`accesses` says what bytes a step reads and writes. `Units` starts with one unit per step; `join` makes one unit
of two where no step outside lies on a path between them, so that the unit can run at one moment. Beside memory
there is the world: a step that can fail, or that draws random numbers, keeps its place among the steps that
write what can be seen from outside.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from ..._layout import FRAME_GX_N, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_STEP, FRAME_Y
from ...ops.scalars import scalar
from ..program import Operand, Program, Step
from .order import stays

__all__ = ["WINDOW", "Access", "Units", "accesses", "bits"]

WINDOW = 2048  # steps


class Access(NamedTuple):
    """Bytes from `lo` to `hi` of a buffer; `exact`: all of them, and nothing else of the buffer."""

    buffer: int
    lo: int
    hi: int
    write: bool
    exact: bool


def flat_accesses(step: Step) -> list[Access] | None:
    """Of a flat pointwise step, exactly; None if the step is none."""
    if not step.flat:
        return None
    formula = scalar(step.op, step.role, step.dt)
    target = step.role - 1
    if formula is None or (step.role > 0 and not step.steps_with(target)):
        return None
    n = step.frame[FRAME_N]

    def access(o: Operand, count: int, size: int, write: bool) -> Access:
        return Access(o.buffer, o.offset, o.offset + count * size, write, True)

    found = []
    for word in step.reads:
        if FRAME_IN <= word < FRAME_IN + 3:
            k = word - FRAME_IN
            t = formula.takes[k if step.role == 0 else k + 1]
            count = n if step.frame[FRAME_STEP + k] else 1
        elif word in (FRAME_OUT, FRAME_Y):
            t = formula.takes[0 if word == FRAME_OUT else -1]
            count = n
        else:
            return None
        if t is None:
            return None
        found.append(access(step.operands[word], count, t.itemsize, False))
    count = n if step.role == 0 else step.frame[FRAME_GX_N]
    if len(step.writes) != 1 or count != n:
        return None
    found.append(access(step.target, n, formula.gives.itemsize, True))
    return found


def accesses(step: Step, program: Program) -> list[Access]:
    """What a step reads and writes; whole buffers where it is not known better."""
    flat = flat_accesses(step)
    if flat is not None:
        return flat
    if step.name == "copy":
        n = step.frame[FRAME_N]
        source, out = step.operands[FRAME_IN], step.operands[FRAME_OUT]
        return [
            Access(source.buffer, source.offset, source.offset + n, False, True),
            Access(out.buffer, out.offset, out.offset + n, True, True),
        ]
    found = [Access(o.buffer, 0, program.buffers[o.buffer].nbytes, False, False) for o in step.read_operands()]
    found += [Access(o.buffer, 0, program.buffers[o.buffer].nbytes, True, False) for o in step.written_operands()]
    return found


def bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Units:
    """Sets of steps that run at one moment, with what must come before and after each.

    That is kept as bit masks, which grow with the square of their number: of the `WINDOW` steps around a unit. Steps
    of different windows are not joined.
    """

    def __init__(self, program: Program) -> None:
        self.accesses = [accesses(step, program) for step in program.steps]
        count = len(program.steps)
        self.before: list[set[int]] = [set() for _ in range(count)]  # direct, without those that others imply
        self._find_edges(program)
        self.ancestors = [0] * count  # in its window, of which step i is bit i % WINDOW
        self.descendants = [0] * count
        for i in range(count):
            for j in self._near(i):
                self.ancestors[i] |= self.ancestors[j] | 1 << j % WINDOW
        for i in reversed(range(count)):
            for j in self._near(i):
                self.descendants[j] |= self.descendants[i] | 1 << i % WINDOW
        self.unit = list(range(count))  # of each step: the first step of its unit
        starts = range(0, count, WINDOW)
        self.members = [{i: 1 << i % WINDOW for i in range(s, min(s + WINDOW, count))} for s in starts]

    def _near(self, i: int) -> list[int]:
        """The steps of the same window right before step i."""
        return [j for j in self.before[i] if j // WINDOW == i // WINDOW]

    def _find_edges(self, program: Program) -> None:
        # Reads apart from writes: many steps may read a parameter, and none of them depends on another.
        by_buffer: dict[int, tuple[list[tuple[int, Access]], list[tuple[int, Access]]]] = {}
        failing = -1
        writers: set[int] = set()
        for i, step in enumerate(program.steps):
            for a in self.accesses[i]:
                for earlier in by_buffer.get(a.buffer, ((), ()))[0 if a.write else 1 :]:
                    for j, b in earlier:
                        if j != i and a.lo < b.hi and b.lo < a.hi:
                            self.before[i].add(j)
            for a in self.accesses[i]:
                reads, writes = by_buffer.setdefault(a.buffer, ([], []))
                if a.write:  # what comes later depends on this one, and so on all that this one depends on
                    for earlier in (reads, writes):
                        earlier[:] = [(j, b) for j, b in earlier if j == i or b.lo < a.lo or a.hi < b.hi]
                (writes if a.write else reads).append((i, a))
            if any(a.write and program.observed(a.buffer) for a in self.accesses[i]):
                if failing >= 0:
                    self.before[i].add(failing)
                writers.add(i)
            if stays(step):
                if failing >= 0:
                    self.before[i].add(failing)
                self.before[i] |= writers - {i}
                failing, writers = i, set()

    def join(self, a: int, b: int) -> bool:
        """Makes one unit of units a and b; False, and nothing done, if a step lies between them or they are far."""
        if a // WINDOW != b // WINDOW:
            return False
        members = self.members[a // WINDOW]
        both = members[a] | members[b]
        if ((self.descendants[a] & self.ancestors[b]) | (self.descendants[b] & self.ancestors[a])) & ~both:
            return False
        before = (self.ancestors[a] | self.ancestors[b]) & ~both
        after = (self.descendants[a] | self.descendants[b]) & ~both
        first, second = min(a, b), max(a, b)
        for i in self._steps(second):
            self.unit[i] = first
        del members[second]
        members[first] = both
        self.ancestors[first], self.descendants[first] = before, after
        for u, own in members.items():
            if own & before:
                self.descendants[u] |= both | after
            if own & after:
                self.ancestors[u] |= both | before
        return True

    def _steps(self, u: int) -> list[int]:
        """The steps of unit u."""
        start = u - u % WINDOW
        return [start + k for k in bits(self.members[u // WINDOW][u])]

    def order(self) -> list[list[int]]:
        """The units, as lists of steps, in an order that keeps to everything; steps that can wait, wait."""
        waiting: dict[int, int] = {}
        units = {u: self._steps(u) for window in self.members for u in window}
        after: dict[int, set[int]] = {u: set() for u in units}
        for u, own in units.items():
            sources = {self.unit[j] for i in own for j in self.before[i]} - {u}
            waiting[u] = len(sources)
            for s in sources:
                after[s].add(u)
        ready = [(units[u][-1], u) for u, n in waiting.items() if not n]
        heapq.heapify(ready)
        found = []
        while ready:
            _, u = heapq.heappop(ready)
            found.append(units[u])
            for v in after[u]:
                waiting[v] -= 1
                if not waiting[v]:
                    heapq.heappush(ready, (units[v][-1], v))
        assert len(found) == len(units), "the units go round in a circle"
        return found
