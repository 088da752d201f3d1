"""Kernels of the products: panels by a kernel of our own, or BLAS calls on blocks of the result.

With 512-bit vectors our own kernel (`native/panels.py`) takes the products of more than a million
multiply-adds, where it needs 0.55 to 0.9 of OpenBLAS's time (128 x 512 by 512 x 512: 380 us against 500),
and most of `a b^T`, OpenBLAS's weakest layout; the rest goes to BLAS, with one thread. We cut the
result ourselves. **How is a function of sizes, dtype and CPU alone**, so one thread and many give the
same bits, and a matrix multiplied alone or inside a batch does too. A bias is added after the
product with a rounding of its own. Accumulating a gradient adds the product at the end as well.

Small `a b^T` in BLAS: transposing `b` first and multiplying plainly takes 0.6 to 0.85 of the time
(128 x 64 by 10 x 64: 2.5 us against 3.9). A loop of our own below that lost at every size from
4 x 4 x 4 up and so does not exist.
"""

from __future__ import annotations

from .._layout import FRAME_ACC, FRAME_BLAS, FRAME_EXT, FRAME_GX, FRAME_IN, FRAME_OUT, FRAME_SCRATCH
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.blas import PANELS
from ..native.symbols import address_of, call_dgemm, call_sgemm, call_words, pointer
from .fold import chunks_of, plan_items

# ---- blocks: how a result of m x n with inner size k is cut -------------------------------------

WORTH_CUTTING = 4194304  # multiply-adds
LONG, BLOCK, SQUARE = 512, 256, 128  # rows or columns: that are cut into blocks, of a block, that are halved
# b is transposed first: for so many rows or more, while b and the product are no larger.
PACKED_ROWS, PACKED_ELEMENTS, PACKED_WORK = 32, 8192, 1000000
FEW_ROWS, FEW_COLUMNS = 64, 16  # where it is not, both being less
SMALL_BATCH = 1048576  # multiply-adds of the products of a batch that are one chunk
INTEGER_WORK = 65536  # multiply-adds of a chunk
BAND = 1024  # rows whose sums are added in order
SUMMED = 65536  # elements of a chunk of column sums


