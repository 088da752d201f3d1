"""Attributes whose names code only calls: what cannot be called is not what it means, and may change."""

from __future__ import annotations

import operator

import pytest
import tapegrad as torch
from _twins import Twins, batch, world


class Trainer:
    def __init__(self, **attributes):
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.__dict__.update(attributes)

    def update(self, x):
        self.optimizer.zero_grad()
        loss = self.model(x).pow(2).mean()
        loss.backward()
        self.optimizer.step()
        return loss


@pytest.mark.parametrize(
    "following", [lambda n: (n or 0) + 1, lambda n: torch.ones(2), lambda n: [n], lambda n: str(n), lambda n: object()]
)
def test_a_counter_with_the_name_of_a_method(following):
    """`optimizer.step()` is not the trainer's `step`."""
    t = Trainer(step=None, backward=0)
    f = torch.compile(t.update)
    for _ in range(6):
        f(torch.ones(4, 3))
        t.step = following(t.step)
        t.backward += 1
    assert f.counters.replayed == 4


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(9, 3)

    def forward(self, x, state):
        return torch.tanh(self.hidden(torch.cat([x, state], 1)))


def test_a_state_with_the_name_of_a_layer():
    def make():
        w = world(cell=Cell(), hidden=torch.zeros(5, 3))
        w.step = lambda x, state: w.cell(x, state).detach()
        return w

    t = Twins(make)
    for i in range(8):
        x, _ = batch(5, seed=i)
        for w, step in zip((t.eager, t.compiled), t.functions, strict=True):
            w.hidden = step(x, w.hidden)
        assert torch.equal(t.eager.hidden, t.compiled.hidden)
    assert t.counters.replayed == 6


class Scaled:
    def __init__(self):
        self.scale = 2.0

    def by_call(self, x):
        return x * self.scale()


def times(n):
    return lambda: n


def test_what_can_be_called_is_guarded():
    w = Scaled()
    f = torch.compile(w.by_call)
    x = torch.ones(2)
    for n in (3, 3, 3, 4, 4, 4):
        w.scale = times(n) if w.scale == 2.0 or w.scale() != n else w.scale
        assert f(x).tolist() == [n, n]
    assert f.counters.replayed == 2
    w.scale = 5
    with pytest.raises(TypeError, match="not callable"):
        f(x)
    del w.scale
    with pytest.raises(AttributeError):
        f(x)


def one_that_tries(w, x):
    try:
        return x * w.scale()
    except TypeError:
        return x
    except:  # noqa: E722
        return -x


def test_where_a_failed_call_is_caught():
    """Numbers are alike in that they cannot be called; a function can, and nothing cannot even be asked for."""
    w = Scaled()
    f = torch.compile(lambda x: one_that_tries(w, x))
    x = torch.ones(2)
    for n in (1.0, 2.0, 3, None, "4"):
        w.scale = n
        assert f(x).tolist() == [1, 1]
    assert f.counters.replayed == 3
    w.scale = times(6)
    assert f(x).tolist() == [6, 6]
    del w.scale
    assert f(x).tolist() == [-1, -1]
    w.scale = 7
    assert f(x).tolist() == [1, 1]


def read(w, x):
    w.optimizer.scale()
    return x * w.scale


def formatted(w, x):
    w.optimizer.scale()
    return x * float(f"{w.scale}")


TEXT = "{0.scale}"


def formatted_by_name(w, x):
    w.optimizer.scale()
    return x * float(TEXT.format(w))


def asked_for(w, x):
    w.optimizer.scale()
    return x * getattr(w, "sca" + "le")


SCALE = operator.attrgetter("scale")


def by_getter(w, x):
    w.optimizer.scale()
    return x * SCALE(w)


def in_a_function_inside(w, x):
    w.optimizer.scale()
    return x * sum((lambda: w.scale * k)() for k in (1.0, 2.0))


def given_to_a_call(w, x):
    return x * w.optimizer.scale(*[w.scale])


class Optimizer:
    def scale(self, by=1.0):
        return by


@pytest.mark.parametrize(
    "fn", [read, formatted, formatted_by_name, asked_for, by_getter, in_a_function_inside, given_to_a_call]
)
def test_what_is_also_read_is_guarded(fn):
    w = world(scale=2.0, optimizer=Optimizer())
    f = torch.compile(lambda x: fn(w, x))
    x = torch.ones(2)
    for n in (2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0):
        w.scale = n
        assert f(x).tolist() == fn(w, x).tolist()
    assert f.counters.replayed >= 3


def test_no_attribute_is_not_none():
    w = world(scale=None)

    def one(x):
        try:
            return x if w.scale is None else x * w.scale
        except:  # noqa: E722
            return -x

    f = torch.compile(one)
    x = torch.ones(2)
    for _ in range(3):
        assert f(x).tolist() == [1, 1]
    del w.scale
    assert f(x).tolist() == [-1, -1]
    w.scale = None
    assert f(x).tolist() == [1, 1]
