"""The loops of the derivatives of pointwise ops, by the kinds of `loops`.

A backward loop computes the gradient of one input (TARGET) and only ever writes it; where that input was
broadcast the gradient is summed here, without a temporary of the result's size. Sums run over several lanes in
blocks, so that rounding grows with the block and not with the length.

Bound per kernel as there: `formula`, the types and their sizes, of which ST is the gradient's, and TARGET.
"""

from __future__ import annotations

from .._layout import (
    FRAME_EXT,
    FRAME_GX,
    FRAME_GX_N,
    FRAME_IN,
    FRAME_OUT,
    FRAME_PARAMS,
    FRAME_STEP,
    FRAME_Y,
    PLAN_GRAD,
    PLAN_IN,
    PLAN_NDIM,
    PLAN_OUT,
    PLAN_SHAPE,
)
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer
from .loops import formula
from .strides import D, block_end, row_step, start

__all__ = ["BACKWARD", "PASS_THROUGH"]

T0 = T1 = T2 = TO = T
S0 = S1 = S2 = SO = ST = 4  # their sizes in bytes
TARGET = 0
BLOCK = 2048


# The derivative of a sum, where the gradient cannot simply be handed on.
def pass_1(g, _x, _y, _p):
    return g


def pass_2(g, _a, _b, _y, _p):
    return g


def pass_3(g, _a, _b, _c, _y, _p):
    return g


def backward_flat_1(f, lo, hi):
    g = pointer(f[FRAME_OUT], TO)
    a = pointer(f[FRAME_IN], T0)
    y = pointer(f[FRAME_Y], TO)
    gx = pointer(f[FRAME_GX], T0)
    p = pointer(f[FRAME_PARAMS], T)
    same = pointer(f[FRAME_GX], TO)
    if f[FRAME_STEP] == 1 and f[FRAME_GX] == f[FRAME_OUT]:
        for i in range(lo, hi):
            gx[i] = T0(formula(same[i], a[i], y[i], p))
    elif f[FRAME_STEP] == 1:
        for i in range(lo, hi):
            gx[i] = T0(formula(g[i], a[i], y[i], p))
    else:
        total = T0(0.0)
        v = a[0]
        i = lo
        while i < hi:
            m = min(hi, i + BLOCK)
            part = T0(0.0)
            for j in range(i, m):
                part += T0(formula(g[j], v, y[j], p))
            total += part
            i = m
        gx[0] = total
    return 0


def backward_flat_2(f, lo, hi):
    g = pointer(f[FRAME_OUT], TO)
    a = pointer(f[FRAME_IN], T0)
    b = pointer(f[FRAME_IN + 1], T1)
    y = pointer(f[FRAME_Y], TO)
    gx = pointer(f[FRAME_GX], T)
    p = pointer(f[FRAME_PARAMS], T)
    sa = f[FRAME_STEP]
    sb = f[FRAME_STEP + 1]
    if f[FRAME_STEP + TARGET] == 1:
        if sa + sb == 2:
            for i in range(lo, hi):
                gx[i] = T(formula(g[i], a[i], b[i], y[i], p))
        elif sb == 0:
            v = b[0]
            for i in range(lo, hi):
                gx[i] = T(formula(g[i], a[i], v, y[i], p))
        else:
            u = a[0]
            for i in range(lo, hi):
                gx[i] = T(formula(g[i], u, b[i], y[i], p))
    else:
        total = T(0.0)
        i = lo
        while i < hi:
            m = min(hi, i + BLOCK)
            # Eight running sums keep the order fixed and the additions independent.
            s0 = s1 = s2 = s3 = T(0.0)
            j = i
            while j + 4 <= m:
                s0 += T(formula(g[j], a[j * sa], b[j * sb], y[j], p))
                s1 += T(formula(g[j + 1], a[(j + 1) * sa], b[(j + 1) * sb], y[j + 1], p))
                s2 += T(formula(g[j + 2], a[(j + 2) * sa], b[(j + 2) * sb], y[j + 2], p))
                s3 += T(formula(g[j + 3], a[(j + 3) * sa], b[(j + 3) * sb], y[j + 3], p))
                j += 4
            while j < m:
                s0 += T(formula(g[j], a[j * sa], b[j * sb], y[j], p))
                j += 1
            total += (s0 + s1) + (s2 + s3)
            i = m
        gx[0] = total
    return 0


