"""Compiled functions in cycles of references: freed like everything else."""

from __future__ import annotations

import gc
import weakref

import pytest
import tapegrad as torch

X = torch.ones(3, 2)


class Trainer:
    def __init__(self):
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.extra = {"factor": [2.0]}
        self.step = torch.compile(self.step)

    def step(self, x):
        self.optimizer.zero_grad()
        loss = (self.model(x) * self.extra["factor"][0]).sum()
        loss.backward()
        self.optimizer.step()
        return loss


def trainer():
    t = Trainer()
    return t, t.step, t.step, t.model


def forward():
    model = torch.nn.Linear(2, 1)
    model.forward = torch.compile(model.forward)
    return model, model, model.forward, model.weight


def in_a_list():
    held = [torch.ones(2)]
    f = torch.compile(lambda x: x * held[0])
    held.append(f)
    return held[0], f, f, f


def in_a_cell():
    model = torch.nn.Linear(2, 1)

    def outer():
        @torch.compile
        def f(x):
            return model(x) * len([f])

        return f

    f = outer()
    return model, f, f, f


def given_up():
    box = {}

    def f(x):
        return x * x.sum().item() + len(box)

    box["f"] = f = torch.compile(f)
    return f, f, f, f


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("calls", [0, 1, 2, 6])
@pytest.mark.parametrize("make", [trainer, forward, in_a_list, in_a_cell, given_up])
def test_a_cycle_is_freed(make, calls):
    gc.collect()
    gc.disable()
    try:
        owner, call, compiled, other = make()
        for _ in range(calls):
            call(X)
        assert compiled.counters.replayed >= (calls - 3 if make is not given_up else 0)
        watched = [weakref.ref(o) for o in (owner, compiled, other) if type(o) is not torch.Tensor]
        del owner, call, compiled, other
        gc.collect()
        assert [w() for w in watched] == [None] * len(watched)
    finally:
        gc.enable()
