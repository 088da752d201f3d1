"""Reductions: kernels through frames, functions over them, against NumPy float64 and torch."""

from __future__ import annotations

import numpy as np
import pytest
from ops.frames import Array, forward, run
from ops.structured_checks import check_op, raises_like_torch
from tapegrad.ops import reduction

torch = pytest.importorskip("torch")


@pytest.fixture
def rng():
    return np.random.default_rng(23)


SHAPES = [
    ((7,), (0,)),
    ((3, 5), (1,)),
    ((3, 5), (0,)),
    ((3, 5), (0, 1)),
    ((2, 3, 4), (1,)),
    ((2, 3, 4), (0, 1)),
    ((2, 1, 4), (0, 2)),
    ((), ()),
    ((2, 0, 3), (2,)),
    ((4, 300), (1,)),
    ((1500,), (0,)),
    ((70001,), (0,)),
    ((2, 40000), (1,)),
    ((300, 7), (0,)),
    ((3, 300, 300), (1,)),
    ((2, 9000, 40), (1,)),
]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "dims"), SHAPES)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin"])
def test_reductions(name, shape, dims, keepdim, rng):
    x = np.asarray(rng.standard_normal(shape)).astype("f4")
    reference = getattr(torch, name)
    op = getattr(reduction, "_" + name)
    check_op(
        op,
        [x],
        lambda x: reference(x, dims, keepdim) if dims else reference(x),
        rng,
        dims=dims,
        keepdim=keepdim,
    )


@pytest.mark.parametrize(("shape", "dims"), [((2, 0, 3), (1,)), ((0,), (0,)), ((0, 4), (0, 1))])
def test_reductions_of_nothing(shape, dims, rng):
    x = np.zeros(shape, "f4")
    check_op(reduction._sum, [x], lambda x: torch.sum(x, dims), rng, dims=dims)
    check_op(reduction._mean, [x], lambda x: torch.mean(x, dims), rng, dims=dims)
    assert (forward(reduction._prod, x, dims=dims).y == 1).all()
    assert not forward(reduction._any, x, dims=dims).y.any()
    assert forward(reduction._all, x, dims=dims).y.all()
    assert (forward(reduction._integer_sum, x.astype(bool), dims=dims).y == 0).all()


@pytest.mark.parametrize("shape", [(10_000_000,), (10_000, 1000), (2_500_000, 4)])
def test_float32_sums_are_accurate(shape):
    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    for dims in [(0,)] if len(shape) == 1 else [(0,), (1,), (0, 1)]:
        got = forward(reduction._sum, x, dims=dims).y
        np.testing.assert_allclose(got, x.sum(dims, dtype="f8"), rtol=5e-7)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize(("shape", "dims"), SHAPES)
def test_whole_numbers(shape, dims, dtype, rng):
    x = np.asarray(rng.integers(0, 2 if dtype == "bool" else 200, shape)).astype(dtype)
    for name, want in (
        ("integer_sum", x.sum(dims, dtype="i8")),
        ("integer_prod", x.prod(dims, dtype="i8")),
        ("any", x.any(dims)),
        ("all", x.all(dims)),
        ("amax", x.max(dims, initial=0)),
        ("amin", x.min(dims, initial=255 if dtype != "bool" else True)),
    ):
        if 0 in x.shape and name.startswith("am"):
            continue
        for scattered in (False, True):
            got = forward(getattr(reduction, "_" + name), x, dims=dims, scattered=scattered).y
            assert got.dtype == want.dtype
            assert np.array_equal(got, want), name


@pytest.mark.parametrize("zeros", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "dims"), [((5,), (0,)), ((3, 5), (1,)), ((5, 3), (0,)), ((2, 3), (0, 1)), ((), ())]
)
def test_prod(shape, dims, zeros, rng):
    x = np.asarray(rng.standard_normal(shape)).astype("f4")
    x.reshape(-1)[: min(zeros, x.size)] = 0
    dim = dims[0] if len(dims) == 1 else None
    check_op(
        reduction._prod, [x], lambda x: torch.prod(x) if dim is None else torch.prod(x, dim), rng, dims=dims
    )


