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


@eager_is_allowed
@pytest.mark.parametrize("how", ["grad", "backward", "create_graph"])
@pytest.mark.parametrize("older", [True, False], ids=["older than the leaf", "newer"])
def test_the_graph_of_a_global_comes_to_lead_to_what_is_asked_for(how, older):
    def run(wrap):
        u = torch.nn.Parameter(torch.tensor([3.0]))
        w = torch.nn.Parameter(torch.tensor([2.0]))
        if not older:
            (w * 1.0).sum().backward()  # it has its record before
            w.grad = None
        z = u * 1.0

        def step(x):
            y = ((z + 0.0) * x).sum() + (w * x).sum()
            if how == "backward":
                w.grad = None
                y.backward(inputs=[w], retain_graph=True)
                return w.grad.clone()
            return torch.autograd.grad(y, w, retain_graph=True, create_graph=how == "create_graph")[0].detach()

        f = wrap(step)
        out = []
        for i in range(8):
            if i == 4:
                z.mul_(w)
            out.append(f(torch.ones(1)).item())
        return out

    both(run)


def test_backward_of_some_inputs_where_an_argument_may_be_one():
    def run(wrap):
        w, u = (torch.nn.Parameter(torch.tensor([v])) for v in (2.0, 3.0))

        def step(x):
            w.grad = None
            (x * w).sum().backward(inputs=[w])
            return w.grad.clone()

        f = wrap(step)
        return [f(u if i < 4 else w).item() for i in range(7)]

    both(run)


def test_an_argument_that_is_asked_for_may_have_any_history():
    """Beyond the only tensor that is asked for, nothing is looked for."""
    w = torch.nn.Parameter(torch.tensor([2.0]))
    f = torch.compile(lambda x: torch.autograd.grad((x * x * w).sum(), x)[0], fullgraph=True)
    for _ in range(5):
        assert f(w * 1.0).item() == 8.0
    assert f.counters.replayed == 3
