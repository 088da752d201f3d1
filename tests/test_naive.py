"""The slow truth against known values and against PyTorch in float64: a reference has to be right first."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

RANDOM = np.random.default_rng(3)
X = RANDOM.standard_normal((3, 4))
EDGES = np.array([0.0, -0.0, 1.0, -1.0, 50.0, -50.0, 800.0, -800.0, math.inf, -math.inf, math.nan])
POINTWISE = ["exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan", "tanh", "erf"]
POINTWISE += ["sigmoid", "relu", "neg", "reciprocal"]


def same(ours, theirs, rtol=1e-12):
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=rtol, atol=1e-300)


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name, reference):
    values = np.concatenate([X.ravel(), EDGES])
    same(getattr(naive, name)(values), getattr(reference, name)(reference.tensor(values)), 1e-11)


def test_softplus_and_sign(reference):
    t = reference.tensor(EDGES)
    same(naive.softplus(EDGES), reference.nn.functional.softplus(t))
    same(naive.sign(EDGES[:-1]), reference.sign(t[:-1]))


def test_known_values():
    assert naive.sum([[1, 2], [3, 4]], 0).tolist() == [4, 6]
    assert naive.sum([[1, 2], [3, 4]], keepdim=True).tolist() == [[10]]
    assert naive.mean([1, 2, 6]) == 3
    assert math.isnan(naive.mean([]))
    assert naive.sum(np.zeros((0, 2)), 0).tolist() == [0, 0]
    assert naive.matmul([[1, 2]], [[3], [4]]).tolist() == [[11]]
    assert naive.cross_entropy([[0.0, 0.0]], [1]) == pytest.approx(math.log(2))
    assert naive.sgd([1.0], [[1.0]], 0.1).tolist() == [0.9]
    assert naive.slope(lambda x: (x * x).sum(), [1.0, 2.0], [1.0, 1.0]) == pytest.approx(6.0)


SHAPES = [((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,))]
SHAPES += [((5, 2, 3), (3, 4)), ((2, 0), (0, 3))]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(a, b, reference):
    x, y = RANDOM.standard_normal(a), RANDOM.standard_normal(b)
    same(naive.matmul(x, y), reference.matmul(reference.tensor(x), reference.tensor(y)))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses(reference, reduction, smoothing):
    F = reference.nn.functional
    t, labels = reference.tensor(X), np.array([1, 3, 0])
    options = {"reduction": reduction}
    theirs = F.cross_entropy(t, reference.tensor(labels), label_smoothing=smoothing, **options)
    same(naive.cross_entropy(X, labels, smoothing, **options), theirs)
    shares = naive.softmax(RANDOM.standard_normal((3, 4)), 1)
    theirs = F.cross_entropy(t, reference.tensor(shares), label_smoothing=smoothing, **options)
    same(naive.cross_entropy(X, shares, smoothing, **options), theirs)
    weight, y = np.array([1.0, 2.0, 0.5, 3.0]), RANDOM.standard_normal((3, 4))
    theirs = F.nll_loss(t, reference.tensor(labels), reference.tensor(weight), ignore_index=3, **options)
    same(naive.nll_loss(X, labels, weight, 3, **options), theirs)
    same(naive.mse_loss(X, y, **options), F.mse_loss(t, reference.tensor(y), **options))
    same(naive.l1_loss(X, y, **options), F.l1_loss(t, reference.tensor(y), **options))


def steps_of(reference, make, gradients, **options):
    p = reference.tensor(X, requires_grad=True)
    optimizer = make([p], **options)
    for g in gradients:
        p.grad = reference.tensor(g)
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True},
    ],
    ids=str,
)
def test_sgd(reference, options):
    gradients = RANDOM.standard_normal((5, 3, 4))
    same(naive.sgd(X, gradients, **options), steps_of(reference, reference.optim.SGD, gradients, **options))


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "amsgrad": True}, {"maximize": True}], ids=str)
def test_adam(reference, options, decoupled):
    gradients = RANDOM.standard_normal((5, 3, 4))
    make = reference.optim.AdamW if decoupled else reference.optim.Adam
    options = {"weight_decay": 0.0, **options}
    ours = naive.adam(X, gradients, lr=0.01, decoupled=decoupled, **options)
    same(ours, steps_of(reference, make, gradients, lr=0.01, **options), 1e-9)
