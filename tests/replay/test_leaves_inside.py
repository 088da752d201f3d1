"""Leaves that the function makes itself, and arguments that it makes require gradients: losses with derivatives."""

import copy
import warnings

import pytest
import tapegrad as torch
from _twins import Twins, batch, world


def network():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def residual(net, x):
    """A loss with first and second derivatives by the inputs."""
    (g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(g[:, 0].sum(), x, create_graph=True)
    return (g[:, 1] - second[:, 0]).square().mean()


def cloned(x):
    return x.clone().requires_grad_()


def detached(x):
    return x.detach().requires_grad_()


def drawn(x):
    return torch.rand(4, 6, requires_grad=True)


def made_to(x):
    return x.requires_grad_()


def assigned(x):
    x.requires_grad = True
    return x


def training(leaf, result):
    def make():
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        w = world(model=model, optimizer=optimizer)

        def step(x):
            x = leaf(x)
            optimizer.zero_grad()
            loss = residual(model, x)
            loss.backward()
            optimizer.step()
            return result(loss, x)

        w.step = step
        return w

    return make


@pytest.mark.parametrize("leaf", [cloned, detached, drawn, made_to, assigned])
@pytest.mark.parametrize(
    "result",
    [lambda loss, x: loss, lambda loss, x: loss.detach(), lambda loss, x: None, lambda loss, x: (loss, x.grad)],
    ids=["loss", "detached loss", "nothing", "loss and gradient"],
)
def test_training_with_derivatives_by_the_inputs(leaf, result):
    t = Twins(training(leaf, result))
    t.settle(batch(4)[0])
    for seed in range(3):
        t.replays(1, batch(4, seed=seed)[0])
    t.call(batch(4)[0], eagerly=True)
    t.replays(2, batch(4, seed=7)[0])


@pytest.mark.parametrize("leaf", [cloned, detached, made_to])
def test_the_graph_behind_a_result_ends_in_the_leaf(leaf):
    def make():
        w = world(model=network())
        w.step = lambda x: residual(w.model, leaf(x))
        return w

    def backward(w, loss, x):
        w.model.zero_grad()
        loss.backward()

    t = Twins(make)
    t.settle(batch(4)[0], outside=backward)
    t.replays(3, batch(4, seed=1)[0], outside=backward)


def test_a_kept_graph_goes_on_to_the_leaf():
    def make():
        w = world(model=network())

        def step(x):
            x = cloned(x)
            loss = w.model(x).square().sum()
            loss.backward(retain_graph=True)
            return loss

        w.step = step
        return w

    t = Twins(make)
    t.settle(batch(4)[0], outside=lambda w, loss, x: loss.backward())
    t.replays(3, batch(4, seed=1)[0], outside=lambda w, loss, x: loss.backward())


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("kept", ["leaf", "gradient"])
def test_what_is_kept_of_a_leaf_is_that_of_eager_code(kept):
    def make():
        w = world(model=network())
        w.shelf = [None]

        def step(x):
            x = cloned(x)
            loss = w.model(x).square().sum()
            loss.backward()
            w.shelf[0] = x if kept == "leaf" else x.grad
            return loss

        w.step = step
        return w

    t = Twins(make)
    for seed in range(6):
        t.call(batch(4, seed=seed)[0])
    assert t.counters.replayed == 0


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_leaf_among_the_results():
    t = Twins(training(cloned, lambda loss, x: (loss, x)))
    for seed in range(6):
        t.call(batch(4, seed=seed)[0])


def test_a_tensor_from_outside_is_made_to_require_gradients_once():
    def make():
        w = world(model=network(), points=batch(4)[0])

        def step():
            return residual(w.model, w.points.requires_grad_())

        w.step = step
        return w

    t = Twins(make)
    t.settle(outside=lambda w, loss: loss.backward())
    t.replays(3, outside=lambda w, loss: loss.backward())


def test_arguments_of_both_kinds_in_turn():
    t = Twins(training(made_to, lambda loss, x: loss))
    for _ in range(6):
        t.call(batch(4)[0])
        t.call(batch(4)[0].requires_grad_())
    assert t.counters.replayed >= 6
    assert t.counters.eager == 0


def test_a_look_leaves_arguments_as_they_were():
    model = network()

    def step(x):
        loss = model(x.requires_grad_()).sum()
        loss.backward()
        return loss

    run = torch.compile(step, check=True)
    for _ in range(4):
        run(batch(4)[0])
    assert run.counters.replayed >= 1
    x = batch(4)[0]
    assert "linear" in str(run.table(x, runs=2))
    assert not x.requires_grad
    assert x.grad is None


def test_a_gradient_wanted_after_the_first_use():
    def make():
        w = world(model=network())

        def step(x):
            before = w.model(x).sum()
            loss = before + (x.requires_grad_() * 2).sum()
            loss.backward()
            return loss

        w.step = step
        return w

    t = Twins(make)
    t.settle(batch(4)[0])
    t.replays(2, batch(4, seed=1)[0])
    for _ in range(4):
        t.call(batch(4)[0].requires_grad_())
        t.call(batch(4, seed=2)[0])
    assert t.counters.eager == 0


@pytest.mark.parametrize("make", [
    lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9), lambda p, lr: torch.optim.Adam(p, lr=lr),
], ids=["SGD", "Adam"])  # fmt: skip
def test_a_model_and_an_optimizer_that_live_inside(make):
    """Meta-learning: a copy is fitted, and its gradients become those of the model."""

    def build():
        w = world(model=torch.nn.Linear(4, 1), lr=[0.05])
        w.optimizer = torch.optim.SGD(w.model.parameters(), lr=0.1)

        def step(x, y):
            fast = copy.deepcopy(w.model)
            optimizer = make(fast.parameters(), w.lr[0])
            for _ in range(3):
                optimizer.zero_grad()
                ((fast(x) - y) ** 2).mean().backward()
                optimizer.step()
            loss = ((fast(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            w.optimizer.zero_grad()
            for p, q in zip(w.model.parameters(), fast.parameters(), strict=True):
                p.grad = q.grad.clone()
            w.optimizer.step()
            return loss.detach()

        w.step = step
        return w

    twins = Twins(build)
    for k in range(6):
        twins.call(torch.full((3, 4), 0.1 * k), torch.ones(3, 1))
    assert twins.counters.replayed == 4
    twins.both(lambda w: w.lr.__setitem__(0, 0.2))
    for k in range(4):
        twins.call(torch.full((3, 4), 0.1 * k), torch.ones(3, 1))
    assert twins.counters.replayed == 6
    assert twins.counters.eager == 0


def test_an_optimizer_made_inside_that_is_kept():
    kept = []

    def step(x):
        w = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        (w * x).sum().backward()
        optimizer.step()
        kept[:] = [optimizer]
        return w.detach()

    f = torch.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(6):
            assert f(torch.full((3,), float(k))).tolist() == step(torch.full((3,), float(k))).tolist()
    assert f.counters.replayed == 0
    assert len(kept[0].param_groups[0]["params"]) == 1
