"""Kernels of the losses.

    cross_entropy:  l = w[t] (log z - (x[t] - max)),   z = sum exp(x - max)     dx = w[t] (p - onehot(t)) g
    nll:            l = -w[t] x[t]                                             dx = -w[t] g at t, else 0
    mse, l1:        l = d^2 or |d|,  d = x - target                            dx = 2 d g or sign(d) g

with g divided by the sum of the weights (of the elements) for the mean. Every row (element) gives one
number in the compute type; a chunk adds its numbers up in float64, a second phase adds the chunks in
order, and the sum is rounded once.

For up to KEEP classes cross_entropy keeps the probabilities for backward, which then takes 0.2 us for
128 x 10. For more it keeps two numbers per row, max and log z: exponentials are cheaper than the memory.
"""

from __future__ import annotations

from .._layout import (
    FRAME_ACC,
    FRAME_AUX,
    FRAME_ERROR,
    FRAME_EXT,
    FRAME_GX,
    FRAME_IN,
    FRAME_OUT,
    FRAME_PHASE,
    FRAME_SCRATCH,
)
from ..dtypes import float32 as T
from ..dtypes import float64, int64
from ..native.symbols import exp, fabs, log, outlined, pointer, where
from .fold import LANES, add, chunks_of, fold_row, larger, plain, plan_items, put

SHORT = 32  # classes up to which rows are taken in blocks, exponentials in one flat pass
KEEP = 1024  # classes up to which the probabilities are kept
BLOCK = 1024
GRAIN = 32768  # elements of a chunk of rows
PICKED_ROWS = 4096  # rows of a chunk where one element of each is read
NONE, MEAN, SUM = 0, 1, 2
OUT_OF_BOUNDS = 1

# words of cross_entropy and nll: rows, classes, size, ignore_index, reduction, has weights


