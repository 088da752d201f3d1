"""Steps whose methods call the ones that they override."""

import tapegrad as torch
from _twins import Twins


class Trainer:
    def __init__(self):
        self.model = torch.nn.Linear(4, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.losses = []
        self.scale = 1.0

    def loss(self, x):
        return self.model(x).square().mean() * self.scale

    def step(self, x):
        self.optimizer.zero_grad()
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class DoublingTrainer(Trainer):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def loss(self, x):
        return super().loss(x) * 2


def test_a_method_that_calls_the_one_it_overrides_does_not_read_what_constructors_set():
    t = Twins(DoublingTrainer)
    for i in range(12):
        loss = t.call(torch.ones(3, 4))
        for trainer in (t.eager, t.compiled):
            trainer.losses.append(loss.item())
            trainer.seen += 1
            trainer.scale = 1.0 if i < 6 else 0.5
    assert t.counters.replayed >= 8


def test_the_method_that_is_overridden_changes(monkeypatch):
    t = Twins(DoublingTrainer)
    for i in range(9):
        if i == 5:
            monkeypatch.setattr(Trainer, "loss", lambda self, x: self.model(x).sum())
        t.call(torch.ones(3, 4))
    assert t.counters.replayed >= 4
