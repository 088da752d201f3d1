"""Where the program's own buffers lie: one arena, shared by buffers that are not alive at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from ._fitting import best_fit
from .program import ARGUMENT, FRESH, GRADIENT, INSIDE, OUTSIDE, Program, Step

__all__ = ["MemoryPlan", "plan_arena", "plan_memory", "share_of_peak"]

ALIGN = 64
WORTH = 16  # scratch takes part in the plan where that saves more than a sixteenth of it


@dataclass(frozen=True)
class MemoryPlan:
    """What a program needs, in bytes, known before its first run; `compiled.memory()` shows it.

    `unshared` is what the program's own buffers and one region of scratch would take side by side; `arena` and
    `scratch` what they do take, from the first run to the program's end. `fresh` are results, gradients and
    saved values, made anew by each run. `outside`, `arguments` and `gradients` are there before a run:
    parameters, optimizer state, tensor arguments, and gradients that are added to. `offsets` say where
    buffers lie in the arena, by number; `scratch_offsets` where a step's scratch does, by step, where it has
    no region of its own.
    """

    unshared: int
    arena: int
    scratch: int
    fresh: int
    outside: int
    arguments: int
    gradients: int
    offsets: dict[int, int] = field(repr=False, compare=False)
    scratch_offsets: dict[int, int] = field(repr=False, compare=False)

    @property
    def peak(self) -> int:
        """Bytes that a run holds beside what was there before it."""
        return self.arena + self.scratch + self.fresh

    @property
    def total(self) -> int:
        """Bytes that a run holds together with the tensors that it works on."""
        return self.peak + self.outside + self.arguments + self.gradients

    def __str__(self) -> str:
        def mib(n: int) -> str:
            return f"{n / 2**20:.2f} MiB"

        return (
            f"peak {mib(self.peak)}: arena {mib(self.arena)}, scratch {mib(self.scratch)}, results and gradients "
            f"{mib(self.fresh)} (without sharing {mib(self.unshared + self.fresh)}); works on "
            f"{mib(self.outside + self.arguments + self.gradients)}"
        )


class Block(NamedTuple):
    """Memory wanted from step `first` to step `last`; `key` is a buffer, or -1 - step for its scratch."""

    key: int
    first: int
    last: int
    nbytes: int


def aligned(nbytes: int) -> int:
    return max(nbytes + ALIGN - 1, ALIGN) // ALIGN * ALIGN


def scratch_of(step: Step) -> int:
    return step.plan[3] if step.plan is not None else 0


def place(blocks: Iterable[Block]) -> tuple[dict[int, int], int]:
    """Each block goes into the smallest gap among those alive with it that were placed before (best fit)."""
    return best_fit((b.key, b.first, b.last, aligned(b.nbytes)) for b in blocks)


def pack(blocks: list[Block]) -> tuple[dict[int, int], int]:
    """The better of two orders: the largest first, or as they come alive."""
    largest = place(sorted(blocks, key=lambda b: (-b.nbytes, b.first, b.key)))
    if largest[1] <= needed(blocks):
        return largest
    in_order = place(sorted(blocks, key=lambda b: (b.first, -b.nbytes, b.key)))
    return in_order if in_order[1] < largest[1] else largest


def needed(blocks: list[Block]) -> int:
    """The most bytes that are alive at one step: no arrangement takes fewer."""
    changes: dict[int, int] = {}
    for b in blocks:
        size = aligned(b.nbytes)
        changes[b.first] = changes.get(b.first, 0) + size
        changes[b.last + 1] = changes.get(b.last + 1, 0) - size
    return max(accumulate(changes[step] for step in sorted(changes)), default=0)


def blocks_of(program: Program) -> list[Block]:
    found = []
    for number, (first, last) in program.lifetimes().items():
        b = program.buffers[number]
        if b.kind == INSIDE:
            end = len(program.steps) if program.observed(number) else last
            found.append(Block(number, first, end, b.nbytes))
    return found


def plan_memory(program: Program) -> MemoryPlan:
    """Shares memory among the program's own buffers, and counts all it needs."""
    own = blocks_of(program)
    scratch = [Block(-1 - i, i, i, n) for i, s in enumerate(program.steps) if (n := scratch_of(s)) > 0]
    region = max((aligned(b.nbytes) for b in scratch), default=0)
    offsets, arena = pack(own)
    unshared = sum(aligned(b.nbytes) for b in own) + region
    if scratch:
        # One region stays in the caches from step to step, so it is given up only for what counts.
        apart = arena + region
        if (apart - needed(own + scratch)) * WORTH > apart:
            together, total = pack(own + scratch)
            if (apart - total) * WORTH > apart:
                offsets, arena, region = together, total, 0
    touched = frozenset().union(*(s.touched_buffers for s in program.steps))

    def bytes_of(kind: str) -> int:
        return sum(b.nbytes for b in program.buffers.values() if b.kind == kind and b.number in touched)

    return MemoryPlan(
        unshared,
        arena,
        region,
        sum(b.nbytes for b in program.buffers.values() if b.kind == FRESH),
        bytes_of(OUTSIDE),
        bytes_of(ARGUMENT),
        bytes_of(GRADIENT),
        {k: v for k, v in offsets.items() if k >= 0},
        {-1 - k: v for k, v in offsets.items() if k < 0} if region == 0 else {},
    )


def share_of_peak(program: Program, total: int) -> int:
    """What is left of so many bytes for a run's own memory."""
    plan = plan_memory(program)
    return max(total - (plan.total - plan.peak), 0)


def plan_arena(program: Program) -> tuple[dict[int, int], int]:
    """(offset of each inside buffer, bytes of the arena)."""
    plan = plan_memory(program)
    return plan.offsets, plan.arena
