"""Losses: kernels through frames and composites, against torch."""

from __future__ import annotations

import numpy as np
import pytest
from ops.frames import Array, backward, forward, run
from ops.structured_checks import check_op, raises_like_torch
from tapegrad.ops import loss

torch = pytest.importorskip("torch")
functional = torch.nn.functional
REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


@pytest.fixture
def rng():
    return np.random.default_rng(22)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(1, 2), (32, 10), (128, 10), (9000, 10), (5, 1), (33, 40), (3, 3000)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_class_losses(name, reduction, weighted, shape, dtype, rng):
    n, classes = shape
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    target = rng.integers(0, classes, n)
    ignore = 0 if classes > 1 else -100
    weight = (rng.random(classes) + 0.5).astype(dtype) if weighted else None
    op = loss._cross_entropy if name == "cross_entropy" else loss._nll

    def reference(x, target, weight):
        return getattr(functional, name)(x, target, weight, reduction=reduction, ignore_index=ignore)

    target[-1] = classes - 1
    inputs = [x, target, weight]
    check_op(op, inputs, reference, rng, rtol=5e-5, ignore_index=ignore, reduction=REDUCTIONS[reduction])


@pytest.mark.parametrize("op", [loss._cross_entropy, loss._nll])
@pytest.mark.parametrize("classes", [4, 50])
def test_target_out_of_bounds(op, classes):
    for bad in (classes, -1):
        target = np.array([0, 1, bad, 2])
        with pytest.raises(IndexError, match=f"Target {bad} is out of bounds."):
            forward(op, np.zeros((4, classes), "f4"), target, None, ignore_index=-100, reduction=1)


def test_no_rows_and_no_counted_rows():
    for op in (loss._cross_entropy, loss._nll):
        x, target = np.zeros((0, 4), "f4"), np.zeros(0, np.int64)
        assert np.isnan(forward(op, x, target, None, ignore_index=-100, reduction=1).y)
        assert forward(op, x, target, None, ignore_index=-100, reduction=2).y == 0
        x, target = np.zeros((3, 4), "f4"), np.full(3, 2)
        assert np.isnan(forward(op, x, target, None, ignore_index=2, reduction=1).y)
        done = forward(op, x, target, None, ignore_index=2, reduction=2)
        assert done.y == 0
        assert (backward(done, "x", np.ones((), "f4")) == 0).all()


def test_large_logits_keep_their_precision(rng):
    for classes in (10, 100):
        x = (rng.standard_normal((16, classes)) + 3000).astype("f4")
        target = rng.integers(0, classes, 16)
        done = forward(loss._cross_entropy, x, target, None, ignore_index=-100, reduction=1)
        exact = torch.from_numpy(x.astype("f8")).requires_grad_()
        want = functional.cross_entropy(exact, torch.from_numpy(target))
        want.backward()
        np.testing.assert_allclose(done.y, want.item(), rtol=1e-6)
        got = backward(done, "x", np.ones((), "f4"))
        np.testing.assert_allclose(got, exact.grad.numpy(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3, 4), (), (1,), (100001,), (7, 300)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances(name, reduction, shape, dtype, rng):
    x, target = (np.asarray(rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    op = loss._mse if name == "mse_loss" else loss._l1
    reference = getattr(functional, name)
    check_op(
        op,
        [x, target],
        lambda x, t: reference(x, t, reduction=reduction),
        rng,
        reduction=REDUCTIONS[reduction],
    )


def test_distances_of_nothing():
    empty = np.zeros((0, 3), "f4")
    assert np.isnan(forward(loss._mse, empty, empty, reduction=1).y)
    assert forward(loss._l1, empty, empty, reduction=2).y == 0


@pytest.fixture
def on_arrays(monkeypatch):
    for name in ("_cross_entropy", "_nll", "_mse", "_l1", "log_softmax"):
        monkeypatch.setattr(loss, name, run(getattr(loss, name)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["indices", "weighted", "probabilities", "weighted probabilities"])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 4, 6), (2, 4, 3, 5)])
def test_cross_entropy(shape, kind, smoothing, reduction, rng, on_arrays):
    x = rng.standard_normal(shape).astype("f4")
    weight = (rng.random(4) + 0.5).astype("f4") if "weighted" in kind else None
    if "prob" in kind:
        target = np.abs(rng.standard_normal(shape)).astype("f4")
    else:
        target = rng.integers(0, 4, shape[:1] * (len(shape) > 1) + shape[2:])
    options = {"reduction": reduction, "label_smoothing": smoothing}
    tensors = [None if v is None else torch.from_numpy(np.asarray(v)) for v in (x, target, weight)]
    want = functional.cross_entropy(*tensors, **options).numpy()
    arrays = [None if v is None else Array(v) for v in (x, target, weight)]
    got = loss.cross_entropy(*arrays, **options).data
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


def index(*values):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("x", "target"),
    [
        ((3, 4), index(0, 1)),
        ((3, 4), np.zeros(3, "i4")),
        ((3, 4), np.zeros(3, "f4")),
        ((3, 4), np.zeros((3, 1), "i8")),
        ((3, 4, 5), np.zeros((3, 4), "i8")),
        ((3, 4, 5), np.zeros((3, 6), "i8")),
        ((3, 4, 5), np.zeros((2, 5), "i8")),
        ((4,), index(0, 1)),
        ((3, 4), np.zeros((3, 4), "i8")),
        ((3, 4), index(0, 1, 10)),
    ],
)
def test_errors(x, target, on_arrays):
    x = np.zeros(x, "f4")
    raises_like_torch("nn.functional.cross_entropy", loss.cross_entropy, x, target)
    if x.shape != target.shape:
        raises_like_torch("nn.functional.nll_loss", loss.nll_loss, x, target)


@pytest.mark.parametrize(
    "options",
    [
        {"reduction": "foo"},
        {"label_smoothing": 1.5},
    ],
)
def test_option_errors(options, on_arrays):
    arrays = np.zeros((3, 4), "f4"), index(0, 1, 2)
    raises_like_torch("nn.functional.cross_entropy", loss.cross_entropy, *arrays, **options)


def test_weight_errors(on_arrays):
    for weight in (np.zeros(5, "f4"), np.zeros(4, "f8")):
        arrays = np.zeros((3, 4), "f4"), index(0, 1, 2), weight
        raises_like_torch("nn.functional.cross_entropy", loss.cross_entropy, *arrays)
        raises_like_torch("nn.functional.nll_loss", loss.nll_loss, *arrays)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_distances_broadcast_and_promote(rng, on_arrays):
    x, target = rng.standard_normal((3, 4)).astype("f4"), rng.standard_normal(4)
    for name in ("mse_loss", "l1_loss"):
        got = getattr(loss, name)(Array(x), Array(target)).data
        want = getattr(functional, name)(torch.from_numpy(x), torch.from_numpy(target))
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-12)
    raises_like_torch("nn.functional.mse_loss", loss.mse_loss, np.zeros((3, 4), "f4"), np.zeros((4, 4), "f4"))
    raises_like_torch("nn.functional.mse_loss", loss.mse_loss, np.zeros(3, "i8"), np.zeros(3, "i8"))
    raises_like_torch("nn.functional.l1_loss", loss.l1_loss, np.zeros(3, "i8"), np.zeros(3, "i8"))
