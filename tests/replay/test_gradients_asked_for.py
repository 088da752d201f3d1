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


@eager_is_allowed
@pytest.mark.parametrize("accumulates", [True, False])
@pytest.mark.parametrize("how", ["backward", "create_graph"])
@pytest.mark.parametrize("first", ["v - b", "u - b", "v * 2"])
def test_the_graph_of_an_argument_leads_to_a_parameter_of_the_step(first, how, accumulates):
    """Derivatives that pass a gradient on as it is run no kernel."""

    def run(wrap):
        w, v, u = (torch.nn.Parameter(torch.tensor([k])) for k in (1.0, 2.0, 3.0))
        b = torch.zeros(1)
        if accumulates:
            w.grad, v.grad, u.grad = (torch.zeros(1) for _ in range(3))

        def step(x):
            (w * x - v).sum().backward(create_graph=how == "create_graph")

        f = wrap(step)
        makers = {"v - b": lambda: v - b, "u - b": lambda: u - b, "v * 2": lambda: v * 2, "b - w": lambda: b - w}
        found = []
        for name in [first] * 4 + ["u - b", "v - b", "b - w", "v * 2", "v - b"]:
            f(makers[name]())
            found.append([None if p.grad is None else p.grad.tolist() for p in (w, v, u)])
            if how == "create_graph":
                for p in (w, v, u):
                    p.grad = None if p.grad is None else p.grad.detach()
        return found

    both(run)


@eager_is_allowed
def test_a_state_from_outside_comes_to_depend_on_a_parameter():
    def run(wrap):
        p, v = torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(2))
        h = torch.zeros(2)
        h.copy_(p)
        h.copy_(torch.ones(2))  # it requires gradients and depends on nothing

        def step(x):
            (h * x * v).sum().backward()

        f = wrap(step)
        for _ in range(4):
            f(torch.ones(2))
        h.copy_(p)
        f(torch.ones(2))
        return p.grad.tolist(), v.grad.tolist()

    both(run)


@eager_is_allowed
def test_a_gradient_that_an_activation_from_outside_keeps_is_given_up():
    def run(wrap):
        w = torch.ones(2, requires_grad=True) * 2
        w.retain_grad()

        def step():
            w.grad = None

        f = wrap(step)
        found = []
        for k in range(6):
            if k == 3:
                w.grad = torch.ones(2)
            f()
            found.append(w.grad is None)
        return found

    both(run)
