"""The loops of pointwise ops, each written once and compiled per op, element type and layout.

Flat: every operand is contiguous, or a single element; these loops vectorise. General: strides
from the plan, dimensions already collapsed, items counted in the result's order. A backward loop
computes the gradient of one input (TARGET) and only ever writes it; where that input was broadcast
the gradient is summed here, without a temporary of the result's size. Sums run over eight lanes in
blocks, so that rounding grows with the block and not with the length.

An operand at the very address of the result has loops of its own, which read through the result's pointer:
the compiler sees no distance between two pointers, and would leave such a call to its loop without vectors.

Bound per kernel: `formula`, T (compute type), T0..T2 (types of the inputs), TO (type of the
result), their sizes S0..S2, SO, ST, and TARGET.
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

T0 = T1 = T2 = TO = T
S0 = S1 = S2 = SO = ST = 4  # their sizes in bytes
TARGET = 0
D = 8  # words per operand in a plan: MAX_DIMS
BLOCK = 2048


def formula(*_args):
    """Stands for the op's formula; bound when a kernel is compiled."""


def plain(*_args):
    """Stands for a formula without parameters; bound when a kernel is compiled."""


# Formulas without parameters, called as if they had some.
def forward_1(x, _p):
    return plain(x)


def forward_2(a, b, _p):
    return plain(a, b)


def forward_3(a, b, c, _p):
    return plain(a, b, c)


def backward_1(g, x, y, _p):
    return plain(g, x, y)


def backward_2(g, a, b, y, _p):
    return plain(g, a, b, y)


def backward_3(g, a, b, c, y, _p):
    return plain(g, a, b, c, y)


# The derivative of a sum, where the gradient cannot simply be handed on.
def pass_1(g, _x, _y, _p):
    return g


def pass_2(g, _a, _b, _y, _p):
    return g


def pass_3(g, _a, _b, _c, _y, _p):
    return g


def flat_1(f, lo, hi):
    y = pointer(f[FRAME_OUT], TO)
    a = pointer(f[FRAME_IN], T0)
    p = pointer(f[FRAME_PARAMS], T)
    same = pointer(f[FRAME_OUT], T0)
    if f[FRAME_STEP] == 0:
        v = TO(formula(a[0], p))
        for i in range(lo, hi):
            y[i] = v
    elif f[FRAME_OUT] == f[FRAME_IN]:
        for i in range(lo, hi):
            y[i] = TO(formula(same[i], p))
    else:
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], p))
    return 0


def flat_2(f, lo, hi):
    y = pointer(f[FRAME_OUT], TO)
    a = pointer(f[FRAME_IN], T0)
    b = pointer(f[FRAME_IN + 1], T1)
    p = pointer(f[FRAME_PARAMS], T)
    same_a = pointer(f[FRAME_OUT], T0)
    same_b = pointer(f[FRAME_OUT], T1)
    if f[FRAME_STEP + 1] == 0:
        v = b[0]
        if f[FRAME_STEP] == 0:
            w = TO(formula(a[0], v, p))
            for i in range(lo, hi):
                y[i] = w
        elif f[FRAME_OUT] == f[FRAME_IN]:
            for i in range(lo, hi):
                y[i] = TO(formula(same_a[i], v, p))
        else:
            for i in range(lo, hi):
                y[i] = TO(formula(a[i], v, p))
    elif f[FRAME_STEP] == 0:
        u = a[0]
        for i in range(lo, hi):
            y[i] = TO(formula(u, b[i], p))
    elif f[FRAME_OUT] == f[FRAME_IN]:
        for i in range(lo, hi):
            y[i] = TO(formula(same_a[i], b[i], p))
    elif f[FRAME_OUT] == f[FRAME_IN + 1]:
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], same_b[i], p))
    else:
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], b[i], p))
    return 0


def flat_3(f, lo, hi):
    y = pointer(f[FRAME_OUT], TO)
    a = pointer(f[FRAME_IN], T0)
    b = pointer(f[FRAME_IN + 1], T1)
    c = pointer(f[FRAME_IN + 2], T2)
    p = pointer(f[FRAME_PARAMS], T)
    sa = f[FRAME_STEP]
    sb = f[FRAME_STEP + 1]
    sc = f[FRAME_STEP + 2]
    if sa + sb + sc == 3:
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], b[i], c[i], p))
    else:
        for i in range(lo, hi):
            y[i] = TO(formula(a[i * sa], b[i * sb], c[i * sc], p))
    return 0


def start(w, item, base, n):
    """The offset of an operand at an item, without the last dimension's part."""
    offset = 0
    rest = item
    for k in range(n):
        d = n - 1 - k
        size = w[PLAN_SHAPE + d]
        index = rest % size
        rest = rest // size
        if d < n - 1:
            offset += index * w[base + d]
    return offset


