"""The backward in tensor operations must give what the compiled sweep gives."""

from __future__ import annotations

from typing import Any


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