def backward_flat_3(f, lo, hi):
    g = pointer(f[FRAME_OUT], TO)
    a = pointer(f[FRAME_IN], T0)
    b = pointer(f[FRAME_IN + 1], T1)
    c = pointer(f[FRAME_IN + 2], T2)
    y = pointer(f[FRAME_Y], TO)
    gx = pointer(f[FRAME_GX], T)
    p = pointer(f[FRAME_PARAMS], T)
    sa = f[FRAME_STEP]
    sb = f[FRAME_STEP + 1]
    sc = f[FRAME_STEP + 2]
    if f[FRAME_STEP + TARGET] == 1:
        if sa + sb + sc == 3:
            for i in range(lo, hi):
                gx[i] = T(formula(g[i], a[i], b[i], c[i], y[i], p))
        else:
            for i in range(lo, hi):
                gx[i] = T(formula(g[i], a[i * sa], b[i * sb], c[i * sc], y[i], p))
    else:
        total = T(0.0)
        i = lo
        while i < hi:
            m = min(hi, i + BLOCK)
            part = T(0.0)
            for j in range(i, m):
                part += T(formula(g[j], a[j * sa], b[j * sb], c[j * sc], y[j], p))
            total += part
            i = m
        gx[0] = total
    return 0


def clear(f, base):
    """Zeroes the target gradient where several results add into one of its elements."""
    gx = pointer(f[FRAME_GX], T)
    if f[FRAME_STEP + TARGET] == 0:
        for i in range(f[FRAME_GX_N]):
            gx[i] = T(0.0)
    return base