def general_1(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = w[PLAN_NDIM]
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    item = lo
    while item < hi:
        j0 = item % inner
        j1 = min(inner, j0 + hi - item)
        y = pointer(f[FRAME_OUT] + start(w, item, PLAN_OUT, n) * SO, TO)
        a = pointer(f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0, T0)
        if sy == 1 and sa == 1:
            for j in range(j0, j1):
                y[j] = TO(formula(a[j], p))
        elif sy == 1 and sa == 0:
            v = TO(formula(a[0], p))
            for j in range(j0, j1):
                y[j] = v
        else:
            for j in range(j0, j1):
                y[j * sy] = TO(formula(a[j * sa], p))
        item += j1 - j0
    return 0


def general_2(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = w[PLAN_NDIM]
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    sb = w[PLAN_IN + D + n - 1]
    item = lo
    while item < hi:
        j0 = item % inner
        j1 = min(inner, j0 + hi - item)
        y = pointer(f[FRAME_OUT] + start(w, item, PLAN_OUT, n) * SO, TO)
        a = pointer(f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0, T0)
        b = pointer(f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1, T1)
        if sy == 1 and sa == 1 and sb == 1:
            for j in range(j0, j1):
                y[j] = TO(formula(a[j], b[j], p))
        elif sy == 1 and sa == 1 and sb == 0:
            v = b[0]
            for j in range(j0, j1):
                y[j] = TO(formula(a[j], v, p))
        else:
            for j in range(j0, j1):
                y[j * sy] = TO(formula(a[j * sa], b[j * sb], p))
        item += j1 - j0
    return 0


def general_3(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = w[PLAN_NDIM]
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    sb = w[PLAN_IN + D + n - 1]
    sc = w[PLAN_IN + 2 * D + n - 1]
    item = lo
    while item < hi:
        j0 = item % inner
        j1 = min(inner, j0 + hi - item)
        y = pointer(f[FRAME_OUT] + start(w, item, PLAN_OUT, n) * SO, TO)
        a = pointer(f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0, T0)
        b = pointer(f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1, T1)
        c = pointer(f[FRAME_IN + 2] + start(w, item, PLAN_IN + 2 * D, n) * S2, T2)
        for j in range(j0, j1):
            y[j * sy] = TO(formula(a[j * sa], b[j * sb], c[j * sc], p))
        item += j1 - j0
    return 0


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
    item = lo
    while item < hi:
        j0 = item % inner
        j1 = min(inner, j0 + hi - item)
        a = pointer(f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0, T0)
        y = pointer(f[FRAME_Y] + start(w, item, PLAN_OUT, n) * SO, TO)
        gx = pointer(f[FRAME_GX] + start(w, item, PLAN_GRAD, n) * S0, T0)
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
    item = lo
    while item < hi:
        j0 = item % inner
        j1 = min(inner, j0 + hi - item)
        a = pointer(f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0, T0)
        b = pointer(f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1, T1)
        y = pointer(f[FRAME_Y] + start(w, item, PLAN_OUT, n) * SO, TO)
        gx = pointer(f[FRAME_GX] + start(w, item, PLAN_GRAD + TARGET * D, n) * ST, T)
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
    item = lo
    while item < hi:
        j0 = item % inner
        j1 = min(inner, j0 + hi - item)
        a = pointer(f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0, T0)
        b = pointer(f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1, T1)
        c = pointer(f[FRAME_IN + 2] + start(w, item, PLAN_IN + 2 * D, n) * S2, T2)
        y = pointer(f[FRAME_Y] + start(w, item, PLAN_OUT, n) * SO, TO)
        gx = pointer(f[FRAME_GX] + start(w, item, PLAN_GRAD + TARGET * D, n) * ST, T)
        base = item - j0
        if once:
            for j in range(j0, j1):
                gx[j * sx] = T(formula(g[base + j], a[j * sa], b[j * sb], c[j * sc], y[j * sy], p))
        else:
            for j in range(j0, j1):
                gx[j * sx] += T(formula(g[base + j], a[j * sa], b[j * sb], c[j * sc], y[j * sy], p))
        item += j1 - j0
    return 0


FORWARD = ((flat_1, flat_2, flat_3), (general_1, general_2, general_3))
BACKWARD = (
    (backward_flat_1, backward_flat_2, backward_flat_3),
    (backward_general_1, backward_general_2, backward_general_3),
)
WITHOUT_PARAMS = ((forward_1, forward_2, forward_3), (backward_1, backward_2, backward_3))
PASS_THROUGH = (pass_1, pass_2, pass_3)
