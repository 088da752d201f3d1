"""The backward in tensor operations must give what the compiled sweep gives."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


def test_a_leaf_seen_first_by_the_op_itself(torch: Any) -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    y = a.exp()
    (g,) = torch.autograd.grad(y, [a], torch.ones(2), create_graph=True)
    assert torch.equal(g, y)


def test_a_leaf_used_before_and_after(torch: Any) -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (a * a) * a  # the leaf's parts come from records on both sides of its first use
    (g,) = torch.autograd.grad(y.sum(), [a], create_graph=True)
    assert torch.equal(g, torch.tensor([3.0, 12.0]))


def test_hooks_of_a_leaf_see_the_whole_gradient(torch: Any) -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (a * a) * a
    seen = []
    a.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward(create_graph=True)
    assert seen == [[3.0, 12.0]]
    assert a.grad.tolist() == [3.0, 12.0]


def test_gradients_asked_for_come_whole(torch: Any) -> None:
    a = torch.tensor([2.0], requires_grad=True)
    b = torch.tensor([3.0], requires_grad=True)
    y = (a * b) * a
    ga, gb = torch.autograd.grad(y, [a, b])
    assert ga.item() == 12.0
    assert gb.item() == 4.0


def test_the_first_record_of_a_process_is_a_leaf() -> None:
    code = (
        "import tapegrad as t; x = t.ones(2, requires_grad=True); "
        "x.t().sum().backward(); assert x.grad.tolist() == [1.0, 1.0]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def second_order(torch: Any, f: Any) -> Any:
    """Whether the gradient of f(x).sum() has a history, and its own gradient, rounded."""
    x = torch.tensor([[0.5, -0.7, 1.5], [2.0, 0.3, -1.2]], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(f(torch, x).sum(), x, create_graph=True)
    if not g.requires_grad:
        return False
    (second,) = torch.autograd.grad((g * 1.0).sum(), x, allow_unused=True)
    return (
        None
        if second is None
        else [[round(v, 9) + 0.0 for v in row] for row in (torch.zeros_like(x) + second).tolist()]
    )


FUNCTIONS = {
    "max(dim)": lambda t, x: x.max(1)[0],
    "min(dim)": lambda t, x: x.min(1)[0],
    "max": lambda t, x: x.max(),
    "amax": lambda t, x: x.amax(1),
    "sum": lambda t, x: x.sum(),
    "mean": lambda t, x: x.mean(1),
    "prod": lambda t, x: x.prod(),
    "var": lambda t, x: x.var(1),
    "norm 1": lambda t, x: x.norm(1),
    "norm 2": lambda t, x: x.norm(),
    "gather": lambda t, x: x.gather(1, t.tensor([[0], [1]])),
    "index": lambda t, x: x[t.tensor([0, 0])],
    "masked_fill": lambda t, x: x.masked_fill(x > 0, 0.0),
    "where": lambda t, x: t.where(x > 0, x, -x),
    "cat": lambda t, x: t.cat([x, x]),
    "transpose": lambda t, x: x.t(),
    "linear": lambda t, x: t.nn.functional.linear(x, t.ones(2, 3, dtype=t.float64)),
    "product with itself": lambda t, x: x @ x.t(),
    "softmax": lambda t, x: t.softmax(x, 1).square(),
    "log_softmax": lambda t, x: t.log_softmax(x, 1).square(),
    "logsumexp": lambda t, x: x.logsumexp(1),
    "cross_entropy": lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([0, 1])),
    "nll_loss": lambda t, x: t.nn.functional.nll_loss(x, t.tensor([0, 1])),
    "mse_loss": lambda t, x: t.nn.functional.mse_loss(x, t.zeros(2, 3, dtype=t.float64)),
    "l1_loss": lambda t, x: t.nn.functional.l1_loss(x, t.zeros(2, 3, dtype=t.float64)),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x),
    "second of a square": lambda t, x: t.autograd.grad((x**2).sum(), x, create_graph=True)[0],
}


@pytest.mark.torch
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_have_a_history_where_pytorchs_have(torch: Any, reference: Any, name: str) -> None:
    assert second_order(torch, FUNCTIONS[name]) == second_order(reference, FUNCTIONS[name])


@pytest.mark.torch
@pytest.mark.parametrize("activation", ["LeakyReLU", "ReLU", "Tanh"])
def test_a_gradient_penalty_gives_every_parameter_pytorchs_gradient(
    torch: Any, reference: Any, activation: str
) -> None:
    """Biases behind piecewise linear layers have gradients of zeros, the last one has none."""
    found = []
    for t in (torch, reference):
        layers = [t.nn.Linear(3, 4), getattr(t.nn, activation)(), t.nn.Linear(4, 1)]
        with t.no_grad():
            for k, p in enumerate(p for layer in layers for p in layer.parameters()):
                p.copy_(((t.arange(p.numel()) * 7 + 3 * k) % 11 / 11 - 0.4).reshape(p.shape))
        critic = t.nn.Sequential(*layers)
        x = (t.arange(15).reshape(5, 3) % 4 / 3 - 0.3).requires_grad_()
        (g,) = t.autograd.grad(critic(x).sum(), x, create_graph=True)
        ((g.norm(2, 1) - 1) ** 2).mean().backward()
        found.append([p.grad if p.grad is None else p.grad.flatten().tolist() for p in critic.parameters()])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        assert a is None or a == pytest.approx(b, rel=1e-5, abs=1e-6)
