"""What passes that drop or move steps share: the same program with other steps."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from ..program import Program, Step

__all__ = ["stays", "with_steps"]


def stays(step: Step) -> bool:
    """Whether nothing that is seen from outside may cross this step, and it must run whoever reads it."""
    return step.generator is not None or step.can_fail


def with_steps(program: Program, steps: Sequence[tuple[Step, int | None]]) -> Program:
    """A program of these (step, its number before or None if it is new or has moved).

    What gradients become is told by step, for runs that end in an error: that is carried over. Steps that can
    fail must not be moved.
    """
    after = Program(program.buffers, [s for s, _ in steps], program.keep, program.effects)
    if program.effects is not None and program.effects.events:
        places = sorted((old, k) for k, (_, old) in enumerate(steps) if old is not None)
        behind = [0, *itertools.accumulate((k + 1 for _, k in places), max)]  # behind the first so many of them
        events = [
            (behind[bisect_left(places, (at, -1))], leaf, storage) for at, leaf, storage in program.effects.events
        ]
        after.effects = replace(program.effects, events=events)
    return after