def block_rows(m, n, k):
    """Rows of one block; below WORTH_CUTTING the result is one block."""
    if m * n * k < WORTH_CUTTING:
        return m
    if m >= LONG:
        return BLOCK
    if n >= LONG or m < SQUARE or m < n:
        return m
    return ((m + 1) // 2 + 31) // 32 * 32


def block_columns(m, n, k):
    """Columns of one block; only one of rows and columns is ever cut."""
    if m * n * k < WORTH_CUTTING or m >= LONG:
        return n
    if n >= LONG:
        return BLOCK
    if n < SQUARE or m >= n:
        return n
    return ((n + 1) // 2 + 31) // 32 * 32


def block_count(m, n, k):
    if m == 0 or n == 0:
        return 0
    rows = block_rows(m, n, k)
    columns = block_columns(m, n, k)
    return ((m + rows - 1) // rows) * ((n + columns - 1) // columns)


def packs(m, n, k, ta, tb):
    """Whether b, stored transposed, is worth transposing before the product (see the module's text)."""
    if ta != 0 or tb == 0 or m < PACKED_ROWS or n < 8 or n * k > PACKED_ELEMENTS or m * n * k > PACKED_WORK:
        return 0
    if m < FEW_ROWS and n < FEW_COLUMNS:
        return 0
    return 1


# ---- one block of a product, by addresses -------------------------------------------------------


def gemm(f, size, c, ldc, a, lda, ta, b, ldb, tb, m, n, k, acc):
    """c (m, n) = or += op(a) op(b), all row-major; BLAS is column-major, hence the swapped operands."""
    table = pointer(f[FRAME_BLAS], int64)
    if size == 4:
        call_sgemm(table[0], tb, ta, n, m, k, 1.0, b, ldb, a, lda, 1.0 if acc != 0 else 0.0, c, ldc)
    else:
        call_dgemm(table[1], tb, ta, n, m, k, 1.0, b, ldb, a, lda, 1.0 if acc != 0 else 0.0, c, ldc)


def transpose_into(target, source, rows, columns, lds):
    """target (columns, rows), contiguous, from source (rows, columns) with row stride lds."""
    t = pointer(target, T)
    s = pointer(source, T)
    for j in range(columns):
        for i in range(rows):
            t[j * rows + i] = s[i * lds + j]


def gemm_block(f, item, size, c, ldc, a, lda, ta, b, ldb, tb, m, n, k, acc, scratch):
    """Block `item` of the product; scratch is where b is transposed to if it is."""
    if k == 0:
        if acc == 0:
            z = pointer(c, T)
            for i in range(m):
                for j in range(n):
                    z[i * ldc + j] = T(0.0)
        return
    if packs(m, n, k, ta, tb) != 0:
        transpose_into(scratch, b, n, k, ldb)
        gemm(f, size, c, ldc, a, lda, 0, scratch, n, 0, m, n, k, acc)
        return
    rows = block_rows(m, n, k)
    columns = block_columns(m, n, k)
    across = (n + columns - 1) // columns
    i = item // across * rows
    j = item % across * columns
    a_step = lda if ta == 0 else 1
    b_step = 1 if tb == 0 else ldb
    gemm(
        f,
        size,
        c + (i * ldc + j) * size,
        ldc,
        a + i * a_step * size,
        lda,
        ta,
        b + j * b_step * size,
        ldb,
        tb,
        min(rows, m - i),
        min(columns, n - j),
        k,
        acc,
    )


# ---- products of two matrices --------------------------------------------------------------------


def by_panels(f, lo, hi, size, c, a, lda, ta, b, ldb, tb, m, n, k, acc, bias, scratch):
    """What our own kernel answers (`native/panels.py`); negative where BLAS is to do it."""
    kernel = pointer(f[FRAME_BLAS], int64)[PANELS + (0 if size == 4 else 1)]
    if kernel == 0:
        return -1
    words = (address_of(f), size, c, a, lda, ta, b, ldb, tb, m, n, k, acc, bias, scratch)
    return call_words(kernel, lo, hi, words)


def product_2d(f, lo, hi, size, c, a, lda, ta, b, ldb, tb, m, n, k, acc, bias):
    """Work items lo..hi of a contiguous result, or the planning answer; bias is an address or 0."""
    status = by_panels(f, lo, hi, size, c, a, lda, ta, b, ldb, tb, m, n, k, acc, bias, f[FRAME_SCRATCH])
    if status >= 0:
        return status
    if lo == -1:
        items = block_count(m, n, k) if k > 0 else min(1, m * n)
        return plan_items(f, items, 1, n * k * size if packs(m, n, k, ta, tb) != 0 else 0, 1)
    for item in range(lo, hi):
        gemm_block(f, item, size, c, n, a, lda, ta, b, ldb, tb, m, n, k, acc, f[FRAME_SCRATCH])
        if bias != 0:
            add_bias(item, c, bias, m, n, k)
    return 0


def add_bias(item, c, bias, m, n, k):
    y = pointer(c, T)
    shift = pointer(bias, T)
    rows = block_rows(m, n, k)
    columns = block_columns(m, n, k)
    across = (n + columns - 1) // columns
    top = item // across * rows
    left = item % across * columns
    right = min(n, left + columns)
    for i in range(top, min(m, top + rows)):
        for j in range(left, right):
            y[i * n + j] = y[i * n + j] + shift[j]


# ---- mm -----------------------------------------------------------------------------------------
# words: m, n, k, size of an element, a stored transposed?, its leading dimension, the same two of b


def mm_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    return product_2d(
        f, lo, hi, w[3], f[FRAME_OUT], f[FRAME_IN], w[5], w[4], f[FRAME_IN + 1], w[7], w[6], m, n, k, 0, 0
    )


def mm_da_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    return product_2d(
        f,
        lo,
        hi,
        w[3],
        f[FRAME_GX],
        f[FRAME_OUT],
        n,
        0,
        f[FRAME_IN],
        w[7],
        1 - w[6],
        m,
        k,
        n,
        f[FRAME_ACC],
        0,
    )


def mm_db_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    return product_2d(
        f,
        lo,
        hi,
        w[3],
        f[FRAME_GX],
        f[FRAME_IN],
        w[5],
        1 - w[4],
        f[FRAME_OUT],
        n,
        0,
        k,
        n,
        m,
        f[FRAME_ACC],
        0,
    )


# ---- bmm ----------------------------------------------------------------------------------------
# words: batch, m, n, k, size, a transposed?, its leading dimension, its batch stride, the same three of b


def product_3d(f, lo, hi, batch, size, c, a, lda, sa, ta, b, ldb, sb, tb, m, n, k, acc):
    """Matrices lo..hi of a batch, each as it would be alone."""
    packed = by_panels(f, -2, 0, size, c, a, lda, ta, b, ldb, tb, m, n, k, acc, 0, 0)
    panels = packed >= 0
    if not panels:
        packed = n * k * size if packs(m, n, k, ta, tb) != 0 else 0
    grain = max(1, SMALL_BATCH // max(1, m * n * k))
    if lo == -1:
        items = batch if m * n > 0 else 0
        return plan_items(f, items, grain, packed * chunks_of(batch, grain), 1)
    blocks = block_count(m, n, k) if k > 0 else 1
    scratch = f[FRAME_SCRATCH] + lo // grain * packed if packed > 0 else 0
    for i in range(lo, hi):
        left = a + i * sa * size
        right = b + i * sb * size
        place = c + i * m * n * size
        if panels:
            by_panels(f, 0, -1, size, place, left, lda, ta, right, ldb, tb, m, n, k, acc, 0, scratch)
        else:
            for item in range(blocks):
                gemm_block(f, item, size, place, n, left, lda, ta, right, ldb, tb, m, n, k, acc, scratch)
    return 0


def bmm_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    a, b = f[FRAME_IN], f[FRAME_IN + 1]
    m, n, k = w[1], w[2], w[3]
    return product_3d(
        f, lo, hi, w[0], w[4], f[FRAME_OUT], a, w[6], w[7], w[5], b, w[9], w[10], w[8], m, n, k, 0
    )


def bmm_da_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    g, b = f[FRAME_OUT], f[FRAME_IN]
    m, n, k = w[1], w[2], w[3]
    return product_3d(
        f, lo, hi, w[0], w[4], f[FRAME_GX], g, n, m * n, 0, b, w[9], w[10], 1 - w[8], m, k, n, f[FRAME_ACC]
    )


def bmm_db_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    g, a = f[FRAME_OUT], f[FRAME_IN]
    m, n, k = w[1], w[2], w[3]
    return product_3d(
        f, lo, hi, w[0], w[4], f[FRAME_GX], a, w[6], w[7], 1 - w[5], g, n, m * n, 0, k, n, m, f[FRAME_ACC]
    )


# ---- whole numbers: no BLAS, no gradient --------------------------------------------------------


def integer_product_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[1], w[2], w[3]
    if lo == -1:
        return plan_items(f, w[0] * m, max(1, INTEGER_WORK // max(1, n * k)), 0, 1)
    a = pointer(f[FRAME_IN], T)
    b = pointer(f[FRAME_IN + 1], T)
    c = pointer(f[FRAME_OUT], T)
    for row in range(lo, hi):
        right = row // m * k * n
        for j in range(n):
            c[row * n + j] = T(0)
        for p in range(k):
            s = a[row * k + p]
            for j in range(n):
                c[row * n + j] = T(c[row * n + j] + s * b[right + p * n + j])
    return 0


# ---- linear -------------------------------------------------------------------------------------
# words: m, n, k, size, has a bias


def linear_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    bias = f[FRAME_IN + 2] if w[4] != 0 else 0
    return product_2d(
        f, lo, hi, w[3], f[FRAME_OUT], f[FRAME_IN], k, 0, f[FRAME_IN + 1], k, 1, m, n, k, 0, bias
    )


def linear_dx_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    return product_2d(
        f, lo, hi, w[3], f[FRAME_GX], f[FRAME_OUT], n, 0, f[FRAME_IN], k, 0, m, k, n, f[FRAME_ACC], 0
    )


def linear_dw_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    m, n, k = w[0], w[1], w[2]
    return product_2d(
        f, lo, hi, w[3], f[FRAME_GX], f[FRAME_OUT], n, 1, f[FRAME_IN], k, 0, n, k, m, f[FRAME_ACC], 0
    )


def add_columns(total, x, rows, n, left, right):
    """total[left:right] = the column sums of x (rows, n), eight rows to a step; total and x are pointers."""
    for j in range(left, right):
        total[j] = T(0.0)
    whole = rows // 8 * 8
    for i in range(0, whole, 8):
        p = i * n
        for j in range(left, right):
            s = (x[p + j] + x[p + n + j]) + (x[p + 2 * n + j] + x[p + 3 * n + j])
            t = (x[p + 4 * n + j] + x[p + 5 * n + j]) + (x[p + 6 * n + j] + x[p + 7 * n + j])
            total[j] = total[j] + (s + t)
    for i in range(whole, rows):
        for j in range(left, right):
            total[j] = total[j] + x[i * n + j]


def linear_db_kernel(f, lo, hi):
    """Column sums: rows in bands whose sums are added in order."""
    w = pointer(f[FRAME_EXT], int64)
    m, n = w[0], w[1]
    if lo == -1:
        return plan_items(f, chunks_of(n, BLOCK), max(1, SUMMED // max(1, m * BLOCK)), 2 * n * w[3], 1)
    g = pointer(f[FRAME_OUT], T)
    gx = pointer(f[FRAME_GX], T)
    total = pointer(f[FRAME_SCRATCH], T)
    band = pointer(f[FRAME_SCRATCH] + n * w[3], T)
    left = lo * BLOCK
    right = min(n, hi * BLOCK)
    add_columns(total, g, min(m, BAND), n, left, right)
    for i in range(BAND, m, BAND):
        start = pointer(f[FRAME_OUT] + i * n * w[3], T)
        add_columns(band, start, min(BAND, m - i), n, left, right)
        for j in range(left, right):
            total[j] = total[j] + band[j]
    if f[FRAME_ACC] == 0:
        for j in range(left, right):
            gx[j] = total[j]
    else:
        for j in range(left, right):
            gx[j] = gx[j] + total[j]
    return 0
