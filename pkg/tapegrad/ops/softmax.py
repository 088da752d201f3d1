"""`softmax` and `log_softmax` along one dimension.

    softmax:      y = exp(x - max) / z,  z = sum exp(x - max)     dx = y (g - sum g y)
    log_softmax:  y = (x - max) - log z                          dx = g - exp(y) sum g

A tensor is seen as (outer, n, inner). With inner = 1 rows are contiguous: long rows go through the folds
of `fold`, short ones in blocks whose exponentials are taken in one flat pass, since a loop over 10 classes
never fills a vector. With inner > 1 the vectors run over inner, 64 columns to an item.
"""

from __future__ import annotations

from typing import Any

from .._layout import FRAME_ACC, FRAME_EXT, FRAME_GX, FRAME_IN, FRAME_OUT, FRAME_SCRATCH, FRAME_Y
from ..dtypes import float32, float64, int64
from ..dtypes import float32 as T
from ..native.symbols import exp, log, pointer, where
from .fold import LANES, add, chunks_of, exp_less, fold_row, larger, plain, plan_items, put
from .registry import Plan, structured
from .shapes import normal_dim, split_at

__all__ = ["log_softmax", "softmax"]

SHORT = 32  # rows up to this length are taken in blocks
BLOCK = 1024  # elements of such a block
STRETCH = BLOCK - LANES  # of a long row whose products are added at a time
COLUMNS = 64  # columns of one item where inner > 1
GRAIN = 32768  # elements of a chunk


def items_of(outer, n, inner):
    if n == 0 or inner == 0:
        return 0
    return outer if inner == 1 else outer * chunks_of(inner, COLUMNS)


def grain_of(n, inner):
    return max(1, GRAIN // max(1, n if inner == 1 else n * COLUMNS))


def short_softmax(x, y, tmp, lo, hi, n, log_of):
    block = BLOCK // max(1, n)
    for first in range(lo, hi, block):
        rows = min(block, hi - first)
        for r in range(rows):
            p = (first + r) * n
            m = x[p]
            for j in range(1, n):
                m = larger(m, x[p + j])
            for j in range(n):
                tmp[r * n + j] = x[p + j] - m
        start = first * n
        if log_of == 0:
            for i in range(rows * n):
                tmp[i] = exp(tmp[i])
            for r in range(rows):
                z = T(0.0)
                for j in range(n):
                    z += tmp[r * n + j]
                z = T(1.0) / z
                for j in range(n):
                    y[start + r * n + j] = tmp[r * n + j] * z
        else:
            for i in range(rows * n):
                y[start + i] = exp(tmp[i])
            for r in range(rows):
                z = T(0.0)
                for j in range(n):
                    z += y[start + r * n + j]
                z = log(z)
                for j in range(n):
                    y[start + r * n + j] = tmp[r * n + j] - z


def long_softmax(x, y, lanes, lo, hi, n, log_of):
    for row in range(lo, hi):
        p = row * n
        m = fold_row(larger, plain, T(0.0), x, p, n, lanes)
        if log_of == 0:
            for j in range(p, p + n):
                y[j] = exp(x[j] - m)
            z = T(1.0) / fold_row(add, plain, T(0.0), y, p, n, lanes)
            for j in range(p, p + n):
                y[j] = y[j] * z
        else:
            z = log(fold_row(add, exp_less, m, x, p, n, lanes))
            for j in range(p, p + n):
                y[j] = (x[j] - m) - z


def column_softmax(x, y, m, z, lo, hi, n, inner, log_of):
    blocks = chunks_of(inner, COLUMNS)
    for item in range(lo, hi):
        left = item % blocks * COLUMNS
        width = min(COLUMNS, inner - left)
        p = item // blocks * n * inner + left
        for c in range(width):
            m[c] = x[p + c]
            z[c] = T(0.0)
        for j in range(1, n):
            for c in range(width):
                v = x[p + j * inner + c]
                m[c] = where(v > m[c], v, m[c])
        if log_of == 0:
            for j in range(n):
                q = p + j * inner
                for c in range(width):
                    e = exp(x[q + c] - m[c])
                    y[q + c] = e
                    z[c] = z[c] + e
            for c in range(width):
                z[c] = T(1.0) / z[c]
            for j in range(n):
                q = p + j * inner
                for c in range(width):
                    y[q + c] = y[q + c] * z[c]
        else:
            for j in range(n):
                for c in range(width):
                    z[c] = z[c] + exp(x[p + j * inner + c] - m[c])
            for c in range(width):
                z[c] = log(z[c])
            for j in range(n):
                q = p + j * inner
                for c in range(width):
                    y[q + c] = (x[q + c] - m[c]) - z[c]


def softmax_body(f, lo, hi, log_of):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner, size = w[0], w[1], w[2], w[3]
    grain = grain_of(n, inner)
    if lo == -1:
        items = items_of(outer, n, inner)
        return plan_items(f, items, grain, chunks_of(items, grain) * BLOCK * size, 1)
    scratch = f[FRAME_SCRATCH] + lo // grain * BLOCK * size
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], T)
    tmp = pointer(scratch, T)
    if inner > 1:
        column_softmax(x, y, tmp, pointer(scratch + LANES * size, T), lo, hi, n, inner, log_of)
    elif n <= SHORT:
        short_softmax(x, y, tmp, lo, hi, n, log_of)
    else:
        long_softmax(x, y, tmp, lo, hi, n, log_of)
    return 0


