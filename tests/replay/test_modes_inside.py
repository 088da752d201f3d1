"""Functions that set the training mode of modules themselves, as steps and evaluations often do."""

from __future__ import annotations

import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _twins import Twins, batch, world


class Frozen(torch.nn.Sequential):
    """Its first part is in evaluation mode always."""

    def train(self, mode=True):
        super().train(mode)
        self[0].eval()
        return self


def maker(step, kind=torch.nn.Sequential):
    def make():
        w = world(
            model=kind(
                torch.nn.Dropout(0.5), torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Tanh(),
                torch.nn.Linear(8, 3),
            )
        )  # fmt: skip
        w.optimizer = torch.optim.SGD(w.model.parameters(), lr=0.1)
        w.step = lambda x, y: step(w, x, y)
        return w

    return make


def train_or_evaluate(w, x, y):
    """Evaluation where there is no batch of labels to learn from."""
    if y is None:
        w.model.eval()
        with torch.no_grad():
            return w.model(x).argmax(1)
    w.model.train()
    w.optimizer.zero_grad()
    loss = F.cross_entropy(w.model(x), y)
    loss.backward()
    w.optimizer.step()
    return loss


@pytest.mark.parametrize("kind", [torch.nn.Sequential, Frozen])
@pytest.mark.parametrize("check", [False, True])
def test_training_and_evaluation_in_turn(kind, check):
    t = Twins(maker(train_or_evaluate, kind), check=check)
    for i in range(16):
        x, y = batch(5, seed=i)
        t.call(x, y)
        if i % 3:
            t.call(x, None)
        if i % 5 == 4:
            t.both(lambda w: w.model.train())
    assert t.counters.eager == 0
    assert t.counters.replayed >= 14, t.counters
    assert t.compiled.model[0].training == (kind is not Frozen)


def there_and_back(w, x, y):
    out = w.model(x)
    w.model.eval()
    with torch.no_grad():
        seen = w.model(x)
    w.model.train()
    F.cross_entropy(out, y).backward()
    return out, seen


def test_a_look_in_between():
    t = Twins(maker(there_and_back))
    for i in range(8):
        if i == 5:
            t.both(lambda w: w.model[0].eval())
        t.call(*batch(5, seed=i))
    assert t.counters.replayed == 4, t.counters  # two states, each recorded twice


def failing(w, x, y):
    w.model[0].eval()
    loss = F.cross_entropy(w.model(x), y)
    w.model[2].eval()
    later = F.cross_entropy(w.model(x), y - 1)
    w.model.train()
    return loss + later


@pytest.mark.parametrize("wrong", [3, 0, 1])
def test_a_step_that_fails_has_set_what_came_before(wrong):
    """Labels from 1 to 2 are right for both losses: 3 makes the first fail, 0 the second."""
    t = Twins(maker(failing))
    x, _ = batch(5, seed=0)
    good = torch.tensor([1, 2, 1, 2, 1])
    for _ in range(4):
        t.call(x, good)
    replayed = t.counters.replayed
    assert replayed >= 1
    bad = good.clone()
    bad[2] = wrong
    t.call(x, bad)
    assert (t.error is not None) == (wrong != 1)
    for _ in range(3):
        t.call(x, good)
    assert t.counters.replayed > replayed


def by_hand(w, x, y):
    w.model.train()
    w.model[0].training = False
    return w.model(x)


def test_modes_that_are_set_by_hand_are_refused():
    t = Twins(maker(by_hand))

    def run():
        for i in range(8):
            t.both(lambda w: w.model.train())
            t.call(*batch(5, seed=i))

    with pytest.warns(UserWarning, match="training is changed inside"):
        run()
    assert t.counters.replayed == 0


class Counting(torch.nn.Dropout):
    """Setting an attribute does something beside."""

    def __setattr__(self, name, value):
        if name == "training":
            CHANGES.append(value)
        super().__setattr__(name, value)


CHANGES: list[bool] = []


def test_a_module_with_its_own_setattr_is_not_replayed():
    m = Counting(0.5)

    def step(x):
        m.train()
        return m(x)

    f = torch.compile(step)

    def run():
        for _ in range(8):
            m.eval()
            before = len(CHANGES)
            f(torch.ones(3))
            assert CHANGES[before:] == [True]

    with pytest.warns(UserWarning, match="changed inside"):
        run()
    assert f.counters.replayed == 0


def test_a_module_made_inside():
    def step(x):
        m = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Tanh())
        m.eval()
        return m(x)

    f = torch.compile(step, fullgraph=True)
    for _ in range(4):
        assert torch.equal(f(torch.ones(3)), torch.ones(3).tanh())
    assert f.counters.replayed == 2


def test_looking_at_a_program_leaves_the_modes():
    m = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Tanh())

    def step(x):
        m.train()
        return m(x)

    f = torch.compile(step)
    for _ in range(3):
        m.eval()
        f(torch.ones(3))
    m.eval()
    f.table(torch.ones(3))
    f.memory(torch.ones(3))
    assert not m.training
    assert not m[0].training
    f(torch.ones(3))
    assert f.counters.replayed == 2
    assert m[0].training


def test_a_compiled_module_that_is_switched_inside():
    m = torch.compile(torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Tanh()))

    def evaluate(x):
        m.eval()
        return m(x)

    f = torch.compile(evaluate)
    for _ in range(6):
        m.train()
        assert torch.equal(f(torch.ones(3)), torch.ones(3).tanh())
        assert not m.training
        assert not m._orig_mod[0].training
    assert f.counters.replayed == 4, f.counters
