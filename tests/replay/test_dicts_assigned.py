"""Objects whose `__dict__` is another one than when the step was recorded."""

import copy

import pytest
import tapegrad as torch


class Settings:
    scale = 1.0

    def __init__(self):
        self.scale = 2.0


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = 2.0

    def forward(self, x):
        return x * self.scale


def other(o, k):
    entries = copy.copy(o.__dict__)
    entries["scale"] = k
    o.__dict__ = entries


@pytest.mark.parametrize("kind", [Settings, Net])
def test_an_object_gets_another_dict(kind):
    o = kind()
    f = torch.compile((lambda x: o(x)) if kind is Net else (lambda x: x * o.scale))
    for k in (2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0):
        other(o, k)
        assert f(torch.ones(2)).tolist() == [k, k]
        o.scale = k
        assert f(torch.ones(2)).tolist() == [k, k]


def test_an_optimizer_gets_another_dict():
    found = []
    for compiled in (False, True):
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.5, momentum=0.5)

        def step(x, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()

        f = torch.compile(step) if compiled else step
        seen = []
        for i in range(10):
            if i == 5:
                optimizer.__dict__ = copy.copy(torch.optim.SGD([w], lr=0.25).__dict__)
            f(torch.ones(2))
            seen.append(w.tolist())
        found.append(seen)
    assert f.counters.replayed >= 5
    assert found[0] == found[1]
