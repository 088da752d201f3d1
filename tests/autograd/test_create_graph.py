"""The backward in tensor operations must give what the compiled sweep gives."""

from __future__ import annotations

import subprocess
import sys
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
