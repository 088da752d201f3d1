"""Optimizer state below the normal numbers is 0: in eager code and in replays, and where it decides nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tapegrad as torch

KINDS = {
    "momentum": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda o, p: o.Adam(p, lr=0.1, betas=(0.5, 0.9)),
    "amsgrad": lambda o, p: o.Adam(p, lr=0.1, betas=(0.5, 0.9), amsgrad=True),
    "adamw": lambda o, p: o.AdamW(p, lr=0.1, betas=(0.5, 0.9)),
}
N = 70


def gradients(dtype):
    """Powers of ten of both signs down to the smallest denormals, and 0."""
    lowest = -46 if dtype == "float32" else -324
    return np.asarray([s * 10.0**e for e in np.linspace(0, lowest, N // 2) for s in (1, -1)], dtype)


def states(optimizer):
    """The state tensors of the one parameter, without its step count."""
    (own,) = optimizer.state_dict()["state"].values()
    return {k: np.asarray(v.numpy()) for k, v in own.items() if k != "step"}


def trained(framework, make, dtype, steps, compiled=False):
    p = framework.nn.Parameter(framework.from_numpy(np.linspace(-1, 1, N).astype(dtype)))
    optimizer = make(framework.optim, [p])
    step = framework.compile(optimizer.step) if compiled else optimizer.step
    for k in range(steps):
        p.grad = framework.from_numpy(gradients(dtype) * (k == 0))
        step()
    return p.detach().numpy(), states(optimizer)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_small_state_is_zero_and_the_rest_is_pytorchs(reference, kind, dtype):
    tiny = np.finfo(dtype).tiny
    for steps in (1, 30):
        p, ours = trained(torch, KINDS[kind], dtype, steps)
        q, theirs = trained(reference, KINDS[kind], dtype, steps)
        assert list(ours) == list(theirs)
        some = 0
        for name, expected in theirs.items():
            small = np.abs(expected) < tiny
            assert not ours[name][small].any()
            some += small.sum() - (expected == 0).sum()
            np.testing.assert_allclose(ours[name][~small], expected[~small], rtol=4 * np.finfo(dtype).eps)
        assert some > 0
        np.testing.assert_allclose(p, q, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", list(KINDS))
def test_it_dies_out(kind):
    """Without gradients every state comes to 0, where 0.9 times the smallest number would stay what it is."""
    _, ours = trained(torch, KINDS[kind], "float32", 1500)
    for name, values in ours.items():
        if name != "max_exp_avg_sq":  # the largest there was
            assert not values.any(), name


@pytest.mark.parametrize("kind", list(KINDS))
def test_replays_do_the_same(kind):
    for steps in (5, 400):
        p, eager = trained(torch, KINDS[kind], "float32", steps)
        q, replayed = trained(torch, KINDS[kind], "float32", steps, compiled=True)
        assert p.tobytes() == q.tobytes()
        assert {k: v.tobytes() for k, v in eager.items()} == {k: v.tobytes() for k, v in replayed.items()}


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("eps", [0.0, 1e-38, 1e-30, 1e-20, 1e-12])
def test_squares_stay_where_they_decide_the_step(reference, eps, amsgrad):
    """Their root is far above themselves: with a tiny eps it is what the step is divided by."""

    def step(framework):
        p = framework.nn.Parameter(framework.zeros(4))
        optimizer = framework.optim.Adam([p], lr=0.1, eps=eps, amsgrad=amsgrad)
        for _ in range(3):
            p.grad = framework.tensor([1e-17, -3e-19, 1e-20, 2e-21])
            optimizer.step()
        return p.detach().numpy()

    expected = step(reference)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(step(torch), expected, rtol=1e-4)
