"""Pointwise steps write over an input that nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator

from ..._layout import FRAME_GX, FRAME_GX_N, FRAME_IN, FRAME_N, FRAME_OUT
from ..program import FRESH, INSIDE, Operand, Program, Step, itemsize
from .merging import Merged

__all__ = ["write_in_place"]


def write_in_place(program: Program) -> Program:
    """Gives the result of a flat pointwise step the memory of an input that dies there.

    Only where the kernel has a loop with vectors for it (see ops/loops.py), where both have the same number of
    elements of one size, and where no other operand of the step shares the memory.
    """
    merged = Merged(program)
    for i, step in enumerate(program.steps):
        if step.flat and not step.adds:
            for word in candidates(step):
                if merge(program, merged, i, step, word):
                    break
    if not merged.moves:
        return program
    after = program.copy()
    after.steps = [merged.step(s) for s in program.steps]
    return after


def input_size(step: Step, k: int) -> int:
    op = step.declaration
    assert op is not None
    fixed = op.input_dtypes[k] if k < len(op.input_dtypes) else None
    return itemsize(step.dt) if fixed is None else fixed.itemsize


def result_size(step: Step) -> int:
    op = step.declaration
    assert op is not None
    return itemsize(step.dt) if op.result is None else op.result.itemsize


def candidates(step: Step) -> Iterator[int]:
    """Words of inputs that the kernel can overwrite as it goes."""
    op = step.declaration
    assert op is not None
    n_inputs = len(op.inputs)
    if step.role > 0:
        whole = step.frame[FRAME_GX_N] == step.frame[FRAME_N] and step.steps_with(0)
        if n_inputs == 1 and whole and input_size(step, 0) == result_size(step):
            yield FRAME_OUT
        return
    if n_inputs > 2:
        return
    for k in range(n_inputs):
        whole = step.steps_with(k) and (k == 0 or step.steps_with(0))
        if FRAME_IN + k in step.reads and whole and input_size(step, k) == result_size(step):
            yield FRAME_IN + k


def merge(program: Program, merged: Merged, i: int, step: Step, word: int) -> bool:
    """Puts the result over the input at `word` if that is safe."""
    made = FRAME_GX if step.role > 0 else FRAME_OUT
    if word not in step.reads or step.writes != {made}:
        return False
    out, source = merged.at(step.operands[made]), merged.at(step.operands[word])
    nbytes = step.frame[FRAME_N] * result_size(step)
    new, old = program.buffers[out.buffer], program.buffers[source.buffer]
    if out.buffer == source.buffer or out.offset != 0 or new.nbytes != nbytes:
        return False
    if merged.first[out.buffer] != i or merged.last[source.buffer] != i:
        return False
    if old.kind != INSIDE or program.observed(source.buffer):
        return False
    if any(merged.at(step.operands[w]).buffer == source.buffer for w in step.reads if w != word):
        return False
    if new.kind == INSIDE and not program.observed(out.buffer):
        if source.offset + nbytes > old.nbytes:
            return False
        merged.move(out.buffer, source)
        return True
    if new.kind == FRESH and source.offset == 0 and old.nbytes <= nbytes:
        # What the caller gets is where the input was computed already.
        merged.move(source.buffer, Operand(out.buffer, 0))
        return True
    return False
