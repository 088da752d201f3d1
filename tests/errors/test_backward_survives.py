"""Errors of backward: values, versions, flags and modes stay; a new graph over the same leaves works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tapegrad as torch
from tapegrad.tape import _execute
from unchanged import Unchanged


def graph():
    a = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
    return a, b, (a * b).exp()


def fails(call, *tensors):
    before = Unchanged(tensors)
    with pytest.raises(RuntimeError):
        call()
    before.check("backward")


def works(a, b):
    for t in (a, b):
        t.grad = None
    (a * b).exp().sum().backward()
    want = np.exp(a.detach().numpy() * b.detach().numpy())
    np.testing.assert_allclose(a.grad.numpy(), want * b.detach().numpy(), rtol=1e-6)


def test_roots_that_cannot_begin():
    a, b, y = graph()
    plain = torch.ones(3)
    for call in (
        y.backward, plain.sum().backward, lambda: y.backward(torch.ones(2)), lambda: y.backward(torch.ones(4, 3)),
        lambda: torch.autograd.grad(y, a), lambda: torch.autograd.grad(y.sum(), plain),
        lambda: torch.autograd.grad(a.sum(), b), lambda: y.sum().backward(inputs=[]),
    ):  # fmt: skip
        fails(call, a, b, y, plain)
    y.sum().backward()
    works(a, b)


def test_a_freed_graph():
    a, b, y = graph()
    y.sum().backward()
    fails(lambda: y.sum().backward(), a, b, y)
    fails(lambda: torch.autograd.grad(y.sum(), a), a, b, y)
    works(a, b)


def test_a_saved_value_that_was_changed():
    a, b, y = graph()
    with torch.no_grad():
        y.add_(1)
    fails(lambda: y.sum().backward(), a, b, y)
    works(a, b)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_that_raises_in_the_middle(create_graph):
    a, b, y = graph()
    product = a * b
    z = product.exp()

    def hook(g):
        raise RuntimeError("hook")

    handle = product.register_hook(hook)
    fails(lambda: z.sum().backward(create_graph=create_graph), a, b, z, y)
    handle.remove()
    y.sum().backward()
    works(a, b)


def no_compiler():
    """The compiler fails for one derivative: what was there before stays, and the next backward runs."""
    a = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
    from tapegrad import _wiring

    def refuse(op, role, layout, dt):
        raise RuntimeError("no compiler")

    x = a.double().log1p().lerp(b.double(), 0.25).log10()  # derivatives that nothing else here has asked for
    _execute.set_hook("compile_kernel", refuse)
    try:
        fails(lambda: x.sum().backward(), a, b, x)
    finally:
        _execute.set_hook("compile_kernel", _wiring._kernel)
    works(a, b)


def test_a_kernel_that_cannot_be_had_in_the_middle():
    """In a process of its own, where no other test has asked for these derivatives."""
    here = Path(__file__).parent
    program = f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]; import test_backward_survives as t; "
    command = [sys.executable, "-c", program + "t.no_compiler()"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
