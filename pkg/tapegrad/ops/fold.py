"""How kernels add up (or take the largest of, or multiply) many numbers: in vectors, in a fixed order.

A run of n numbers is read as rows of 16 or 64 lanes and folded lane by lane, four rows to a step, a last row
that is shorter too; then the lanes are folded pairwise. The order depends on n alone.
Everything here is compiled into the kernels that call it; `combine` and `load` are plain functions.
"""

from __future__ import annotations

from .._layout import FRAME_GRAIN, FRAME_PHASES, FRAME_SCRATCH_BYTES
from ..dtypes import float32 as T
from ..native.symbols import exp, outlined, where

LANES = 64  # room a fold needs, in elements
SHORT_RUN = 32  # a run below is folded one by one
WIDE_RUN = 256  # from here on it is read in rows of LANES


def add(a, b):
    return a + b


def multiply(a, b):
    return a * b


def larger(a, b):
    """The larger; a NaN in b is passed over (softmax finds it again in its sum)."""
    return where(b > a, b, a)


def plain(v, shift):
    return v


def exp_less(v, shift):
    return exp(v - shift)


@outlined
def fold_columns(combine, load, shift, total, x, start, rows, stride, width):
    """total[0:width] = the fold over `rows` >= 1 rows of x[start + row * stride :][0:width]."""
    first = 4 if rows >= 4 else 1
    if first == 4:
        for j in range(width):
            p = start + j
            total[j] = combine(
                combine(load(x[p], shift), load(x[p + stride], shift)),
                combine(load(x[p + 2 * stride], shift), load(x[p + 3 * stride], shift)),
            )
    else:
        for j in range(width):
            total[j] = load(x[start + j], shift)
    whole = first + (rows - first) // 4 * 4
    for i in range(first, whole, 4):
        q = start + i * stride
        for j in range(width):
            p = q + j
            total[j] = combine(
                total[j],
                combine(
                    combine(load(x[p], shift), load(x[p + stride], shift)),
                    combine(load(x[p + 2 * stride], shift), load(x[p + 3 * stride], shift)),
                ),
            )
    for i in range(whole, rows):
        q = start + i * stride
        for j in range(width):
            total[j] = combine(total[j], load(x[q + j], shift))


@outlined
def fold_row(combine, load, shift, x, start, n, lanes):
    """The fold over x[start : start + n], n >= 1; `lanes` points to LANES elements of scratch."""
    if n < SHORT_RUN:
        s = load(x[start], shift)
        for j in range(1, n):
            s = combine(s, load(x[start + j], shift))
        return s
    width = 16 if n < WIDE_RUN else LANES
    rows = n // width
    fold_columns(combine, load, shift, lanes, x, start, rows, width, width)
    rest = start + rows * width
    for j in range(n - rows * width):
        lanes[j] = combine(lanes[j], load(x[rest + j], shift))
    if width == LANES:
        for j in range(16):
            lanes[j] = combine(combine(lanes[j], lanes[j + 16]), combine(lanes[j + 32], lanes[j + 48]))
    a = combine(combine(lanes[0], lanes[8]), combine(lanes[4], lanes[12]))
    b = combine(combine(lanes[1], lanes[9]), combine(lanes[5], lanes[13]))
    c = combine(combine(lanes[2], lanes[10]), combine(lanes[6], lanes[14]))
    d = combine(combine(lanes[3], lanes[11]), combine(lanes[7], lanes[15]))
    return combine(combine(a, b), combine(c, d))


def plan_items(f, items, grain, scratch, phases):
    """Answer a planning call."""
    f[FRAME_GRAIN] = grain
    f[FRAME_SCRATCH_BYTES] = scratch
    f[FRAME_PHASES] = phases
    return items


def chunks_of(items, grain):
    return (items + grain - 1) // grain


def put(gx, i, value, acc):
    """Write a gradient's element, or add to it."""
    gx[i] = value if acc == 0 else gx[i] + value


assert T is not None  # the name that compiled code re-binds
