"""Joining, indexing and factories: kernels through frames, composites and plans against torch."""

from __future__ import annotations

import numpy as np
import pytest
from ops.frames import Array, backward, forward, run
from ops.structured_checks import check_gradient, check_op, raises_like_torch, same_bits
from tapegrad import dtypes
from tapegrad.ops import factory, index_plan, indexing, joining

torch = pytest.importorskip("torch")


@pytest.fixture
def rng():
    return np.random.default_rng(24)


# ---- joining ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize(
    ("shapes", "dim"),
    [
        ([(2, 3), (4, 3)], 0),
        ([(2, 3), (2, 1), (2, 7)], 1),
        ([(2, 3, 5), (2, 4, 5)], -2),
        ([(3,), (0,), (2,)], 0),
        ([(0,), (2, 3), (1, 3)], 0),
        ([(2, 0), (2, 3)], 1),
        ([(1, 40000), (1, 9)], 1),
    ],
)
def test_cat(shapes, dim, dtype, rng):
    xs = [(10 * rng.standard_normal(s)).astype(dtype) for s in shapes]
    done = forward(joining._cat, xs, dim=dim)
    tensors = [torch.from_numpy(x).double().requires_grad_() for x in xs]
    joined = torch.cat(tensors, dim)
    want = torch.cat([torch.from_numpy(x) for x in xs], dim).numpy()
    assert same_bits(done.y, want)
    assert same_bits(done.y, forward(joining._cat, xs, dim=dim, scattered=True).y)
    if dtype not in ("float32", "float64"):
        return
    g = rng.standard_normal(want.shape).astype(dtype)
    grads = torch.autograd.grad(joined, tensors, torch.from_numpy(g).double())
    for i, grad in enumerate(grads):
        check_gradient(done, i, g, grad, rng, 1e-7)
        context = type("Context", (), {"words": done.plan.words})
        part = joining._cat_dx(context, torch.from_numpy(g), i)
        assert tuple(part.shape) == shapes[i]
        assert np.array_equal(part.numpy(), grad.numpy().astype(dtype))


@pytest.fixture
def on_arrays(monkeypatch):
    monkeypatch.setattr(joining, "_cat", run(joining._cat))
    monkeypatch.setattr(joining, "_stack", run(joining._stack))
    for name in (
        "take_rows",
        "put_rows",
        "flat_index",
        "gather",
        "scatter_add",
        "_nonzero",
        "_count_nonzero",
    ):
        monkeypatch.setattr(indexing, name, run(getattr(indexing, name)))


def listed(name, *shapes, dim=0):
    return (
        lambda *xs: getattr(joining, name)(list(xs), dim),
        lambda *xs: getattr(torch, name)(list(xs), dim),
        [np.zeros(s, "f4") for s in shapes],
    )


@pytest.mark.parametrize(
    "case",
    [
        listed("cat", (2, 3), (2, 3, 4)),
        listed("cat", (2, 3), (3, 3), dim=1),
        listed("cat", (2, 3), (2, 3), (2, 4)),
        listed("cat"),
        listed("cat", (2, 3), dim=2),
        listed("cat", (), (3,)),
        listed("cat", (3,), ()),
        listed("stack", (2, 3), (3, 3)),
        listed("stack"),
        listed("stack", (2,), dim=3),
    ],
)
def test_joining_errors(case, on_arrays):
    ours, theirs, arrays = case
    with pytest.raises(Exception) as want:  # noqa: PT011
        theirs(*map(torch.from_numpy, arrays))
    with pytest.raises(type(want.value)) as got:
        ours(*map(Array, arrays))
    assert str(got.value) == str(want.value)


def test_stack(on_arrays, rng):
    xs = [rng.standard_normal((2, 3)) for _ in range(4)]
    for dim in (0, 1, 2, -1, -3):
        assert np.array_equal(joining.stack([Array(x) for x in xs], dim).data, np.stack(xs, dim))


# ---- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 70), (300, 1)])
@pytest.mark.parametrize("index_shape", [(), (4,), (2, 3), (0,), (1000,)])
def test_take_rows(shape, index_shape, rng):
    x = rng.standard_normal(shape).astype("f4")
    index = np.asarray(rng.integers(-shape[0], shape[0], index_shape))
    check_op(indexing.take_rows, [x, index], lambda x, i: x[i], rng)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 70)])
