"""Copies of bytes that can go: the copy and its source are one buffer from then on."""

from __future__ import annotations

from ..._layout import FRAME_IN, FRAME_N, FRAME_OUT
from ..program import CONSTANT, FRESH, INSIDE, Operand, Program, Step
from .merging import Merged
from .order import with_steps

__all__ = ["remove_copies"]


def remove_copies(program: Program) -> Program:
    """Lets a copy be its source where neither changes as long as the copy is read, or where the source dies."""
    writers: dict[int, list[int]] = {}
    for i, step in enumerate(program.steps):
        for number in step.written_buffers:
            writers.setdefault(number, []).append(i)
    merged = Merged(program)
    kept = []
    for i, step in enumerate(program.steps):
        if step.role == -1 and step.name == "copy" and joined(program, merged, writers, i, step):
            continue
        kept.append((step, i))
    if not merged.moves:
        return program
    return with_steps(program, [(merged.step(step), i) for step, i in kept])


def joined(program: Program, merged: Merged, writers: dict[int, list[int]], i: int, step: Step) -> bool:
    """Makes one buffer of the two if that is safe."""
    out, source = merged.at(step.operands[FRAME_OUT]), merged.at(step.operands[FRAME_IN])
    nbytes = step.frame[FRAME_N]
    new, old = program.buffers[out.buffer], program.buffers[source.buffer]
    if out.buffer == source.buffer or out.offset != 0 or new.nbytes != nbytes or merged.first[out.buffer] != i:
        return False
    inside = new.kind == INSIDE and not program.observed(out.buffer)
    last = merged.last[out.buffer]
    unchanged = old.kind == CONSTANT or not any(i <= w <= last for w in writers.get(source.buffer, ()))
    if inside and unchanged and writers[out.buffer] == [i]:
        merged.move(out.buffer, source)
        return True
    dies = old.kind == INSIDE and not program.observed(source.buffer) and merged.last[source.buffer] == i
    if dies and new.kind in (INSIDE, FRESH) and source.offset == 0 and old.nbytes == nbytes:
        merged.move(source.buffer, Operand(out.buffer, 0))
        writers[out.buffer] = sorted({*writers.get(source.buffer, ()), *writers[out.buffer]} - {i})
        return True
    return False
