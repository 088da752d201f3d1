"""Weights that several products `x w^T` read are packed once, not by each of them.

A recurrent network multiplies with the same weights at each time step, and a third of a small product goes into
bringing `w^T` into the order in which the kernel reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from ..._layout import FRAME_EXT, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_WORDS
from ...dtypes import DTYPES
from ...native import compile_kernel
from ...native.blas import panels_pay
from ...native.panels import packed_elements, panels_win
from .. import _look
from ..packed_kernels import pack_kernel, packed_product_kernel
from ..program import Operand, Program, Step, blank_frame
from .order import with_steps

__all__ = ["pack_weights"]

LEAST = 16384  # elements that need not be packed again: about a microsecond, for which kernels may be compiled
LARGE, OFTEN = 1 << 20, 4  # a weight of so many bytes leaves the cache between: it must be read this often
LINE = 64  # bytes of a vector


class Product(NamedTuple):
    """A product x w^T + bias that our own kernel computes, packing w as it goes."""

    m: int
    n: int
    k: int
    size: int
    bias: int
    x_stride: int
    w_stride: int

    @staticmethod
    def of(step: Step) -> Product | None:
        op = step.declaration
        if op is None or step.role != 0 or step.words is None or op.name not in ("linear", "mm"):
            return None
        words = struct.unpack(f"{len(step.words) // 8}q", step.words)
        m, n, k, size = words[:4]
        bias, x_stride, w_stride = words[4], k, k
        if op.name == "mm":
            x_transposed, x_stride, w_transposed, w_stride = words[4:8]
            bias = 0
            if x_transposed or not w_transposed:
                return None
        return Product(m, n, k, size, bias, x_stride, w_stride) if ours(m, n, k) else None


@cache
def ours(m: int, n: int, k: int) -> bool:
    """Whether a product of this size goes to our own kernel."""
    return bool(panels_win(0, 1, m, n, k))  # type: ignore[no-untyped-call]


Weight = tuple[Operand, int, int, int, int]  # where, rows, columns, row stride, dtype


def pack_weights(program: Program) -> Program:
    """Puts one packing in front of the products that share a weight which nobody changes in between."""
    groups = [g for g in shared_weights(program) if pays(program.steps[g[0]], len(g))]
    if not groups:
        return program
    after = program.copy()
    packed: dict[int, Step] = {}
    before: dict[int, Step] = {}
    for group in groups:
        first = program.steps[group[0]]
        before[group[0]], operand = pack_step(after, first)
        for i in group:
            packed[i] = packed_step(program.steps[i], operand)
    steps: list[tuple[Step, int | None]] = []
    for i, step in enumerate(program.steps):
        if i in before:
            steps.append((before[i], None))
        steps.append((packed.get(i, step), i))
    made = with_steps(program, steps)
    return replace(made, buffers=after.buffers)


def pays(step: Step, uses: int) -> bool:
    """Whether to pack the weight of a product that so many read."""
    product = Product.of(step)
    assert product is not None
    elements = product.n * product.k
    return (uses - 1) * elements >= LEAST and (uses >= OFTEN or elements * product.size < LARGE)


def shared_weights(program: Program) -> list[list[int]]:
    """Numbers of the steps that read one weight in one state."""
    if not panels_pay():
        return []
    open_groups: dict[Weight, list[int]] = {}
    groups = []
    for i, step in enumerate(program.steps):
        p = Product.of(step)
        if p is not None:
            weight = (step.operands[FRAME_IN + 1], p.n, p.k, p.w_stride, step.dt)
            if weight not in open_groups:
                open_groups[weight] = []
                groups.append(open_groups[weight])
            open_groups[weight].append(i)
        written = step.written_buffers
        if written:
            open_groups = {w: g for w, g in open_groups.items() if w[0].buffer not in written}
    return groups


def pack_step(program: Program, step: Step) -> tuple[Step, Operand]:
    """The packing of a product's weight into a new buffer, and where that is."""
    product = Product.of(step)
    assert product is not None
    n, k, size = product.n, product.k, product.size
    operand = Operand(program.new_buffer(packed_elements(n, k, LINE // size) * size).number, 0)  # type: ignore[no-untyped-call]
    frame = blank_frame()
    frame[FRAME_N] = n * k
    words = struct.pack("4q", n, k, product.w_stride, size)
    kernel, plan = planned(pack_kernel, step, frame, words)
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
        name="pack",
    )
    return made, operand


def packed_step(step: Step, weight: Operand) -> Step:
    """The product with the packed weight."""
    product = Product.of(step)
    assert product is not None
    words = struct.pack("6q", *product[:6])
    kernel, plan = planned(packed_product_kernel, step, step.frame, words)
    return replace(
        step,
        op=-1,
        role=-1,
        kernel=kernel,
        items=plan[0],
        operands={**step.operands, FRAME_IN + 1: weight},
        words=words,
        plan=plan,
        name=f"{step.label}.packed",
    )


def planned(function: Any, step: Step, frame: Sequence[int], words: bytes) -> tuple[int, tuple[int, int, int, int]]:
    """The kernel for a step's dtype, and what it says to a planning call."""
    kernel = kernel_for(function, step.dt)
    plan = _look.plan_call(kernel, struct.pack(f"{FRAME_WORDS}q", *frame), words, None, None, FRAME_EXT)
    return kernel, plan


@cache
def kernel_for(function: Any, dt: int) -> int:
    real = DTYPES[dt]
    return compile_kernel(function, {"T": real}, f"{function.__name__.removesuffix('_kernel')}.{real.name}")