@pytest.mark.parametrize("index_shape", [(), (4,), (2, 2), (0,)])
def test_put_rows(shape, index_shape, accumulate, rng):
    x = rng.standard_normal(shape).astype("f4")
    index = rng.permutation(5)[: int(np.prod(index_shape))].reshape(index_shape)
    index = np.where(rng.random(index_shape) < 0.5, index, index - 5)
    v = rng.standard_normal((*index_shape, *shape[1:])).astype("f4")
    check_op(
        indexing.put_rows,
        [x, index, v],
        lambda x, i, v: x.index_put((i,), v, accumulate),
        rng,
        accumulate=accumulate,
    )


def test_repeated_rows_are_taken_in_order(rng):
    x, v = np.zeros((3, 2), "f4"), rng.standard_normal((4, 2)).astype("f4")
    index = np.array([1, 1, 2, 1])
    assert np.array_equal(forward(indexing.put_rows, x, index, v).y[1], v[3])
    added = forward(indexing.put_rows, x, index, v, accumulate=True).y
    assert np.array_equal(added[1], (v[0] + v[1]) + v[3])


def test_index_errors():
    x = np.zeros((3, 4), "f4")
    for bad in (3, -4):
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds for dimension 0 with size 3"):
            forward(indexing.take_rows, x, np.array([0, bad]))
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds for dimension 0 with size 3"):
            forward(indexing.put_rows, x, np.array([0, bad]), np.zeros((2, 4), "f4"))


@pytest.mark.parametrize(
    ("shape", "index_shape", "dim"),
    [
        ((4,), (6,), 0),
        ((3, 4), (3, 2), 1),
        ((3, 4), (7, 2), 0),
        ((2, 3, 4), (2, 5, 3), 1),
        ((3, 4), (0, 4), 0),
        ((), (), 0),
    ],
)
def test_gather_and_scatter_add(shape, index_shape, dim, rng, monkeypatch):
    monkeypatch.setattr(indexing, "cat", torch.cat)
    x = np.asarray(rng.standard_normal(shape)).astype("f4")
    index = np.asarray(rng.integers(0, shape[dim] if shape else 1, index_shape))
    check_op(indexing.gather, [x, index], lambda x, i: x.gather(dim, i), rng, dim=dim)
    src = np.asarray(rng.standard_normal(tuple(s + 1 for s in index_shape))).astype("f4")
    corner = tuple(slice(s) for s in index_shape)
    check_op(
        indexing.scatter_add,
        [x, index, src],
        lambda x, i, s: x.scatter_add(dim, i, s[corner]),  # without [corner] torch fails in backward
        rng,
        dim=dim,
    )


def test_gather_errors():
    x = np.zeros((3, 4), "f4")
    for dim, index in ((1, [[0], [4]]), (1, [[-1]]), (0, [[0, 3]])):
        with pytest.raises(RuntimeError) as want:
            torch.from_numpy(x).gather(dim, torch.tensor(index))
        with pytest.raises(RuntimeError) as got:
            forward(indexing.gather, x, np.array(index), dim=dim)
        assert str(got.value) == str(want.value)
    for index in (np.zeros(1, "i8"), np.zeros((4, 1), "i8"), np.zeros((2, 1), "f4")):
        with pytest.raises(RuntimeError) as want:
            torch.from_numpy(x).gather(1, torch.from_numpy(index))
        with pytest.raises(RuntimeError) as got:
            indexing.gather.rule(Array(x), Array(index), dim=1)
        assert str(got.value) == str(want.value)


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (0, 3), (), (100000,)])
def test_nonzero(shape, dtype, rng, on_arrays, monkeypatch):
    x = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    count = indexing._count_nonzero
    monkeypatch.setattr(indexing, "_count_nonzero", lambda x: count(x).data)
    want = torch.from_numpy(x).nonzero().numpy()
    assert np.array_equal(indexing.nonzero(Array(x)).data, want)


# ---- x[key] -------------------------------------------------------------------------------------

