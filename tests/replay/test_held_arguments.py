"""Arguments that come and go: a compiled function holds few that nobody else has."""

import gc
import weakref

import tapegrad as torch


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
