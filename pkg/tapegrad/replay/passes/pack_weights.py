"""Weights that several `linear` steps read are transposed once, not by each of them.

A recurrent network multiplies with the same weights at each time step, and a third of a small product goes into
bringing `w^T` into the order in which the kernel reads it.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from ..._layout import FRAME_EXT, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_STEP, FRAME_WORDS
from ...dtypes import DTYPES
from ...native import compile_kernel
from ...native.blas import panels_pay
from ...native.panels import panels_win
from .. import _machine
from ..packed_kernels import packed_linear_kernel, transpose_kernel
from ..program import Operand, Program, Step, blank_frame
from .order import with_steps

__all__ = ["pack_weights"]

LEAST = 2  # products that read the same weight
LINE = 64  # bytes of a vector

Weight = tuple[Operand, int, int, int]  # where, rows, columns, dtype


def pack_weights(program: Program, least: int = LEAST) -> Program:
    """Puts one transposition in front of the products that share a weight which nobody changes in between."""
    groups = [g for g in shared_weights(program) if len(g) >= least]
    if not groups:
        return program
    after = program.copy()
    packed: dict[int, Step] = {}
    before: dict[int, Step] = {}
    for group in groups:
        first = program.steps[group[0]]
        transposition, operand, stride = transpose_step(after, first)
        before[group[0]] = transposition
        for i in group:
            packed[i] = packed_step(program.steps[i], operand, stride)
    steps: list[tuple[Step, int | None]] = []
    for i, step in enumerate(program.steps):
        if i in before:
            steps.append((before[i], None))
        steps.append((packed.get(i, step), i))
    made = with_steps(program, steps)
    return replace(made, buffers=after.buffers)


def weight_of(step: Step) -> Weight | None:
    """The weight of a product that our own kernel computes, transposing as it goes."""
    op = step.declaration
    if op is None or op.name != "linear" or step.role != 0 or step.words is None:
        return None
    m, n, k = struct.unpack("3q", step.words[:24])
    if not panels_win(0, 1, m, n, k):
        return None
    return step.operands[FRAME_IN + 1], n, k, step.dt


def shared_weights(program: Program) -> list[list[int]]:
    """Numbers of the steps that read one weight in one state."""
    if not panels_pay():
        return []
    open_groups: dict[Weight, list[int]] = {}
    groups = []
    for i, step in enumerate(program.steps):
        weight = weight_of(step)
        if weight is not None:
            if weight not in open_groups:
                open_groups[weight] = []
                groups.append(open_groups[weight])
            open_groups[weight].append(i)
        written = step.written_buffers()
        if written:
            open_groups = {w: g for w, g in open_groups.items() if w[0].buffer not in written}
    return groups


def transpose_step(program: Program, step: Step) -> tuple[Step, Operand, int]:
    """The transposition of a product's weight into a new buffer, where that is, and its row stride."""
    assert step.words is not None
    _, n, k, size = struct.unpack("4q", step.words[:32])
    lanes = LINE // size
    stride = (n + lanes - 1) // lanes * lanes
    room = (k + lanes - 1) // lanes * lanes * stride * size
    operand = Operand(program.new_buffer(room).number, 0)
    frame = blank_frame()
    frame[FRAME_N] = n * k
    frame[FRAME_STEP] = 1
    words = struct.pack("4q", n, k, stride, size)
    real = DTYPES[step.dt]
    kernel = compile_kernel(transpose_kernel, {"T": real}, f"transpose.{real.name}")
    plan = _machine.plan_call(kernel, struct.pack(f"{FRAME_WORDS}q", *frame), words, None, None, FRAME_EXT)
    made = Step(
        op=-1,
        role=-1,
        layout=0,
        dt=step.dt,
        kernel=kernel,
        items=plan[0],
        frame=tuple(frame),
        operands={FRAME_OUT: operand, FRAME_IN: step.operands[FRAME_IN + 1]},
        reads=frozenset({FRAME_IN}),
        writes=frozenset({FRAME_OUT}),
        words=words,
        plan=plan,
        line=step.line,
        name="transpose",
    )
    return made, operand, stride


def packed_step(step: Step, weight: Operand, stride: int) -> Step:
    """The product with the transposed weight."""
    assert step.words is not None
    real = DTYPES[step.dt]
    kernel = compile_kernel(packed_linear_kernel, {"T": real}, f"packed_linear.{real.name}")
    words = step.words[:40] + struct.pack("q", stride)
    plan = _machine.plan_call(kernel, struct.pack(f"{FRAME_WORDS}q", *step.frame), words, None, None, FRAME_EXT)
    return replace(
        step,
        op=-1,
        role=-1,
        kernel=kernel,
        items=plan[0],
        operands={**step.operands, FRAME_IN + 1: weight},
        words=words,
        plan=plan,
        name="linear.packed",
    )
