"""Kernels that reduce a dimension of (outer, n, inner).

One body serves all: `load` widens an element to the lane type L, `combine` folds, `finish` makes the result.
Blocks of at most 1024 elements are folded in L; blocks are then combined in A (float64 for sums), so a
float32 sum is as good as its last rounding.

Long reductions are cut into segments whose partial results, in A, a second phase combines in order. The cuts
depend on the sizes alone.
"""

from __future__ import annotations

from .._layout import FRAME_ACC, FRAME_EXT, FRAME_GX, FRAME_IN, FRAME_OUT, FRAME_PHASE, FRAME_SCRATCH, FRAME_Y
from ..dtypes import bool_, float64, int64
from ..dtypes import float32 as T
from ..native.symbols import maximum, minimum, pointer
from .fold import LANES, add, chunks_of, fold_columns, fold_row, multiply, plain, plan_items, put

SEGMENT = 32768  # elements of a segment of a row
BAND = 1024  # elements folded in the lane type
WIDTH = 256  # columns of an item where inner > 1
ROWS = 256  # rows folded in the lane type where inner > 1
BLOCK = 65536  # elements of a segment where inner > 1
BAND_ROOM = 0  # bytes of scratch per chunk for a `fetch` that computes its elements


def largest(a, b):
    return maximum(a, b)


def smallest(a, b):
    return minimum(a, b)


def both(a, b):
    return a & b


def either(a, b):
    return a | b


def widen(v, shift):
    return int64(v)


def truth(v, shift):
    return int64(v != 0)


def to_result(a, n, r):
    return r(a)


def divided(a, n, r):
    return r(a) / r(n)


def is_true(a, n, r):
    return a != 0


def fetch(f, start, n, area):
    """The address of the n <= BAND elements of a row from `start` on.

    A kernel that computes them while it reduces binds its own, which puts them at `area`.
    """
    return f[FRAME_IN] + start * pointer(f[FRAME_EXT], int64)[3]


def rows_of_segment(inner):
    return max(ROWS, BLOCK // min(inner, WIDTH))


def reduce_body(f, lo, hi, combine, load, finish, shift, L, A, R):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    across = 1 if inner == 1 else chunks_of(inner, WIDTH)
    rows = SEGMENT if inner == 1 else rows_of_segment(inner)
    segments = max(1, chunks_of(n, rows))
    items = outer * across * segments if inner > 0 else 0
    grain = 1
    if segments == 1:
        grain = max(1, SEGMENT // max(1, n * min(inner, WIDTH)))
    lane_room = 2 * WIDTH * 8 + BAND_ROOM
    if lo == -1:
        partial_bytes = items * 8 * (1 if inner == 1 else WIDTH) if segments > 1 else 0
        scratch = chunks_of(items, grain) * lane_room + partial_bytes
        return plan_items(f, items, grain, scratch, 2 if segments > 1 else 1)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], R)
    kept = f[FRAME_SCRATCH] + chunks_of(items, grain) * lane_room
    partials = pointer(kept, A)
    stride = 1 if inner == 1 else WIDTH
    if f[FRAME_PHASE] == 1:
        for item in range(lo, min(hi, outer * across)):
            row = item // across
            left = item % across * WIDTH
            for c in range(1 if inner == 1 else min(WIDTH, inner - left)):
                p = item * segments * stride + c
                a = partials[p]
                for s in range(1, segments):
                    a = combine(a, partials[p + s * stride])
                y[row * inner + left + c] = finish(a, n, R)
        return 0
    area = f[FRAME_SCRATCH] + lo // grain * lane_room
    lanes = pointer(area, L)
    totals = pointer(area + WIDTH * 8, A)
    for item in range(lo, hi):
        segment = item % segments
        first = segment * rows
        last = min(n, first + rows)
        line = item // segments
        if inner == 1:
            start = line * n
            a = A(0)
            for i in range(first, last, BAND):
                m = min(BAND, last - i)
                piece = pointer(fetch(f, start + i, m, area + 2 * WIDTH * 8), T)
                b = A(fold_row(combine, load, shift, piece, 0, m, lanes))
                a = b if i == first else combine(a, b)
            if segments == 1:
                y[line] = finish(a, n, R)
            else:
                partials[item] = a
            continue
        left = line % across * WIDTH
        width = min(WIDTH, inner - left)
        start = line // across * n * inner + left
        for i in range(first, last, ROWS):
            band = min(ROWS, last - i)
            fold_columns(combine, load, shift, lanes, x, start + i * inner, band, inner, width)
            if i == first:
                for c in range(width):
                    totals[c] = A(lanes[c])
            else:
                for c in range(width):
                    totals[c] = combine(totals[c], A(lanes[c]))
        if segments == 1:
            for c in range(width):
                y[line // across * inner + left + c] = finish(totals[c], n, R)
        else:
            for c in range(width):
                partials[item * WIDTH + c] = totals[c]
    return 0


def fill_empty(f, lo, hi, value, R):
    """The result of reducing n = 0 elements: `value` everywhere."""
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0] * w[2], SEGMENT, 0, 1)
    y = pointer(f[FRAME_OUT], R)
    for i in range(lo, hi):
        y[i] = R(value)
    return 0


def sum_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 0.0, T)
    return reduce_body(f, lo, hi, add, plain, to_result, T(0), T, float64, T)


def mean_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, float("nan"), T)
    return reduce_body(f, lo, hi, add, plain, divided, T(0), T, float64, T)


