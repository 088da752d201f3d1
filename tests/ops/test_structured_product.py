"""Products: kernels through frames against NumPy float64, composites against torch."""

from __future__ import annotations

import numpy as np
import pytest
from ops.frames import Array, backward, forward, run
from ops.structured_checks import check_op, raises_like_torch
from tapegrad.ops import product

SIZES = [(2, 3, 4), (1, 5, 1), (1, 64, 10), (32, 64, 32), (128, 64, 10), (33, 17, 9)]
SIZES += [(0, 3, 2), (2, 0, 3), (2, 3, 0)]
BIG = [(600, 90, 130), (130, 90, 600), (300, 128, 200), (128, 256, 256)]


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def layouts(x):
    """x as stored: rows, transposed, rows of a wider matrix, every second column."""
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 3), dtype=x.dtype)
    wide[..., : x.shape[-1]] = x
    sparse = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), dtype=x.dtype)
    sparse[..., ::2] = x
    yield x
    yield np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    yield wide[..., : x.shape[-1]]
    yield sparse[..., ::2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES + BIG)
def test_linear(size, dtype, rng):
    m, k, n = size
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (n, k), (n,)))
    check_op(product._linear, [x, w, b], lambda x, w, b: x @ w.T + b, rng)
    check_op(product._linear, [x, w, None], lambda x, w, b: x @ w.T, rng)


def test_linear_over_leading_dimensions(rng):
    x, w, b = (rng.standard_normal(s).astype("float32") for s in ((2, 3, 5), (4, 5), (4,)))
    check_op(product._linear, [x, w, b], lambda x, w, b: x @ w.T + b, rng)
    check_op(product._linear, [x[0, 0], w, b], lambda x, w, b: x @ w.T + b, rng)


def test_long_bias_gradient_is_accurate(rng):
    g = (rng.standard_normal((20001, 3)) + 1).astype("float32")
    done = forward(product._linear, np.zeros((20001, 2), "f4"), np.zeros((3, 2), "f4"), np.zeros(3, "f4"))
    np.testing.assert_allclose(backward(done, "b", g), g.astype("f8").sum(0), rtol=1e-6)


@pytest.mark.parametrize("size", [(3, 4, 5), (64, 32, 16), (1, 4, 1)])
def test_mm_reads_views_where_they_lie(size, rng):
    m, k, n = size
    for a in layouts(rng.standard_normal((m, k)).astype("float32")):
        for b in layouts(rng.standard_normal((k, n)).astype("float32")):
            check_op(product._mm, [a, b], lambda a, b: a @ b, rng)


@pytest.mark.parametrize("size", SIZES + BIG)
def test_mm_sizes(size, rng):
    m, k, n = size
    a, b = rng.standard_normal((m, k)).astype("float32"), rng.standard_normal((k, n)).astype("float32")
    check_op(product._mm, [a, b], lambda a, b: a @ b, rng)


@pytest.mark.parametrize("size", [(3, 4, 5), (64, 32, 16), (1, 4, 1), (5, 0, 2)])
def test_bmm(size, rng):
    m, k, n = size
    for batch in (0, 1, 7):
        for a in layouts(rng.standard_normal((batch, m, k)).astype("float32")):
            for b in layouts(rng.standard_normal((batch, k, n)).astype("float32")):
                check_op(product._bmm, [a, b], lambda a, b: a @ b, rng)


def test_bmm_reads_an_expanded_batch_without_a_copy(rng):
    a = np.broadcast_to(rng.standard_normal((4, 5)).astype("float32"), (3, 4, 5))
    b = rng.standard_normal((3, 5, 2)).astype("float32")
    assert product._bmm.rule(Array(a), Array(b)).make_contiguous == ()
    check_op(product._bmm, [a, b], lambda a, b: a @ b, rng)


def test_a_matrix_has_the_same_bits_alone_and_in_a_batch(rng):
    for m, k, n in ((64, 40, 24), (600, 100, 90)):
        a = rng.standard_normal((2, m, k)).astype("float32")
        b = rng.standard_normal((2, n, k)).astype("float32").swapaxes(1, 2)
        whole = forward(product._bmm, a, b).y
        for i in range(2):
            assert np.array_equal(whole[i], forward(product._mm, a[i], b[i]).y)


@pytest.fixture
def on_arrays(monkeypatch):
    for name in ("_mm", "_bmm", "_integer_product", "_linear"):
        monkeypatch.setattr(product, name, run(getattr(product, name)))


SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((1, 2, 3), (5, 3, 4)),
    ((6, 1, 2, 3), (5, 3, 4)),
    ((6, 5, 2, 3), (1, 5, 3, 4)),
    ((0, 2, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((2, 0, 3), (2, 3, 1)),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_matmul(shapes, dtype, rng, on_arrays):
    a, b = ((rng.standard_normal(s) * 10).astype(dtype) for s in shapes)
    y = product.matmul(Array(a), Array(b)).data
    want = np.matmul(a, b)
    assert y.shape == want.shape
    assert y.dtype == want.dtype
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-4)


BAD = [
    ((), (3,)),
    ((2,), (3,)),
    ((2, 3), (4,)),
    ((3,), (4, 5)),
    ((2, 3), (4, 5)),
    ((2, 3, 4), (5, 6)),
    ((2, 3, 4), (5,)),
    ((3,), (2, 4, 5)),
    ((2, 3), (2, 4, 5)),
    ((2, 3, 4), (2, 5, 6)),
    ((2, 3, 4), (3, 4, 6)),
    ((5, 2, 3, 4), (3, 4, 6)),
]


@pytest.mark.parametrize("shapes", BAD)
def test_matmul_errors(shapes, on_arrays):
    raises_like_torch("matmul", product.matmul, *(np.zeros(s, "f4") for s in shapes))


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((3,), (3,)), ((2, 3), (3, 2)), ((2, 2, 3), (2, 3, 2))])
def test_matmul_dtype_errors(shapes, on_arrays):
    a, b = shapes
    raises_like_torch("matmul", product.matmul, np.zeros(a, "f4"), np.zeros(b, "f8"))


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("mm", (2,), (4, 5)),
        ("mm", (2, 3), (3,)),
        ("mm", (2, 3), (4, 5)),
        ("bmm", (2, 3), (4, 5)),
        ("bmm", (2, 3, 4), (4, 5)),
        ("bmm", (2, 3, 4), (3, 4, 5)),
        ("mv", (2, 3), (4,)),
        ("mv", (2, 3), (4, 3)),
        ("dot", (2, 2), (3,)),
        ("dot", (2,), (3,)),
    ],
)
def test_other_errors(name, a, b, on_arrays):
    raises_like_torch(name, getattr(product, name), np.zeros(a, "f4"), np.zeros(b, "f4"))


def test_products_of_bool_are_refused(on_arrays):
    raises_like_torch("mm", product.mm, np.zeros((2, 3), bool), np.zeros((3, 2), bool))


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3), (4, 5)],
        [(2, 3), (4, 5), (4,)],
        [(3,), (4, 5)],
        [(2, 3, 4), (5, 6), (5,)],
        [(2, 3), (4, 3), (5,)],
        [(2, 3), (2, 4, 3)],
        [(), (4, 3)],
    ],
)
def test_linear_errors(shapes, on_arrays):
    raises_like_torch("nn.functional.linear", product.linear, *(np.zeros(s, "f4") for s in shapes))