def backward_general_1(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = clear(f, w[PLAN_NDIM])
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    sx = w[PLAN_GRAD + n - 1]
    once = f[FRAME_STEP] == 1
    g = pointer(f[FRAME_OUT], TO)
    row_a = row_step(w, PLAN_IN, n) * S0
    row_y = row_step(w, PLAN_OUT, n) * SO
    row_gx = row_step(w, PLAN_GRAD, n) * S0
    item = lo
    j0 = lo % inner
    while item < hi:
        end = block_end(w, item, hi, n)
        at_a = f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0
        at_y = f[FRAME_Y] + start(w, item, PLAN_OUT, n) * SO
        at_gx = f[FRAME_GX] + start(w, item, PLAN_GRAD, n) * S0
        while item < end:
            j1 = min(inner, j0 + end - item)
            a = pointer(at_a, T0)
            y = pointer(at_y, TO)
            gx = pointer(at_gx, T0)
            base = item - j0
            if once:
                for j in range(j0, j1):
                    gx[j * sx] = T0(formula(g[base + j], a[j * sa], y[j * sy], p))
            elif sx == 0:
                total = T0(0.0)
                for j in range(j0, j1):
                    total += T0(formula(g[base + j], a[j * sa], y[j * sy], p))
                gx[0] += total
            else:
                for j in range(j0, j1):
                    gx[j * sx] += T0(formula(g[base + j], a[j * sa], y[j * sy], p))
            item += j1 - j0
            j0 = 0
            at_a += row_a
            at_y += row_y
            at_gx += row_gx
    return 0


def backward_general_2(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = clear(f, w[PLAN_NDIM])
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    sb = w[PLAN_IN + D + n - 1]
    sx = w[PLAN_GRAD + TARGET * D + n - 1]
    once = f[FRAME_STEP + TARGET] == 1
    g = pointer(f[FRAME_OUT], TO)
    row_a = row_step(w, PLAN_IN, n) * S0
    row_b = row_step(w, PLAN_IN + D, n) * S1
    row_y = row_step(w, PLAN_OUT, n) * SO
    row_gx = row_step(w, PLAN_GRAD + TARGET * D, n) * ST
    item = lo
    j0 = lo % inner
    while item < hi:
        end = block_end(w, item, hi, n)
        at_a = f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0
        at_b = f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1
        at_y = f[FRAME_Y] + start(w, item, PLAN_OUT, n) * SO
        at_gx = f[FRAME_GX] + start(w, item, PLAN_GRAD + TARGET * D, n) * ST
        while item < end:
            j1 = min(inner, j0 + end - item)
            a = pointer(at_a, T0)
            b = pointer(at_b, T1)
            y = pointer(at_y, TO)
            gx = pointer(at_gx, T)
            base = item - j0
            if once:
                for j in range(j0, j1):
                    gx[j * sx] = T(formula(g[base + j], a[j * sa], b[j * sb], y[j * sy], p))
            elif sx == 0:
                total = T(0.0)
                for j in range(j0, j1):
                    total += T(formula(g[base + j], a[j * sa], b[j * sb], y[j * sy], p))
                gx[0] += total
            elif sx == 1 and sa == 1 and sb == 1 and sy == 1:
                for j in range(j0, j1):
                    gx[j] += T(formula(g[base + j], a[j], b[j], y[j], p))
            else:
                for j in range(j0, j1):
                    gx[j * sx] += T(formula(g[base + j], a[j * sa], b[j * sb], y[j * sy], p))
            item += j1 - j0
            j0 = 0
            at_a += row_a
            at_b += row_b
            at_y += row_y
            at_gx += row_gx
    return 0


def backward_general_3(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = clear(f, w[PLAN_NDIM])
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    sb = w[PLAN_IN + D + n - 1]
    sc = w[PLAN_IN + 2 * D + n - 1]
    sx = w[PLAN_GRAD + TARGET * D + n - 1]
    once = f[FRAME_STEP + TARGET] == 1
    g = pointer(f[FRAME_OUT], TO)
    row_a = row_step(w, PLAN_IN, n) * S0
    row_b = row_step(w, PLAN_IN + D, n) * S1
    row_c = row_step(w, PLAN_IN + 2 * D, n) * S2
    row_y = row_step(w, PLAN_OUT, n) * SO
    row_gx = row_step(w, PLAN_GRAD + TARGET * D, n) * ST
    item = lo
    j0 = lo % inner
    while item < hi:
        end = block_end(w, item, hi, n)
        at_a = f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0
        at_b = f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1
        at_c = f[FRAME_IN + 2] + start(w, item, PLAN_IN + 2 * D, n) * S2
        at_y = f[FRAME_Y] + start(w, item, PLAN_OUT, n) * SO
        at_gx = f[FRAME_GX] + start(w, item, PLAN_GRAD + TARGET * D, n) * ST
        while item < end:
            j1 = min(inner, j0 + end - item)
            a = pointer(at_a, T0)
            b = pointer(at_b, T1)
            c = pointer(at_c, T2)
            y = pointer(at_y, TO)
            gx = pointer(at_gx, T)
            base = item - j0
            if once:
                for j in range(j0, j1):
                    gx[j * sx] = T(formula(g[base + j], a[j * sa], b[j * sb], c[j * sc], y[j * sy], p))
            else:
                for j in range(j0, j1):
                    gx[j * sx] += T(formula(g[base + j], a[j * sa], b[j * sb], c[j * sc], y[j * sy], p))
            item += j1 - j0
            j0 = 0
            at_a += row_a
            at_b += row_b
            at_c += row_c
            at_y += row_y
            at_gx += row_gx
    return 0


BACKWARD = (
    (backward_flat_1, backward_flat_2, backward_flat_3),
    (backward_general_1, backward_general_2, backward_general_3),
)
PASS_THROUGH = (pass_1, pass_2, pass_3)