I = np.array  # noqa: E741
KEYS = [
    0,
    -1,
    slice(None),
    slice(1, None),
    slice(None, None, 2),
    slice(-2, 100),
    slice(2, 1),
    None,
    ...,
    (..., None),
    (0, ..., -1),
    (slice(None), None, 1),
    True,
    False,
    (slice(None), True),
    [0, 1],
    [],
    [[0, 1], [1, 0]],
    ([0, 1], [1, 2]),
    (0, [1, 2]),
    (slice(None), [1, 0, 1]),
    (..., [0, 3]),
    (slice(None), [0, 1], slice(None), [1, 0]),
    (slice(None), [0, 1], [1, 0]),
    ([0, 1], slice(None), [1, 0]),
    ([0, 1], 0),
    (0, slice(None), [1, 0]),
    ([1], slice(None), 0),
    (None, [0, 1], None),
    (slice(0, 2), [[0], [1]], [0, 1, 2]),
    ([-1, -2], [-1, 0]),
    I(1),
    (I(1), slice(0, 2)),
    (I([0, 1]), ..., I([0, 1])),
    [True, False],
    (slice(None), I([True, False, True])),
    I([[True, False, True], [False, False, True]]),
    (slice(None), I([[True] * 4, [False] * 4, [True] * 4])),
    (I([True, True]), [0, 1]),
]


def follow(x, steps):
    """A tensor after the steps of a plan."""
    for kind, dim, *rest in steps:
        key = [slice(None)] * dim
        if kind == "select":
            x = x[(*key, rest[0])]
        elif kind == "slice":
            x = x[(*key, slice(*rest))]
        else:
            x = np.expand_dims(x, dim)
    return x


def positions(entries):
    """Entries with masks replaced by what nonzero gives."""
    out = []
    for dim, index in entries:
        index = np.asarray(index)
        if index.dtype == bool:
            out += [(dim + j, Array(part)) for j, part in enumerate(np.nonzero(index))]
        else:
            out.append((dim, Array(index)))
    return out


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing(key, rng, on_arrays):
    x = rng.standard_normal((2, 3, 4, 5)).astype("f4")
    parts = key if isinstance(key, tuple) else (key,)
    tensors = tuple(
        torch.tensor(p, dtype=None if p else torch.int64) if isinstance(p, list) else p for p in parts
    )
    tensors = tuple(torch.from_numpy(p) if isinstance(p, np.ndarray) else p for p in tensors)
    want = torch.from_numpy(x)[tensors].numpy()
    steps, entries = index_plan.plan_index(x.shape, key)
    base = follow(x, steps)
    got = indexing.advanced_index(Array(base), positions(entries)).data if entries else base
    assert same_bits(np.ascontiguousarray(got).reshape(got.shape), want)
    if entries:
        value = np.arange(want.shape[-1] if want.ndim else 1, dtype="f4")[
            : want.shape[-1] if want.ndim else 1
        ]
        value = value if want.ndim else value.reshape(())
        put = indexing.advanced_put(Array(base), positions(entries), Array(value)).data
        again = torch.from_numpy(base.copy())
        parts = tuple(torch.from_numpy(np.asarray(i.data)) for _, i in positions(entries))
        full = [slice(None)] * base.ndim
        for (dim, _), part in zip(positions(entries), parts, strict=True):
            full[dim] = part
        again[tuple(full)] = torch.from_numpy(value)
        assert np.array_equal(put, again.numpy())


@pytest.mark.parametrize(
    "key",
    [
        3,
        -4,
        (0, 0, 0),
        slice(None, None, -1),
        slice(None, None, 0),
        1.5,
        slice(0, 2.5),
        (None, 0, 4),
        (..., 9),
        (0, 0, ..., 0),
    ],
    ids=str,
)
def test_key_errors(key):
    with pytest.raises((IndexError, ValueError, TypeError)) as want:
        torch.zeros(3, 4)[key]
    with pytest.raises(type(want.value)) as got:
        index_plan.plan_index((3, 4), key)
    assert str(got.value) == str(want.value)


@pytest.mark.parametrize(
    "index", [I([True, False]), I([[True] * 3] * 3), I([0.0]), I([[[True]]])], ids=lambda i: str(i.tolist())
)
def test_index_tensor_errors(index):
    with pytest.raises(IndexError) as want:
        torch.zeros(3, 4)[torch.from_numpy(index)]
    with pytest.raises(IndexError) as got:
        index_plan.plan_index((3, 4), index)
    assert str(got.value) == str(want.value)
    with pytest.raises(IndexError, match="invalid index of a 0-dim tensor"):
        index_plan.plan_index((), 0)


