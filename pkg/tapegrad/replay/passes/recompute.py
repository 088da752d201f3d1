"""Computing values a second time instead of keeping them: less memory for more time.

A value that the forward pass makes and the backward pass reads takes memory in between. Where the inputs of
its step are there (or can be computed again too) it is made anew right before its later readers. The kernels
and their inputs are the same, so the bits are. This is never done unasked: every value costs its step again.
"""

from __future__ import annotations

from collections.abc import Callable

from ..planning import plan_memory, scratch_of
from ..program import INSIDE, Operand, Program, Step
from .dead import remove_dead
from .in_place import write_in_place
from .order import stays, with_steps

__all__ = ["recompute"]

MOST_STEPS = 8  # computed again for one value
CANDIDATES = 8  # tried per round: the largest


def recompute(program: Program, limit: int, finish: Callable[[Program], Program] = write_in_place) -> Program:
    """Computes values again until what the program needs of its own is at most `limit` bytes, or as far as it goes.

    `finish` are the passes that come afterwards: the plan is made of what they leave.
    """

    def needs(p: Program) -> int:
        return plan_memory(finish(p)).peak

    now, cost = needs(program), cost_of(program)
    origin: dict[int, int] = {}
    while now > limit:
        best: tuple[float, int, int, Program, dict[int, int]] | None = None
        for number, at in candidates(program):
            found = computed_again(program, number, at, origin)
            if found is None:
                continue
            changed, origins = found
            peak, price = needs(changed), cost_of(changed)
            gain = (now - peak) / max(price - cost, 1)
            if peak < now and (best is None or gain > best[0]):
                best = gain, peak, price, changed, origins
        if best is None:
            return program
        _, now, cost, program, origin = best
    return program


def candidates(program: Program) -> list[tuple[int, int]]:
    """(buffer, step before which it would be made again), the most bytes times steps of absence first."""
    places: dict[int, list[int]] = {}
    writers: dict[int, int] = {}
    for i, step in enumerate(program.steps):
        for number in step.touched_buffers:
            places.setdefault(number, []).append(i)
        for number in step.written_buffers:
            writers[number] = writers.get(number, 0) + 1
    found = []
    for number, at in places.items():
        b = program.buffers[number]
        if b.kind == INSIDE and not program.observed(number) and writers.get(number) == 1 and len(at) > 2:
            gap, k = max((at[k + 1] - at[k], k) for k in range(1, len(at) - 1))
            if gap > 1:
                found.append((b.nbytes * gap, b.nbytes, number, at[k + 1]))
    found.sort(reverse=True)
    return [(number, at) for _, _, number, at in found[:CANDIDATES]]


def computed_again(
    program: Program, number: int, at: int, origin: dict[int, int]
) -> tuple[Program, dict[int, int]] | None:
    """The program with a buffer made again before step `at`; `origin` tells of what buffers are copies."""
    lifetimes = program.lifetimes()
    makers: dict[int, list[int]] = {}
    for i, step in enumerate(program.steps):
        for n in step.written_buffers:
            makers.setdefault(n, []).append(i)
    again: set[int] = set()  # steps to repeat

    def available(n: int, since: int) -> bool:
        """Whether buffer n has at `at` what it had after step `since`."""
        if any(since < i < at for i in makers.get(n, ())):
            return False
        return program.buffers[n].kind != INSIDE or program.observed(n) or lifetimes[n][1] >= at

    def plan(n: int, before: int) -> bool:
        """Notes the steps that make again what n holds at step `before`; False if they cannot be repeated."""
        if len(makers.get(n, ())) != 1 or makers[n][0] >= before or len(again) >= MOST_STEPS:
            return False
        maker = makers[n][0]
        step = program.steps[maker]
        if stays(step) or step.adds or step.update is not None or step.written_buffers != {n}:
            return False
        again.add(maker)
        return all(
            available(m, maker) or (program.buffers[m].kind == INSIDE and plan(m, maker)) for m in step.read_buffers
        )

    if not plan(number, at):
        return None
    after = program.copy()
    origins = dict(origin)
    move: dict[int, Operand] = {}
    inserted: list[tuple[Step, int | None]] = []
    for i in sorted(again):
        (target,) = program.steps[i].written_buffers
        made = after.new_buffer(program.buffers[target].nbytes).number
        move[target] = Operand(made, 0)
        inserted.append((program.steps[i].with_operands(move), None))
        origins[made] = root = origin.get(target, target)
        # A copy that was made later than this one is this one.
        move |= {n: Operand(made, 0) for n, r in origin.items() if r == root and makers.get(n, [-1])[0] >= at}
    copies = {n for n in move if n in origin}
    steps: list[tuple[Step, int | None]] = [(s, i) for i, s in enumerate(program.steps[:at])]
    steps += inserted
    for i, s in enumerate(program.steps[at:], at):
        if not s.written_buffers & copies:
            steps.append((s.with_operands(move), i))
    return remove_dead(with_steps(after, steps)), origins


def cost_of(program: Program) -> int:
    """How long a program may take: products, which have scratch, take far longer than other steps of their size."""
    return sum(s.elements * (64 if s.structured and scratch_of(s) else 1) for s in program.steps)
