"""Code that cannot be replayed in one state runs eagerly there; what can be replayed in other states is."""

from __future__ import annotations

import contextlib
import random
import threading

import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _twins import Twins, batch, world


def trainer(evaluate, compiled_first="train"):
    """A maker of worlds whose one step trains or evaluates, by the model's mode."""

    def make():
        w = world(model=torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)))
        w.optimizer = torch.optim.Adam(w.model.parameters(), lr=0.01)
        w.seen = 0

        def step(x, y):
            if not w.model.training:
                return evaluate(w, x, y)
            w.optimizer.zero_grad()
            loss = F.cross_entropy(w.model(x), y)
            loss.backward()
            w.optimizer.step()
            return loss

        w.step = step
        w.model.train(compiled_first == "train")
        return w

    return make


def accuracy(w, x, y):
    with torch.no_grad():
        return (w.model(x).argmax(1) == y).float().mean().item()


def counted(w, x, y):
    w.seen += len(y)
    return w.model(x).argmax(1) == y


def in_turn(twins, rounds, modes):
    for i in range(rounds):
        for training in modes:
            twins.both(lambda w, on=training: w.model.train(on))
            twins.call(*batch(5, seed=i))


@pytest.mark.parametrize("first", ["train", "eval"])
def test_training_is_replayed_where_evaluation_cannot_be(first):
    t = Twins(trainer(accuracy, first))
    with pytest.warns(UserWarning, match="read by Python .*in accuracy") as caught:
        in_turn(t, 8, (True, True, False) if first == "train" else (False, True, True))
    assert len(caught) == 1
    assert t.counters.replayed >= 16 - 4, t.counters
    assert t.counters.eager >= 6
    before = t.counters.replayed
    in_turn(t, 1, (True, True, True))
    assert t.counters.replayed == before + 3


def test_a_number_that_evaluation_changes_keeps_training_eager_too():
    """It is reached from the function: nothing tells that training does not look at it."""
    t = Twins(trainer(counted))
    with pytest.warns(UserWarning, match="w.seen is changed inside .*in counted") as caught:
        in_turn(t, 24, (True, True, False))
    assert len(caught) == 1
    assert t.counters.recorded < 60, t.counters


def test_evaluation_is_replayed_after_training_that_cannot_be():
    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x):
            if self.training:
                self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            return x - self.mean

    m = torch.compile(Norm())

    def run():
        for k in range(300):
            x = torch.full((2, 3), float(k))
            m.train(k < 100)
            assert torch.equal(m(x), x - m.mean)

    with pytest.warns(UserWarning, match="mean is changed inside .*in forward") as caught:
        run()
    assert len(caught) == 1
    assert m.counters.recorded < 30, m.counters
    assert m.counters.replayed > 100, m.counters


def test_a_switch_that_reads_a_value():
    switch = {"verbose": True}

    def f(x):
        y = (x * 2).sum()
        if switch["verbose"]:
            print(y.item())
        return y

    g = torch.compile(f)
    x = torch.arange(4.0)
    with pytest.warns(UserWarning, match="read by Python"):
        g(x)
    switch["verbose"] = False
    for _ in range(5):
        assert float(g(x)) == 12.0
    assert g.counters.replayed == 3, g.counters


def test_states_that_cannot_be_seen_are_not_replayed():
    """A lock tells of no attribute whether it is taken; what it leads to is random in every other call."""

    def make():
        lock = threading.Lock()

        def f(x):
            if lock.acquire(blocking=False):
                return x * 2
            lock.release()
            return x * random.random()

        return f

    eager, compiled = make(), torch.compile(make())
    x = torch.arange(1.0, 5.0)
    answers = []
    for f in (eager, compiled):
        random.seed(0)
        with pytest.warns(UserWarning, match="drawn inside") if f is compiled else contextlib.nullcontext():
            answers.append([f(x).tolist() for _ in range(12)])
    assert answers[0] == answers[1]
    assert compiled.counters.replayed == 0


def test_fullgraph_refuses_each_call():
    log = []

    def f(x):
        log.append(len(log))
        return x * x.sum().item()

    g = torch.compile(f, fullgraph=True)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="cannot be replayed: the value of a tensor is read"):
            g(torch.ones(3))


def test_what_is_another_at_each_call_is_named():
    w = world(scale=1.0)
    f = torch.compile(lambda x: x * w.scale)

    def run():
        for i in range(80):
            w.scale = float(i)
            assert f(torch.ones(2)).tolist() == [i, i]

    with pytest.warns(UserWarning, match=r"guards keep failing \(w.scale changes\)") as caught:
        run()
    assert len(caught) == 1
    assert f.counters.replayed == 0
    assert f.counters.recorded < 70


def test_what_stops_changing_is_replayed_then():
    """A warm-up of a weight of the loss, say, longer than what is recorded at a stretch."""
    w = world(scale=0.0)
    f = torch.compile(lambda x: x * w.scale)

    def run():
        for i in range(600):
            w.scale = min(1.0, i / 150)
            assert f(torch.ones(2)).tolist() == (torch.ones(2) * w.scale).tolist()

    with pytest.warns(UserWarning, match=r"guards keep failing") as caught:
        run()
    assert len(caught) == 1
    assert f.counters.recorded < 100
    assert f.counters.replayed > 200


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_steps_are_replayed_once_a_hook_is_gone(kind):
    """As where gradients were looked at in the first steps only."""
    t = Twins(trainer(accuracy))
    t.both(lambda w: setattr(w, "handle", getattr(w.model[0].weight, kind)(lambda g: None)))
    with pytest.warns(UserWarning, match="hook"):
        in_turn(t, 6, (True,))
    assert t.counters.replayed == 0
    t.both(lambda w: w.handle.remove())
    in_turn(t, 6, (True,))
    assert t.counters.replayed >= 3


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_number_that_is_annealed_and_then_stays():
    w = torch.ones(2, requires_grad=True)

    def step(x, factor):
        w.grad = None
        (w * x * factor).sum().backward()

    f = torch.compile(step)
    for k in range(1200):
        factor = min(1.0, k / 300)
        f(torch.ones(2), factor)
        assert w.grad.tolist() == pytest.approx([factor] * 2)
    assert f.counters.replayed > 500, f.counters
    recorded = f.counters.recorded
    for k in range(100):  # others again
        f(torch.ones(2), 2.0 + k)
    f(torch.ones(2), 1.0)
    assert f.counters.recorded < recorded + 300, f.counters


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_numbers_that_never_stay_are_not_recorded_for_ever():
    f = torch.compile(lambda x, k: x * k)
    for k in range(600):
        assert f(torch.ones(1), float(k)).item() == k
    assert f.counters.recorded <= 256, f.counters