def test_several_indices_name_the_wrong_one(on_arrays, torch):
    x = Array(np.zeros((3, 4), "f4"))
    with pytest.raises(IndexError, match="index 4 is out of bounds for dimension 1 with size 4"):
        indexing.advanced_index(x, [(0, Array(I([0, 1]))), (1, Array(I([0, 4])))])
    with pytest.raises(IndexError, match="index -5 is out of bounds for dimension 1 with size 4"):
        indexing.advanced_index(x, [(1, Array(I([-5])))])
    with pytest.raises(IndexError) as got:
        indexing.advanced_index(x, [(0, Array(I([0, 1]))), (1, Array(I([0, 1, 2])))])
    assert "could not be broadcast together with shapes [2], [3]" in str(got.value)
    with pytest.raises(IndexError, match="Index is supposed to be a vector"):
        torch.zeros(3, 4).index_select(0, torch.tensor([[0]]))


# ---- triangles and factories --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tril", "triu"])
@pytest.mark.parametrize("k", [-5, -1, 0, 1, 5])
@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 3, 3), (0, 3), (1, 1)])
def test_triangles(name, k, shape, rng):
    x = rng.standard_normal(shape).astype("f4")
    check_op(getattr(indexing, name), [x], lambda x: getattr(torch, name)(x, k), rng, diagonal=k)
    raises_like_torch(name, getattr(indexing, name).rule, np.zeros(3, "f4"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8"])
@pytest.mark.parametrize("args", [(0, 10, 1), (3, 40, 7), (5, 5, 1), (10, 0, -3), (0, 3000, 1)])
def test_arange(args, dtype):
    if dtype == "uint8" and max(args) > 255:
        pytest.skip("does not fit")
    t = getattr(dtypes, dtype)
    got = forward(factory.arange_op(t), start=args[0], end=args[1], step=args[2], dtype=t).y
    assert same_bits(got, torch.arange(*args, dtype=getattr(torch, dtype)).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fractional_ranges(dtype):
    t = getattr(dtypes, dtype)
    for args in ((0, 1, 0.1), (0.5, 100, 0.3), (1, -1, -0.25), (0, 7, 0.001)):
        got = forward(factory.arange_op(t), start=args[0], end=args[1], step=args[2], dtype=t).y
        want = torch.arange(*args, dtype=getattr(torch, dtype)).numpy()
        assert (got != want).mean() < 0.01
        np.testing.assert_array_max_ulp(got, want, 1)
    for args in ((0, 1, 5), (-3, 3, 100), (0, 1, 1), (2, 1, 0), (0.1, 0.7, 37)):
        got = forward(factory.linspace_op(t), start=args[0], end=args[1], steps=args[2], dtype=t).y
        want = torch.linspace(*args, dtype=getattr(torch, dtype)).numpy()
        np.testing.assert_array_equal(got, want)


def test_whole_linspace_and_eye():
    t = dtypes.int64
    for args in ((3, -4, 6), (0, 10, 5), (0, 1, 1)):
        got = forward(factory.linspace_op(t), start=args[0], end=args[1], steps=args[2], dtype=t).y
        assert np.array_equal(got, torch.linspace(*args, dtype=torch.int64).numpy())
    for n, m in ((3, 3), (2, 5), (5, 2), (0, 2)):
        assert np.array_equal(forward(factory.eye_op, n=n, m=m, dtype=dtypes.float32).y, np.eye(n, m))


@pytest.mark.parametrize("args", [(0, 1, 0), (1, 0, 1), (0, float("inf"), 1), (float("nan"), 1, 1)])
def test_range_errors(args):
    with pytest.raises(RuntimeError) as want:
        torch.arange(*args)
    with pytest.raises(RuntimeError) as got:
        factory.arange_size(*args)
    assert str(got.value) == str(want.value)


def test_gradients_of_rows_add_up(rng):
    done = forward(indexing.take_rows, np.zeros((3, 2), "f4"), np.array([1, 1, -2]))
    g = rng.standard_normal((3, 2)).astype("f4")
    want = (g[0] + g[1]) + g[2]
    assert np.array_equal(backward(done, "x", g)[1], want)
