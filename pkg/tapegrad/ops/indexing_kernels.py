"""Kernels that read or write where an index tensor says. Status 1: an index is out of bounds."""

from __future__ import annotations

from .._layout import (
    FRAME_ACC,
    FRAME_ERROR,
    FRAME_EXT,
    FRAME_GX,
    FRAME_IN,
    FRAME_N,
    FRAME_OUT,
    FRAME_PHASE,
    FRAME_SCRATCH,
)
from ..dtypes import float32 as T
from ..dtypes import float64, int64, uint8
from ..native.symbols import fma, pointer
from .fold import chunks_of, plan_items, put

OUT_OF_BOUNDS = 1
GRAIN = 32768
COLUMNS = 64


def fail(f, index, n, dim):
    """Details of the error: the index, and the size with the dimension above its 48 bits."""
    f[FRAME_ERROR] = index
    f[FRAME_ERROR + 1] = n | (dim << 48)
    return OUT_OF_BOUNDS


# ---- several index tensors into one: variadic, words: k, elements, then (size, dim) of each ------


def flat_index_kernel(f, lo, hi):
    """y = the row-major number of the position that the k indices give; negative ones count from the end."""
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[1], GRAIN, 0, 1)
    inputs = pointer(f[FRAME_IN], int64)
    y = pointer(f[FRAME_OUT], int64)
    for i in range(lo, hi):
        flat = 0
        for j in range(w[0]):
            n = w[2 + 2 * j]
            r = pointer(inputs[j], int64)[i]
            if r < -n or r >= n:
                return fail(f, r, n, w[3 + 2 * j])
            flat = flat * n + (r + n if r < 0 else r)
        y[i] = flat
    return 0


# ---- rows: x is (n, inner), index holds k rows --------------------------------------------------
# words: n, inner, k, then the dimension to name in an error (take) or 1 to add (put)