def softmax_kernel(f, lo, hi):
    return softmax_body(f, lo, hi, 0)


def log_softmax_kernel(f, lo, hi):
    return softmax_body(f, lo, hi, 1)


# ---- derivatives --------------------------------------------------------------------------------


def softmax_dx_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner, size = w[0], w[1], w[2], w[3]
    grain = grain_of(n, inner)
    if lo == -1:
        items = items_of(outer, n, inner)
        return plan_items(f, items, grain, chunks_of(items, grain) * BLOCK * size, 1)
    scratch = f[FRAME_SCRATCH] + lo // grain * BLOCK * size
    g = pointer(f[FRAME_OUT], T)
    y = pointer(f[FRAME_Y], T)
    gx = pointer(f[FRAME_GX], T)
    tmp = pointer(scratch, T)
    acc = f[FRAME_ACC]
    if inner > 1:
        blocks = chunks_of(inner, COLUMNS)
        for item in range(lo, hi):
            left = item % blocks * COLUMNS
            width = min(COLUMNS, inner - left)
            p = item // blocks * n * inner + left
            for c in range(width):
                tmp[c] = T(0.0)
            for j in range(n):
                for c in range(width):
                    tmp[c] = tmp[c] + g[p + j * inner + c] * y[p + j * inner + c]
            for j in range(n):
                q = p + j * inner
                for c in range(width):
                    put(gx, q + c, y[q + c] * (g[q + c] - tmp[c]), acc)
        return 0
    lanes = pointer(scratch + STRETCH * size, T)
    for row in range(lo, hi):
        p = row * n
        s = T(0.0)
        for first in range(0, n, STRETCH):  # the products of a stretch, then their sum
            count = min(STRETCH, n - first)
            for j in range(count):
                tmp[j] = g[p + first + j] * y[p + first + j]
            s += fold_row(add, plain, T(0.0), tmp, 0, count, lanes)
        for j in range(p, p + n):
            put(gx, j, y[j] * (g[j] - s), acc)
    return 0


