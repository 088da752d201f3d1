"""Dead steps: what nobody reads and nobody sees is not computed."""

from __future__ import annotations

from ..program import Program
from .order import stays, with_steps

__all__ = ["remove_dead"]


def remove_dead(program: Program) -> Program:
    """Drops steps that write only buffers which no later step reads and no one sees.

    Random draws stay, since they advance their generator, and steps that can fail, since they may.
    """
    needed: set[int] = set()
    kept = []
    for at in range(len(program.steps) - 1, -1, -1):
        step = program.steps[at]
        written = step.written_buffers
        if stays(step) or not written or any(n in needed or program.observed(n) for n in written):
            kept.append((step, at))
            needed |= step.read_buffers
    if len(kept) == len(program.steps):
        return program
    return with_steps(program, kept[::-1])