def test_ties_share_the_gradient(rng):
    x = np.array([[1, 3, 3], [2, 2, 2]], "f4")
    check_op(reduction._amax, [x], lambda x: x.max(), rng, dims=(0, 1))
    check_op(reduction._amin, [x], lambda x: x.amin(1), rng, dims=(1,))


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize(
    ("shape", "dim"), [((4, 5), 1), ((4, 5), 0), ((3, 200), 1), ((2, 5, 400), 1), ((), 0), ((9,), 0)]
)
def test_places(name, dtype, shape, dim, rng):
    x = np.asarray(rng.integers(0, 9, shape)).astype(dtype)
    dims = (dim,) if shape else ()
    op = getattr(reduction, f"_{name}_dim")
    done = check_op(op, [x], lambda x: getattr(torch, name)(x, dim).values, rng, dims=dims)
    tensor = torch.from_numpy(x)
    values, indices = getattr(torch, name)(tensor, dim)
    assert np.array_equal(done.y, values)
    assert np.array_equal(done.aux, indices)
    got = forward(getattr(reduction, "_arg" + name), x, dims=dims).y
    assert np.array_equal(got, getattr(torch, "arg" + name)(tensor, dim))


@pytest.mark.parametrize("length", [4, 100, 5000])
def test_nan_wins(length):
    for place in (0, 2, length - 1):
        x = np.arange(length, dtype="f4")
        x[place] = x[-1] = np.nan
        for layout in (x[None], np.repeat(x[:, None], 3, 1)):
            dims = (1,) if layout.shape[0] == 1 else (0,)
            for name in ("amax", "amin"):
                assert np.isnan(forward(getattr(reduction, "_" + name), layout, dims=dims).y).all()
            for name in ("max_dim", "min_dim"):
                done = forward(getattr(reduction, "_" + name), layout, dims=dims)
                assert np.isnan(done.y).all()
                assert (done.aux == place).all()


OPS = [
    "sum",
    "mean",
    "prod",
    "integer_sum",
    "integer_prod",
    "any",
    "all",
    "amax",
    "amin",
    "max_dim",
    "min_dim",
]


@pytest.fixture
def on_arrays(monkeypatch):
    for name in [*OPS, "argmax", "argmin", "var", "std", "logsumexp"]:
        monkeypatch.setattr(reduction, "_" + name, run(getattr(reduction, "_" + name)))


@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2), (1, 3), (-1, 0), (0, 1, 2, 3), ()])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "any", "all", "var", "std", "logsumexp"])
@pytest.mark.parametrize("keepdim", [False, True])
def test_functions(name, dim, keepdim, rng, on_arrays):
    x = rng.standard_normal((2, 3, 4, 5)).astype("f4")
    if dim is None and name in ("amax", "amin", "logsumexp"):
        dim = (0, 1, 2, 3)
    if dim == () and name in ("any", "all", "logsumexp"):
        pytest.skip("torch gives () a meaning of its own here")
    want = getattr(torch, name)(torch.from_numpy(x), dim, keepdim=keepdim).numpy()
    got = getattr(reduction, name)(Array(x), dim, keepdim=keepdim).data
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


def test_sum_of_bools_and_requested_dtypes(on_arrays):
    x = Array(np.array([True, True, False]))
    assert reduction.sum(x).data == 2
    assert reduction.sum(x, dtype=Array(np.zeros(1, "f4")).dtype).data.dtype == np.float32
    assert reduction.any(Array(np.zeros(2, "u1"))).data.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("sum", (2, 3), (2,)),
        ("sum", (2, 3), ((0, 0),)),
        ("sum", (2, 3), ((0, -2),)),
        ("sum", (), (1,)),
        ("mean", (2, 3), (-3,)),
        ("amax", (2, 0), (1,)),
        ("amax", (2, 0), ()),
        ("amin", (0, 2), (0,)),
        ("argmax", (2, 0), ()),
        ("argmax", (2, 0), (1,)),
        ("argmin", (2, 3), (5,)),
    ],
)
def test_errors(name, shape, args, on_arrays):
    raises_like_torch(name, getattr(reduction, name), np.zeros(shape, "f4"), *args)


def test_more_errors(on_arrays):
    raises_like_torch("mean", reduction.mean, np.zeros(3, "i8"))
    raises_like_torch("mean", reduction.mean, np.zeros(3, bool))
    raises_like_torch("var", reduction.var, np.zeros(3, "i8"))
    raises_like_torch("argmax", reduction.argmax, np.zeros((2, 3), bool))
    raises_like_torch("max", reduction.max_all, np.zeros(0, "f4"))
    raises_like_torch("min", reduction.min_all, np.zeros(0, "f4"))
    raises_like_torch("max", reduction.max_dim, np.zeros((2, 0), "f4"), 1)
    raises_like_torch("min", reduction.min_dim, np.zeros((2, 0), "f4"), 1)
    raises_like_torch("max", reduction.max_dim, np.zeros((2, 3), "f4"), 5)


def test_logsumexp_of_infinities(on_arrays):
    for head in ([-np.inf] * 2, [np.inf, 1], [1000.0, 1000.0]):
        x = np.array(head, "f4")
        want = torch.from_numpy(x).logsumexp(0).item()
        assert reduction.logsumexp(Array(x), 0).data == pytest.approx(want)
