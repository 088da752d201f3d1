"""`autograd.grad` inside a step, hooks it calls, and gradients that were put there with other strides."""

from __future__ import annotations

import pytest
import tapegrad as torch

eager_is_allowed = pytest.mark.filterwarnings("ignore:.*runs eagerly")


def both(run):
    assert run(torch.compile) == run(lambda f: f)


@eager_is_allowed
def test_the_graph_of_an_argument_may_lead_to_what_is_asked_for():
    def run(wrap):
        w, u = (torch.nn.Parameter(torch.tensor([v])) for v in (2.0, 3.0))
        f = wrap(lambda x: torch.autograd.grad((x * w).sum(), w, retain_graph=True)[0])
        return [f((u if i < 4 else w) * 1.0).item() for i in range(7)]

    both(run)


def test_an_argument_may_be_what_is_asked_for():
    def run(wrap):
        w, u = (torch.nn.Parameter(torch.tensor([v])) for v in (2.0, 3.0))
        f = wrap(lambda x: torch.autograd.grad((x * w).sum(), w)[0])
        return [f(u if i < 4 else w).item() for i in range(7)]

    both(run)


@eager_is_allowed
def test_hooks_are_called_where_gradients_have_a_graph():
    def run(wrap):
        w, calls, factor = torch.nn.Parameter(torch.tensor([2.0])), [], [1.0]
        w.register_hook(lambda g: (calls.append(1), g * factor[0])[1])
        f = wrap(lambda x: torch.autograd.grad((w * w * x).sum(), w, create_graph=True)[0])
        found = []
        for i in range(7):
            factor[0] = 5.0 if i > 3 else 1.0
            found.append(f(torch.ones(1)).item())
        return found, len(calls)

    both(run)


@eager_is_allowed
def test_a_gradient_once_had_other_strides():
    def run(wrap):
        torch.manual_seed(0)
        w = torch.nn.Parameter(torch.zeros(3, 3))
        f = wrap(lambda x: (w * x).sum().backward())
        found = []
        for i in range(10):
            if i == 0:
                w.grad = torch.zeros(3, 3).t()
            if i == 5:
                w.grad = None
            f(torch.randn(3, 3))
            found.append((w.grad.stride(), w.grad.tolist()))
        return found

    both(run)
