"""Arguments and models that come and go: a compiled function holds few that nobody else has."""

import gc
import weakref

import pytest
import tapegrad as torch
from tapegrad.replay import held


def test_models_that_come_and_go_are_let_go():
    @torch.compile
    def step(model, optimizer, x):
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    seen = []
    most = 0
    for _ in range(150):
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        seen.append(weakref.ref(model))
        for _ in range(3):
            step(model, optimizer, torch.ones(1, 3))
        if len(seen) % 10 == 0:
            gc.collect()
            most = max(most, sum(r() is not None for r in seen))
    assert most < 40
    assert step.counters.replayed >= 100


class Trainer:
    def __init__(self, inputs=1000, outputs=1500):
        self.model = torch.nn.Linear(inputs, outputs)
        self.optimizer = torch.optim.Adam(self.model.parameters())

    @torch.compile
    def step(self, x):
        self.optimizer.zero_grad()
        loss = self.model(x).pow(2).mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


@torch.compile
def step_of_trainer(x):
    trainer.optimizer.zero_grad()
    loss = trainer.model(x).pow(2).mean()
    loss.backward()
    trainer.optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("in_global", [False, True], ids=["argument", "global"])
def test_large_models_that_come_and_go_are_let_go(in_global):
    """24 MB each, with gradients and the optimizer's state."""
    global trainer
    seen = []
    most = replayed = 0
    for _ in range(8):
        trainer = Trainer()
        seen.append(weakref.ref(trainer.model))
        step = step_of_trainer if in_global else trainer.step
        before = (step_of_trainer if in_global else Trainer.step).counters.replayed
        for _ in range(5):
            step(torch.ones(1, 1000))
        replayed += (step_of_trainer if in_global else Trainer.step).counters.replayed - before
        gc.collect()
        most = max(most, sum(r() is not None for r in seen))
    assert replayed == 16
    assert most <= 3


@pytest.mark.parametrize("in_global", [False, True], ids=["argument", "global"])
def test_large_models_that_are_called_once_are_let_go(in_global):
    """12 MB each."""
    global model

    @torch.compile
    def evaluate(m, x):
        return (model if m is None else m)(x).sum()

    seen = []
    most = 0
    for _ in range(14):
        model = torch.nn.Linear(1500, 2000)
        seen.append(weakref.ref(model))
        with torch.no_grad():
            evaluate(None if in_global else model, torch.ones(1, 1500))
        gc.collect()
        most = max(most, sum(r() is not None for r in seen))
    assert most <= 7


def test_large_models_in_turn_keep_their_programs(monkeypatch):
    monkeypatch.setattr(held, "MUCH", 1 << 10)
    trainers = [Trainer(5, 7) for _ in range(40)]
    for _ in range(12):
        before = Trainer.step.counters.recorded
        for trainer in trainers:
            trainer.step(torch.ones(1, 5))
    assert Trainer.step.counters.recorded == before