def rows_per_chunk(n):
    return max(1, GRAIN // max(1, n))


def finish(f, reduction, partials, chunks, y, total):
    """Phase 1: the chunks' sums of losses and weights become the result; total keeps the divisor."""
    loss = 0.0
    weight = 0.0
    for c in range(chunks):
        loss += partials[2 * c]
        weight += partials[2 * c + 1]
    total[0] = T(weight)
    y[0] = T(loss / weight) if reduction == MEAN else T(loss)


def target_of(f, target, row, n, ignore):
    """The class of a row; -1 if it is ignored, -2 (and the error's detail) if there is no such class."""
    t = target[row]
    if t == ignore:
        return -1
    if t < 0 or t >= n:
        f[FRAME_ERROR] = t
        return -2
    return t


@outlined
def exp_into(out, x, start, n, shift):
    """out[0:n] = exp(x[start : start + n] - shift); the exponential is long, so there is one loop of it."""
    for i in range(n):
        out[i] = exp(x[start + i] - shift)


def cross_entropy_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    rows, n, size, ignore, reduction, weighted = w[0], w[1], w[2], w[3], w[4], w[5]
    grain = rows_per_chunk(n)
    chunks = max(1, chunks_of(rows, grain))
    if lo == -1:
        scratch = chunks * (16 + 3 * BLOCK * size)
        return plan_items(f, max(1, rows), grain, scratch, 1 if reduction == NONE else 2)
    x = pointer(f[FRAME_IN], T)
    target = pointer(f[FRAME_IN + 1], int64)
    weight = pointer(f[FRAME_IN + 2], T)
    y = pointer(f[FRAME_OUT], T)
    aux = pointer(f[FRAME_AUX], T)
    partials = pointer(f[FRAME_SCRATCH], float64)
    if f[FRAME_PHASE] == 1:
        if lo == 0:
            kept = rows * n if n <= KEEP else 2 * rows
            finish(f, reduction, partials, chunks, y, pointer(f[FRAME_AUX] + kept * size, T))
        return 0
    for begin in range(lo, min(hi, rows), grain):
        end = min(begin + grain, min(hi, rows))
        chunk = begin // grain
        area = f[FRAME_SCRATCH] + chunks * 16 + chunk * 3 * BLOCK * size
        tmp = pointer(area, T)
        z = pointer(area + BLOCK * size, T)
        picked = pointer(area + 2 * BLOCK * size, T)
        lanes = pointer(area + (3 * BLOCK - LANES) * size, T)
        loss = 0.0
        total = 0.0
        block = BLOCK // max(1, n) if n <= SHORT else 1
        for first in range(begin, end, block):
            count = min(block, end - first)
            for r in range(count):
                row = first + r
                p = row * n
                t = target_of(f, target, row, n, ignore)
                if t == -2:
                    return OUT_OF_BOUNDS
                if n == 0:
                    continue
                m = fold_row(larger, plain, T(0.0), x, p, n, lanes)
                picked[r] = x[p + max(t, 0)] - m
                if n <= SHORT:
                    for j in range(n):
                        tmp[r * n + j] = x[p + j] - m
                    continue
                # One row to a block here. Its exponentials stay (up to KEEP, BLOCK at most) or are added up.
                s = T(0.0)
                for start in range(0, n, BLOCK):
                    piece = min(BLOCK, n - start)
                    e = pointer(f[FRAME_AUX] + p * size if n <= KEEP else area, T)
                    exp_into(e, x, p + start, piece, m)
                    s += fold_row(add, plain, T(0.0), e, 0, piece, lanes)
                z[r] = s
                if n > KEEP:
                    aux[2 * row] = m
            if n <= SHORT:
                exp_into(pointer(f[FRAME_AUX] + first * n * size, T), tmp, 0, count * n, T(0.0))
                for r in range(count):
                    p = (first + r) * n
                    s = T(0.0)
                    for j in range(n):
                        s += aux[p + j]
                    z[r] = s
            if n <= KEEP:
                for r in range(count):
                    p = (first + r) * n
                    s = T(1.0) / z[r]
                    for j in range(p, p + n):
                        aux[j] = aux[j] * s
            for r in range(count):
                z[r] = log(z[r])
            if n > KEEP:
                aux[2 * first + 1] = z[0]
            for r in range(count):
                t = target[first + r]
                value = T(0.0)
                if t != ignore:
                    value = z[r] - picked[r]
                    if weighted != 0:
                        value = value * weight[t]
                        total += weight[t]
                    else:
                        total += 1.0
                if reduction == NONE:
                    y[first + r] = value
                else:
                    loss += value
        if reduction != NONE:
            partials[2 * chunk] = loss
            partials[2 * chunk + 1] = total
    if rows == 0 and reduction != NONE:
        partials[0] = 0.0
        partials[1] = 0.0
    return 0


def scale_of(g, row, reduction, total):
    """What a row's derivative is multiplied by, before its weight."""
    if reduction == NONE:
        return g[row]
    return g[0] / total[0] if reduction == MEAN else g[0]


def cross_entropy_dx_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    rows, n, size, ignore, reduction, weighted = w[0], w[1], w[2], w[3], w[4], w[5]
    if lo == -1:
        return plan_items(f, rows if n > 0 else 0, rows_per_chunk(n), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    x = pointer(f[FRAME_IN], T)
    target = pointer(f[FRAME_IN + 1], int64)
    weight = pointer(f[FRAME_IN + 2], T)
    kept = rows * n if n <= KEEP else 2 * rows
    aux = pointer(f[FRAME_AUX], T)
    total = pointer(f[FRAME_AUX] + kept * size, T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    flat = n <= KEEP and acc == 0 and weighted == 0 and reduction != NONE
    if flat:
        scale = scale_of(g, 0, reduction, total)
        for i in range(lo * n, hi * n):
            gx[i] = aux[i] * scale
    for row in range(lo, hi):
        p = row * n
        t = target[row]
        if t == ignore:
            if acc == 0:
                for j in range(p, p + n):
                    gx[j] = T(0.0)
            continue
        scale = scale_of(g, row, reduction, total)
        if weighted != 0:
            scale = scale * weight[t]
        old = gx[p + t]
        if n <= KEEP:
            if not flat:
                for j in range(p, p + n):
                    put(gx, j, aux[j] * scale, acc)
            q = aux[p + t]
        else:
            m = aux[2 * row]
            z = aux[2 * row + 1]
            for j in range(p, p + n):
                put(gx, j, exp((x[j] - m) - z) * scale, acc)
            q = exp((x[p + t] - m) - z)
        new = q * scale - scale
        gx[p + t] = new if acc == 0 else old + new
    return 0


def nll_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    rows, n, ignore, reduction, weighted = w[0], w[1], w[3], w[4], w[5]
    grain = PICKED_ROWS
    chunks = max(1, chunks_of(rows, grain))
    if lo == -1:
        return plan_items(f, max(1, rows), grain, chunks * 16, 1 if reduction == NONE else 2)
    x = pointer(f[FRAME_IN], T)
    target = pointer(f[FRAME_IN + 1], int64)
    weight = pointer(f[FRAME_IN + 2], T)
    y = pointer(f[FRAME_OUT], T)
    partials = pointer(f[FRAME_SCRATCH], float64)
    if f[FRAME_PHASE] == 1:
        if lo == 0:
            finish(f, reduction, partials, chunks, y, pointer(f[FRAME_AUX], T))
        return 0
    for begin in range(lo, min(hi, rows), grain):
        loss = 0.0
        total = 0.0
        for row in range(begin, min(begin + grain, min(hi, rows))):
            t = target_of(f, target, row, n, ignore)
            if t == -2:
                return OUT_OF_BOUNDS
            value = T(0.0)
            if t >= 0:
                factor = weight[t] if weighted != 0 else T(1.0)
                value = -x[row * n + t] * factor
                total += factor
            if reduction == NONE:
                y[row] = value
            else:
                loss += value
        if reduction != NONE:
            partials[2 * (begin // grain)] = loss
            partials[2 * (begin // grain) + 1] = total
    if rows == 0 and reduction != NONE:
        partials[0] = 0.0
        partials[1] = 0.0
    return 0


def nll_dx_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    rows, n, ignore, reduction, weighted = w[0], w[1], w[3], w[4], w[5]
    if lo == -1:
        return plan_items(f, rows if n > 0 else 0, rows_per_chunk(n), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    target = pointer(f[FRAME_IN + 1], int64)
    weight = pointer(f[FRAME_IN + 2], T)
    total = pointer(f[FRAME_AUX], T)
    gx = pointer(f[FRAME_GX], T)
    if f[FRAME_ACC] == 0:
        for i in range(lo * n, hi * n):
            gx[i] = T(0.0)
    for row in range(lo, hi):
        t = target[row]
        if t != ignore:
            scale = scale_of(g, row, reduction, total)
            if weighted != 0:
                scale = scale * weight[t]
            gx[row * n + t] = gx[row * n + t] - scale
    return 0


# ---- mse and l1: words elements, size, reduction ------------------------------------------------

ELEMENTS = 32768  # of a chunk


def distance(d, square):
    return d * d if square != 0 else fabs(d)


def distance_body(f, lo, hi, square):
    w = pointer(f[FRAME_EXT], int64)
    n, size, reduction = w[0], w[1], w[2]
    chunks = max(1, chunks_of(n, ELEMENTS))
    if lo == -1:
        if reduction == NONE:
            return plan_items(f, n, ELEMENTS, 0, 1)
        return plan_items(f, chunks, 1, chunks * (8 + (BLOCK + LANES) * size), 2)
    x = pointer(f[FRAME_IN], T)
    target = pointer(f[FRAME_IN + 1], T)
    y = pointer(f[FRAME_OUT], T)
    if reduction == NONE:
        for i in range(lo, hi):
            y[i] = distance(x[i] - target[i], square)
        return 0
    partials = pointer(f[FRAME_SCRATCH], float64)
    if f[FRAME_PHASE] == 1:
        if lo == 0:
            loss = 0.0
            for c in range(chunks):
                loss += partials[c]
            y[0] = T(loss / n) if reduction == MEAN else T(loss)
        return 0
    for chunk in range(lo, hi):
        area = f[FRAME_SCRATCH] + chunks * 8 + chunk * (BLOCK + LANES) * size
        tmp = pointer(area, T)
        lanes = pointer(area + BLOCK * size, T)
        loss = 0.0
        for first in range(chunk * ELEMENTS, min(n, chunk * ELEMENTS + ELEMENTS), BLOCK):
            count = min(BLOCK, n - first)
            for i in range(count):
                tmp[i] = distance(x[first + i] - target[first + i], square)
            loss += fold_row(add, plain, T(0.0), tmp, 0, count, lanes)
        partials[chunk] = loss
    return 0


def distance_slope(d, square):
    if square != 0:
        return d
    return where(d > T(0.0), T(1.0), where(d < T(0.0), T(-1.0), T(0.0)))  # 0 at NaN too, as in PyTorch


def distance_dx_body(f, lo, hi, square, sign):
    w = pointer(f[FRAME_EXT], int64)
    n, reduction = w[0], w[2]
    if lo == -1:
        return plan_items(f, n, ELEMENTS, 0, 1)
    g = pointer(f[FRAME_OUT], T)
    x = pointer(f[FRAME_IN], T)
    target = pointer(f[FRAME_IN + 1], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    factor = T(2.0 * sign) if square != 0 else T(sign)
    if reduction == MEAN:
        factor = factor / T(n)
    if reduction == NONE:
        for i in range(lo, hi):
            put(gx, i, distance_slope(x[i] - target[i], square) * (factor * g[i]), acc)
    else:
        scale = factor * g[0]
        for i in range(lo, hi):
            put(gx, i, distance_slope(x[i] - target[i], square) * scale, acc)
    return 0


def mse_kernel(f, lo, hi):
    return distance_body(f, lo, hi, 1)


def mse_dx_kernel(f, lo, hi):
    return distance_dx_body(f, lo, hi, 1, 1.0)


def mse_dtarget_kernel(f, lo, hi):
    return distance_dx_body(f, lo, hi, 1, -1.0)


def l1_kernel(f, lo, hi):
    return distance_body(f, lo, hi, 0)


def l1_dx_kernel(f, lo, hi):
    return distance_dx_body(f, lo, hi, 0, 1.0)


def l1_dtarget_kernel(f, lo, hi):
    return distance_dx_body(f, lo, hi, 0, -1.0)