def take_rows_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    n, inner, k = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, k, max(1, GRAIN // max(1, inner)), 0, 1)
    x = pointer(f[FRAME_IN], T)
    index = pointer(f[FRAME_IN + 1], int64)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        r = index[i]
        if r < -n or r >= n:
            return fail(f, r, n, w[3])
        p = (r + n if r < 0 else r) * inner
        for c in range(inner):
            y[i * inner + c] = x[p + c]
    return 0


def take_rows_dx_kernel(f, lo, hi):
    """Rows of g added in the order of the index; only the columns are shared out."""
    w = pointer(f[FRAME_EXT], int64)
    n, inner, k = w[0], w[1], w[2]
    if lo == -1:
        items = chunks_of(inner, COLUMNS) if n > 0 else 0
        return plan_items(f, items, max(1, GRAIN // max(1, (n + k) * COLUMNS)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_IN], int64)
    gx = pointer(f[FRAME_GX], T)
    left = lo * COLUMNS
    right = min(inner, hi * COLUMNS)
    if f[FRAME_ACC] == 0:
        for r in range(n):
            for c in range(left, right):
                gx[r * inner + c] = T(0)
    for i in range(k):
        r = index[i]
        p = (r + n if r < 0 else r) * inner
        for c in range(left, right):
            gx[p + c] = gx[p + c] + g[i * inner + c]
    return 0


def put_rows_kernel(f, lo, hi):
    """y = x with rows replaced (words[3] = 0) or increased (1) by those of v, in the order of the index."""
    w = pointer(f[FRAME_EXT], int64)
    n, inner, k, add = w[0], w[1], w[2], w[3]
    if lo == -1:
        return plan_items(f, chunks_of(inner, COLUMNS), max(1, GRAIN // max(1, (n + k) * COLUMNS)), 0, 1)
    x = pointer(f[FRAME_IN], T)
    index = pointer(f[FRAME_IN + 1], int64)
    v = pointer(f[FRAME_IN + 2], T)
    y = pointer(f[FRAME_OUT], T)
    left = lo * COLUMNS
    right = min(inner, hi * COLUMNS)
    for i in range(k):
        if index[i] < -n or index[i] >= n:
            return fail(f, index[i], n, 0)
    if f[FRAME_OUT] != f[FRAME_IN]:
        for r in range(n):
            for c in range(left, right):
                y[r * inner + c] = x[r * inner + c]
    for i in range(k):
        r = index[i]
        p = (r + n if r < 0 else r) * inner
        if add != 0:
            for c in range(left, right):
                y[p + c] = T(y[p + c] + v[i * inner + c])
        else:
            for c in range(left, right):
                y[p + c] = v[i * inner + c]
    return 0


def put_rows_dx_kernel(f, lo, hi):
    """g, without the rows that were replaced."""
    w = pointer(f[FRAME_EXT], int64)
    n, inner, k, add = w[0], w[1], w[2], w[3]
    if lo == -1:
        items = chunks_of(inner, COLUMNS) if n > 0 else 0
        grain = max(1, GRAIN // max(1, (n + k) * COLUMNS))
        return plan_items(f, items, grain, chunks_of(items, grain) * n, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_IN], int64)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    left = lo * COLUMNS
    right = min(inner, hi * COLUMNS)
    if acc == 0 or add != 0:
        for r in range(n):
            for c in range(left, right):
                put(gx, r * inner + c, g[r * inner + c], acc)
        if add == 0:
            for i in range(k):
                r = index[i]
                p = (r + n if r < 0 else r) * inner
                for c in range(left, right):
                    gx[p + c] = T(0)
        return 0
    # Adding: a replaced row stays as it is, so mark those first; no two chunks share marks.
    grain = max(1, GRAIN // max(1, (n + k) * COLUMNS))
    mark = pointer(f[FRAME_SCRATCH] + lo // grain * n, uint8)
    for r in range(n):
        mark[r] = 0
    for i in range(k):
        mark[index[i] + n if index[i] < 0 else index[i]] = 1
    for r in range(n):
        if mark[r] == 0:
            for c in range(left, right):
                gx[r * inner + c] = gx[r * inner + c] + g[r * inner + c]
    return 0


def put_rows_dv_kernel(f, lo, hi):
    """g's rows at the index (with a repeated index, each of its rows gets them, as in PyTorch)."""
    w = pointer(f[FRAME_EXT], int64)
    n, inner, k = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, k, max(1, GRAIN // max(1, inner)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_IN], int64)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    for i in range(lo, hi):
        r = index[i]
        p = (r + n if r < 0 else r) * inner
        for c in range(inner):
            put(gx, i * inner + c, g[p + c], acc)
    return 0


# ---- slices along a dimension: x is (outer, n, inner), index holds k places, the result is (outer, k, inner) --
# words: outer, n, inner, k. Places do not count from the end.


def select_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner, k = w[0], w[1], w[2], w[3]
    if lo == -1:
        return plan_items(f, outer * k if inner > 0 else 0, max(1, GRAIN // max(1, inner)), 0, 1)
    x = pointer(f[FRAME_IN], T)
    index = pointer(f[FRAME_IN + 1], int64)
    y = pointer(f[FRAME_OUT], T)
    item = lo
    while item < hi:
        line = item // k
        first = item - line * k
        last = min(k, first + hi - item)
        outside = 0
        for j in range(first, last):
            outside |= int64(index[j] < 0) | int64(index[j] >= n)
        if outside != 0:
            return fail(f, 0, n, 0)
        p = line * n
        q = line * k
        if inner == 1:
            for j in range(first, last):
                y[q + j] = x[p + index[j]]
        else:
            for j in range(first, last):
                a = (p + index[j]) * inner
                b = (q + j) * inner
                for c in range(inner):
                    y[b + c] = x[a + c]
        item += last - first
    return 0


def select_dx_kernel(f, lo, hi):
    """Slices of g added in the order of the index: an item is a stretch of columns of one outer line."""
    w = pointer(f[FRAME_EXT], int64)
    outer, n, inner, k = w[0], w[1], w[2], w[3]
    width = min(inner, COLUMNS)
    if lo == -1:
        items = outer * chunks_of(inner, COLUMNS) if n > 0 else 0
        return plan_items(f, items, max(1, GRAIN // max(1, (n + k) * width)), 0, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_IN], int64)
    gx = pointer(f[FRAME_GX], T)
    across = chunks_of(inner, COLUMNS)
    for item in range(lo, hi):
        line = item // across
        left = item % across * COLUMNS
        right = min(inner, left + COLUMNS)
        p = line * n * inner
        q = line * k * inner
        if f[FRAME_ACC] == 0:
            for r in range(n):
                for c in range(left, right):
                    gx[p + r * inner + c] = T(0)
        if inner == 1:
            for j in range(k):
                a = p + index[j]
                gx[a] = gx[a] + g[q + j]
        else:
            for j in range(k):
                a = p + index[j] * inner
                b = q + j * inner
                for c in range(left, right):
                    gx[a + c] = gx[a + c] + g[b + c]
    return 0


# ---- gather and scatter_add along a dimension ---------------------------------------------------
# words: ndim, dim, strides of x (contiguous), sizes of the index, then the two strides of src


def offset_of(w, position, item):
    """Offset in a tensor with the strides at w[position] of element `item` of the index, without `dim`."""
    ndim = w[0]
    offset = 0
    rest = item
    for d in range(ndim - 1, -1, -1):
        size = w[2 + ndim + d]
        i = rest % size
        rest = rest // size
        if d != w[1]:
            offset += i * w[position + d]
    return offset


def full_offset(w, position, item):
    ndim = w[0]
    offset = 0
    rest = item
    for d in range(ndim - 1, -1, -1):
        size = w[2 + ndim + d]
        offset += rest % size * w[position + d]
        rest = rest // size
    return offset


def row_length(w):
    """Elements of the index in a row of its last dimension: within one, offsets advance by a stride."""
    return max(1, w[1 + 2 * w[0]]) if w[0] > 0 else 1


def row_stride(w, position):
    return w[position + w[0] - 1] if w[0] > 0 else 0


def row_stride_without_dim(w, position):
    return 0 if w[1] == w[0] - 1 else row_stride(w, position)


def gather_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, f[FRAME_N], GRAIN, 0, 1)
    ndim, dim = w[0], w[1]
    n = w[2 + 3 * ndim]
    step = w[2 + dim] if ndim > 0 else 1
    along, length = row_stride_without_dim(w, 2), row_length(w)
    x = pointer(f[FRAME_IN], T)
    index = pointer(f[FRAME_IN + 1], int64)
    y = pointer(f[FRAME_OUT], T)
    i = lo
    while i < hi:
        end = min(hi, i - i % length + length)
        p = offset_of(w, 2, i)
        for k in range(i, end):
            r = index[k]
            if r < 0 or r >= n:
                return fail(f, r, n, dim)
            y[k] = x[p + r * step]
            p += along
        i = end
    return 0


def gather_dx_kernel(f, lo, hi):
    """g added where it was read, in the order of the index: one item, since any two may meet."""
    w = pointer(f[FRAME_EXT], int64)
    ndim, dim = w[0], w[1]
    if lo == -1:
        return plan_items(f, 1, 1, 0, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_IN], int64)
    gx = pointer(f[FRAME_GX], T)
    if f[FRAME_ACC] == 0:
        for i in range(w[3 + 3 * ndim]):
            gx[i] = T(0)
    step = w[2 + dim] if ndim > 0 else 1
    along, length = row_stride_without_dim(w, 2), row_length(w)
    for i in range(0, w[4 + 3 * ndim], length):
        p = offset_of(w, 2, i)
        for k in range(i, i + length):
            q = p + index[k] * step
            gx[q] = gx[q] + g[k]
            p += along
    return 0


def scatter_add_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    ndim, dim = w[0], w[1]
    n = w[2 + 3 * ndim]
    if lo == -1:
        return plan_items(f, 1, 1, 0, 1)
    x = pointer(f[FRAME_IN], T)
    index = pointer(f[FRAME_IN + 1], int64)
    src = pointer(f[FRAME_IN + 2], T)
    y = pointer(f[FRAME_OUT], T)
    for i in range(w[3 + 3 * ndim]):
        y[i] = x[i]
    step = w[2 + dim] if ndim > 0 else 1
    of_src = 2 + 2 * ndim
    along, across, length = row_stride_without_dim(w, 2), row_stride(w, of_src), row_length(w)
    for i in range(0, w[4 + 3 * ndim], length):
        p = offset_of(w, 2, i)
        s = full_offset(w, of_src, i)
        for k in range(i, i + length):
            r = index[k]
            if r < 0 or r >= n:
                return fail(f, r, n, dim)
            q = p + r * step
            y[q] = T(y[q] + src[s])
            p += along
            s += across
    return 0


def copy_dx_kernel(f, lo, hi):
    if lo == -1:
        return plan_items(f, f[FRAME_N], GRAIN, 0, 1)
    g = pointer(f[FRAME_OUT], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    for i in range(lo, hi):
        put(gx, i, g[i], acc)
    return 0


def scatter_add_dsrc_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    ndim, dim = w[0], w[1]
    if lo == -1:
        return plan_items(f, 1, 1, 0, 1)
    g = pointer(f[FRAME_OUT], T)
    index = pointer(f[FRAME_IN], int64)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    if acc == 0:
        for i in range(w[5 + 3 * ndim]):
            gx[i] = T(0)
    step = w[2 + dim] if ndim > 0 else 1
    of_src = 2 + 2 * ndim
    along, across, length = row_stride_without_dim(w, 2), row_stride(w, of_src), row_length(w)
    for i in range(0, w[4 + 3 * ndim], length):
        p = offset_of(w, 2, i)
        s = full_offset(w, of_src, i)
        for k in range(i, i + length):
            put(gx, s, g[p + index[k] * step], acc)
            p += along
            s += across
    return 0


# ---- nonzero: first the count, then the places --------------------------------------------------


def count_nonzero_kernel(f, lo, hi):
    """words: elements. The result is their number, an int64."""
    n = pointer(f[FRAME_EXT], int64)[0]
    chunks = max(1, chunks_of(n, GRAIN))
    if lo == -1:
        return plan_items(f, chunks, 1, chunks * 8, 2)
    partials = pointer(f[FRAME_SCRATCH], int64)
    y = pointer(f[FRAME_OUT], int64)
    if f[FRAME_PHASE] == 1:
        if lo == 0:
            total = 0
            for c in range(chunks):
                total += partials[c]
            y[0] = total
        return 0
    x = pointer(f[FRAME_IN], T)
    for chunk in range(lo, hi):
        count = 0
        for i in range(chunk * GRAIN, min(n, chunk * GRAIN + GRAIN)):
            count += 1 if x[i] != 0 else 0
        partials[chunk] = count
    return 0


def nonzero_kernel(f, lo, hi):
    """words: elements, count, ndim, sizes. The result is (count, ndim)."""
    w = pointer(f[FRAME_EXT], int64)
    n, count, ndim = w[0], w[1], w[2]
    if lo == -1:
        return plan_items(f, 1, 1, 0, 1)
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], int64)
    k = 0
    for i in range(n):
        if x[i] != 0 and k < count:
            rest = i
            for d in range(ndim - 1, -1, -1):
                y[k * ndim + d] = rest % w[3 + d]
                rest = rest // w[3 + d]
            k += 1
    return 0


# ---- triangles and factories --------------------------------------------------------------------


def triangle(target, source, lo, hi, rows, columns, k, upper, acc):
    """Matrices' rows lo..hi: elements with column - row <= k (upper: >= k), others 0."""
    t = pointer(target, T)
    s = pointer(source, T)
    for line in range(lo, hi):
        row = line % rows
        p = line * columns
        split = min(columns, max(0, row + k + (0 if upper != 0 else 1)))
        for j in range(columns):
            inside = j >= split if upper != 0 else j < split
            if acc == 0:
                t[p + j] = s[p + j] if inside else T(0)
            elif inside:
                t[p + j] = t[p + j] + s[p + j]


def triangle_kernel(f, lo, hi):
    """words: matrices, rows, columns, k, upper"""
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0] * w[1], max(1, GRAIN // max(1, w[2])), 0, 1)
    triangle(f[FRAME_OUT], f[FRAME_IN], lo, hi, w[1], w[2], w[3], w[4], 0)
    return 0


def triangle_dx_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0] * w[1], max(1, GRAIN // max(1, w[2])), 0, 1)
    triangle(f[FRAME_GX], f[FRAME_OUT], lo, hi, w[1], w[2], w[3], w[4], f[FRAME_ACC])
    return 0


def arange_kernel(f, lo, hi):
    """words: n, start and step as bits of float64, lanes.

    PyTorch on x86 computes the first of every 8 float32 (4 float64) numbers in float64, rounds it, and
    counts on from there; so do we, and agree in all but one of thousands of numbers.
    """
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0], GRAIN, 0, 1)
    v = pointer(f[FRAME_EXT], float64)
    start, step, lanes = v[1], v[2], w[3]
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        lane = i % lanes if i < w[0] // lanes * lanes else 0
        first = T(fma(float64(i - lane), step, start))
        y[i] = T(fma(float64(lane), step, float64(first)))
    return 0


def integer_arange_kernel(f, lo, hi):
    """words: n, start, step"""
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0], GRAIN, 0, 1)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = T(w[1] + i * w[2])
    return 0


def linspace_kernel(f, lo, hi):
    """words: n, start and end as bits of float64; the second half counts back from the end."""
    w = pointer(f[FRAME_EXT], int64)
    n = w[0]
    if lo == -1:
        return plan_items(f, n, GRAIN, 0, 1)
    v = pointer(f[FRAME_EXT], float64)
    start, end = T(v[1]), T(v[2])
    step = (end - start) / T(n - 1) if n > 1 else T(0)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = fma(step, T(i), start) if i < n // 2 or n == 1 else fma(-step, T(n - i - 1), end)
    return 0


def integer_linspace_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    n = w[0]
    if lo == -1:
        return plan_items(f, n, GRAIN, 0, 1)
    v = pointer(f[FRAME_EXT], float64)
    step = (v[2] - v[1]) / (n - 1) if n > 1 else 0.0
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = T(int64(v[1] + step * i if i < n // 2 or n == 1 else v[2] - step * (n - i - 1)))
    return 0


def eye_kernel(f, lo, hi):
    """words: rows, columns"""
    w = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, w[0], max(1, GRAIN // max(1, w[1])), 0, 1)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        for j in range(w[1]):
            y[i * w[1] + j] = T(0)
        if i < w[1]:
            y[i * w[1] + i] = T(1)
    return 0