def log_softmax_dx_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner, size = w[0], w[1], w[2], w[3]
    grain = grain_of(n, inner)
    if lo == -1:
        items = items_of(outer, n, inner)
        return plan_items(f, items, grain, chunks_of(items, grain) * BLOCK * size, 1)
    g = pointer(f[FRAME_OUT], T)
    y = pointer(f[FRAME_Y], T)
    gx = pointer(f[FRAME_GX], T)
    tmp = pointer(f[FRAME_SCRATCH] + lo // grain * BLOCK * size, T)
    acc = f[FRAME_ACC]
    if inner > 1:
        blocks = chunks_of(inner, COLUMNS)
        for item in range(lo, hi):
            left = item % blocks * COLUMNS
            width = min(COLUMNS, inner - left)
            p = item // blocks * n * inner + left
            for c in range(width):
                tmp[c] = T(0.0)
            for j in range(n):
                for c in range(width):
                    tmp[c] = tmp[c] + g[p + j * inner + c]
            for j in range(n):
                q = p + j * inner
                for c in range(width):
                    put(gx, q + c, g[q + c] - exp(y[q + c]) * tmp[c], acc)
    elif n <= SHORT:
        block = BLOCK // max(1, n)
        for first in range(lo, hi, block):
            rows = min(block, hi - first)
            start = first * n
            for i in range(rows * n):
                tmp[i] = exp(y[start + i])
            for r in range(rows):
                p = start + r * n
                s = T(0.0)
                for j in range(n):
                    s += g[p + j]
                for j in range(n):
                    put(gx, p + j, g[p + j] - tmp[r * n + j] * s, acc)
    else:
        for row in range(lo, hi):
            s = fold_row(add, plain, T(0.0), g, row * n, n, tmp)
            for j in range(row * n, row * n + n):
                put(gx, j, g[j] - exp(y[j]) * s, acc)
    return 0


# ---- declarations -------------------------------------------------------------------------------


def _rule(name: str) -> Any:
    def rule(x: Any, dim: int) -> Plan:
        dim = normal_dim(dim, x.ndim)
        outer, n, inner = split_at(x.shape, dim)
        if not x.dtype.is_floating_point:
            kind = "lastdim_" if dim == max(0, x.ndim - 1) else ""
            scalar = {"int64": "Long", "int32": "Int", "uint8": "Byte", "bool": "Bool"}[x.dtype.name]
            raise NotImplementedError(f"\"{name}_{kind}kernel_impl\" not implemented for '{scalar}'")
        return Plan(x.shape, x.dtype, words=(outer, n, inner, x.dtype.itemsize, dim))

    return rule


def _softmax_dx(c: Any, g: Any) -> Any:
    gy = g * c.y
    return gy - c.y * gy.sum(c.words[4], True)


def _log_softmax_dx(c: Any, g: Any) -> Any:
    return g - c.y.exp() * g.sum(c.words[4], True)


_SAMPLES = [
    ((3, 5), {"dim": 1}),
    ((2, 3, 4), {"dim": 1}),
    ((7,), {"dim": 0}),
    ((), {"dim": 0}),
    ((0, 3), {"dim": 1}),
    ((300, 150), {"dim": 1}),
    ((150, 300), {"dim": 0}),
]


def _rows_of(n: int) -> Any:
    return (BLOCK // n + 40, n), {"dim": 1}


_CONSTANTS = {
    **dict.fromkeys(("SHORT", "SHORT_RUN", "LANES", "WIDE_RUN", "BLOCK", "STRETCH"), _rows_of),
    "COLUMNS": lambda n: ((3, 5, n), {"dim": 1}),
    "GRAIN": lambda n: ((n // 40, 40), {"dim": 1}),
}
softmax = structured(
    "softmax",
    inputs=("x",),
    rule=_rule("softmax"),
    forward=softmax_kernel,
    backward={"x": (softmax_dx_kernel, ("y",))},
    derivative={"x": _softmax_dx},
    dtypes=(float32, float64),
    contiguous=True,
    doc="exp(x) divided by its sum along `dim`; rows of -inf alone give NaN.",
    samples=_SAMPLES,
    constants=_CONSTANTS,
)
log_softmax = structured(
    "log_softmax",
    inputs=("x",),
    rule=_rule("log_softmax"),
    forward=log_softmax_kernel,
    backward={"x": (log_softmax_dx_kernel, ("y",))},
    derivative={"x": _log_softmax_dx},
    dtypes=(float32, float64),
    contiguous=True,
    doc="The logarithm of `softmax` along `dim`, safe where softmax would round to 0.",
    samples=_SAMPLES,
    constants=_CONSTANTS,
)