def prod_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 1.0, T)
    return reduce_body(f, lo, hi, multiply, plain, to_result, T(0), T, float64, T)


def integer_sum_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 0, int64)
    return reduce_body(f, lo, hi, add, widen, to_result, 0, int64, int64, int64)


def integer_prod_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 1, int64)
    return reduce_body(f, lo, hi, multiply, widen, to_result, 0, int64, int64, int64)


def any_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 0, bool_)
    return reduce_body(f, lo, hi, either, truth, is_true, 0, int64, int64, bool_)


def all_kernel(f, lo, hi):
    if pointer(f[FRAME_EXT], int64)[1] == 0:
        return fill_empty(f, lo, hi, 1, bool_)
    return reduce_body(f, lo, hi, both, truth, is_true, 0, int64, int64, bool_)


def amax_kernel(f, lo, hi):
    return reduce_body(f, lo, hi, largest, plain, to_result, T(0), T, T, T)


def amin_kernel(f, lo, hi):
    return reduce_body(f, lo, hi, smallest, plain, to_result, T(0), T, T, T)


# ---- derivatives --------------------------------------------------------------------------------


def spread_body(f, lo, hi, mean):
    """gx = g (over n for a mean), repeated along the reduced dimension."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, outer * n if inner > 0 else 0, max(1, SEGMENT // max(1, inner)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    divisor = T(n) if mean != 0 else T(1)
    if inner == 1:
        for row in range(lo // n, (hi + n - 1) // n):
            v = g[row] / divisor
            for i in range(max(lo, row * n), min(hi, row * n + n)):
                put(gx, i, v, acc)
        return 0
    for line in range(lo, hi):
        p = line // n * inner
        for c in range(inner):
            put(gx, line * inner + c, g[p + c] / divisor, acc)
    return 0


def sum_dx_kernel(f, lo, hi):
    return spread_body(f, lo, hi, 0)


def mean_dx_kernel(f, lo, hi):
    return spread_body(f, lo, hi, 1)


def prod_dx_kernel(f, lo, hi):
    """g times the product of the others, whose zeros are counted."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, outer * inner, max(1, SEGMENT // max(1, n)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    x = pointer(f[FRAME_IN], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    for item in range(lo, hi):
        p = item // inner * n * inner + item % inner
        zeros = 0
        product = 1.0
        for j in range(n):
            v = x[p + j * inner]
            if v == T(0):
                zeros += 1
            else:
                product *= v
        for j in range(n):
            v = x[p + j * inner]
            others = T(0)
            if zeros == 0:
                others = T(product / v)
            elif zeros == 1 and v == T(0):
                others = T(product)
            put(gx, p + j * inner, g[item] * others, acc)
    return 0


def same(a, b):
    return a == b or (a != a and b != b)


def extreme_dx_kernel(f, lo, hi):
    """g shared evenly by the elements that equal the result."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, outer * inner, max(1, SEGMENT // max(1, n)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_Y], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    for item in range(lo, hi):
        p = item // inner * n * inner + item % inner
        best = y[item]
        count = 0
        for j in range(n):
            count += 1 if same(x[p + j * inner], best) else 0
        share = g[item] / T(count)
        for j in range(n):
            put(gx, p + j * inner, share if same(x[p + j * inner], best) else T(0), acc)
    return 0


# ---- the place of the largest or smallest -------------------------------------------------------


def above(a, b):
    """a is to be taken over b: larger, or the first NaN."""
    return a > b or (a != a and b == b)


def below(a, b):
    return a < b or (a != a and b == b)


def place_body(f, lo, hi, combine, better, values, indices):
    """First place of the extreme along n; values and indices are addresses, values may be 0."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner, size = w[0], w[1], w[2], w[3]
    grain = max(1, SEGMENT // max(1, n * min(inner, WIDTH)))
    across = 1 if inner == 1 else chunks_of(inner, WIDTH)
    items = outer * across if inner > 0 and n > 0 else 0
    room = WIDTH * 16
    if lo == -1:
        return plan_items(f, items, grain, chunks_of(items, grain) * room, 1)
    x = pointer(f[FRAME_IN], T)
    value = pointer(values, T)
    index = pointer(indices, int64)
    area = f[FRAME_SCRATCH] + lo // grain * room
    lanes = pointer(area, T)
    if inner == 1:
        for row in range(lo, hi):
            p = row * n
            k = 0
            best = x[p]
            if n < LANES:
                for j in range(1, n):
                    if better(x[p + j], best):
                        best = x[p + j]
                        k = j
            else:
                best = fold_row(combine, plain, T(0), x, p, n, lanes)
                while k < n - 1 and not same(x[p + k], best):
                    k += 1
                best = x[p + k]
            index[row] = k
            if values != 0:
                value[row] = best
        return 0
    place = pointer(area + WIDTH * size, int64) if size == 8 else pointer(area + WIDTH * 8, int64)
    for item in range(lo, hi):
        left = item % across * WIDTH
        width = min(WIDTH, inner - left)
        p = item // across * n * inner + left
        for c in range(width):
            lanes[c] = x[p + c]
            place[c] = 0
        for j in range(1, n):
            q = p + j * inner
            for c in range(width):
                if better(x[q + c], lanes[c]):
                    lanes[c] = x[q + c]
                    place[c] = j
        q = item // across * inner + left
        for c in range(width):
            index[q + c] = place[c]
        if values != 0:
            for c in range(width):
                value[q + c] = lanes[c]
    return 0
