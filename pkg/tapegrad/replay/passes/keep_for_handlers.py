"""Keeps what is changed before a step whose error the function handles, so that it can be put back.

Where such a step fails, the run has not taken place: the machine puts the bytes back, and the function runs as
Python, with its handlers. Only what lies outside counts, and only what is written up to the last such step.
"""

from __future__ import annotations

from dataclasses import replace

from ..logged_steps import copy_step
from ..program import ARGUMENT, GRADIENT, OUTSIDE, Buffer, Operand, Program
from .order import with_steps

__all__ = ["bytes_to_keep", "keep_for_handlers"]


def changed_before(program: Program) -> list[Buffer]:
    """The buffers from outside that are written up to the last step whose error is handled."""
    last = max((i for i, step in enumerate(program.steps) if step.handled), default=-1)
    written = dict.fromkeys(n for step in program.steps[: last + 1] for n in sorted(step.written_buffers))
    found = [program.buffers[n] for n in written]
    return [b for b in found if b.kind in (ARGUMENT, GRADIENT, OUTSIDE) and b.nbytes]


def bytes_to_keep(program: Program) -> int:
    return sum(b.nbytes for b in changed_before(program))


def keep_for_handlers(program: Program) -> Program:
    """The program with copies at its start of what may have to be put back."""
    found = changed_before(program)
    if not found:
        return program
    program = program.copy()
    kept, copies = [], []
    for b in found:
        to = program.new_buffer(b.nbytes)
        program.keep.add(to.number)
        kept.append((b.number, to.number))
        copy = copy_step(Operand(to.number, 0), Operand(b.number, 0), b.nbytes)
        copies.append(replace(copy, name="keep"))
    after = with_steps(program, [(s, None) for s in copies] + [(s, i) for i, s in enumerate(program.steps)])
    after.effects = replace(after.effects, kept=tuple(kept))
    return after
