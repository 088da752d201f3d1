"""The loops of pointwise ops, each written once and compiled per op, element type and layout.

Flat: every operand is contiguous, or a single element; these loops vectorise. General: strides from the plan,
dimensions already collapsed, items counted in the result's order. The loops of derivatives are in
`backward_loops`.

An operand at the very address of the result has loops of its own, which read through the result's pointer:
the compiler sees no distance between two pointers, and would leave such a call to its loop without vectors.

Bound per kernel: `formula`, T (compute type), T0..T2 (types of the inputs), TO (type of the result), and their
sizes S0..S2, SO.
"""

from __future__ import annotations

from .._layout import (
    FRAME_EXT,
    FRAME_IN,
    FRAME_OUT,
    FRAME_PARAMS,
    FRAME_STEP,
    PLAN_IN,
    PLAN_NDIM,
    PLAN_OUT,
    PLAN_SHAPE,
)
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer
from .strides import D, block_end, row_step, start

__all__ = ["FORWARD", "WITHOUT_PARAMS"]

T0 = T1 = T2 = TO = T
S0 = S1 = S2 = SO = 4  # their sizes in bytes


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
    elif sa == 1 and sb == 0 and sc == 1:
        v = b[0]
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], v, c[i], p))
    elif sa == 1 and sb == 1 and sc == 0:
        u = c[0]
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], b[i], u, p))
    elif sa == 1 and sb == 0 and sc == 0:
        v = b[0]
        u = c[0]
        for i in range(lo, hi):
            y[i] = TO(formula(a[i], v, u, p))
    else:
        for i in range(lo, hi):
            y[i] = TO(formula(a[i * sa], b[i * sb], c[i * sc], p))
    return 0


def general_1(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = w[PLAN_NDIM]
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    row_y = row_step(w, PLAN_OUT, n) * SO
    row_a = row_step(w, PLAN_IN, n) * S0
    item = lo
    j0 = lo % inner
    while item < hi:
        end = block_end(w, item, hi, n)
        at_y = f[FRAME_OUT] + start(w, item, PLAN_OUT, n) * SO
        at_a = f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0
        while item < end:
            j1 = min(inner, j0 + end - item)
            y = pointer(at_y, TO)
            a = pointer(at_a, T0)
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
            j0 = 0
            at_y += row_y
            at_a += row_a
    return 0


def general_2(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    p = pointer(f[FRAME_PARAMS], T)
    n = w[PLAN_NDIM]
    inner = w[PLAN_SHAPE + n - 1]
    sy = w[PLAN_OUT + n - 1]
    sa = w[PLAN_IN + n - 1]
    sb = w[PLAN_IN + D + n - 1]
    row_y = row_step(w, PLAN_OUT, n) * SO
    row_a = row_step(w, PLAN_IN, n) * S0
    row_b = row_step(w, PLAN_IN + D, n) * S1
    item = lo
    j0 = lo % inner
    while item < hi:
        end = block_end(w, item, hi, n)
        at_y = f[FRAME_OUT] + start(w, item, PLAN_OUT, n) * SO
        at_a = f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0
        at_b = f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1
        while item < end:
            j1 = min(inner, j0 + end - item)
            y = pointer(at_y, TO)
            a = pointer(at_a, T0)
            b = pointer(at_b, T1)
            if sy == 1 and sa == 1 and sb == 1:
                for j in range(j0, j1):
                    y[j] = TO(formula(a[j], b[j], p))
            elif sy == 1 and sa == 1 and sb == 0:
                v = b[0]
                for j in range(j0, j1):
                    y[j] = TO(formula(a[j], v, p))
            elif sy == 1 and sa == 0 and sb == 1:
                u = a[0]
                for j in range(j0, j1):
                    y[j] = TO(formula(u, b[j], p))
            else:
                for j in range(j0, j1):
                    y[j * sy] = TO(formula(a[j * sa], b[j * sb], p))
            item += j1 - j0
            j0 = 0
            at_y += row_y
            at_a += row_a
            at_b += row_b
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
    row_y = row_step(w, PLAN_OUT, n) * SO
    row_a = row_step(w, PLAN_IN, n) * S0
    row_b = row_step(w, PLAN_IN + D, n) * S1
    row_c = row_step(w, PLAN_IN + 2 * D, n) * S2
    item = lo
    j0 = lo % inner
    while item < hi:
        end = block_end(w, item, hi, n)
        at_y = f[FRAME_OUT] + start(w, item, PLAN_OUT, n) * SO
        at_a = f[FRAME_IN] + start(w, item, PLAN_IN, n) * S0
        at_b = f[FRAME_IN + 1] + start(w, item, PLAN_IN + D, n) * S1
        at_c = f[FRAME_IN + 2] + start(w, item, PLAN_IN + 2 * D, n) * S2
        while item < end:
            j1 = min(inner, j0 + end - item)
            y = pointer(at_y, TO)
            a = pointer(at_a, T0)
            b = pointer(at_b, T1)
            c = pointer(at_c, T2)
            if sy == 1 and sa == 1 and sb == 1 and sc == 1:
                for j in range(j0, j1):
                    y[j] = TO(formula(a[j], b[j], c[j], p))
            elif sy == 1 and sa == 1 and sb == 0 and sc == 1:
                v = b[0]
                for j in range(j0, j1):
                    y[j] = TO(formula(a[j], v, c[j], p))
            elif sy == 1 and sa == 1 and sb == 1 and sc == 0:
                u = c[0]
                for j in range(j0, j1):
                    y[j] = TO(formula(a[j], b[j], u, p))
            else:
                for j in range(j0, j1):
                    y[j * sy] = TO(formula(a[j * sa], b[j * sb], c[j * sc], p))
            item += j1 - j0
            j0 = 0
            at_y += row_y
            at_a += row_a
            at_b += row_b
            at_c += row_c
    return 0


FORWARD = ((flat_1, flat_2, flat_3), (general_1, general_2, general_3))
WITHOUT_PARAMS = ((forward_1, forward_2, forward_3), (backward_1, backward_2, backward_3))
