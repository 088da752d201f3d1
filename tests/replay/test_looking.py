"""`check=True`, `table` and `memory`: replays that are compared with eager code, and programs that are looked at."""

import os
from types import SimpleNamespace

import pytest
import tapegrad as torch
from _twins import Twins


def test_checked_replays_are_those_of_eager_code():
    def make():
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Dropout(0.3), torch.nn.Linear(5, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return SimpleNamespace(step=step, model=model, optimizer=optimizer)

    t = Twins(make, check=True)
    for i in range(8):
        t.call(torch.full((4, 6), float(i)))
    assert t.counters.replayed >= 5
    assert t.counters.eager == 0


def test_a_difference_raises():
    run = torch.compile(lambda x: x * float(os.environ["TAPEGRAD_TEST_SCALE"]), check=True)
    os.environ["TAPEGRAD_TEST_SCALE"] = "2"
    try:
        for _ in range(4):
            run(torch.ones(3))
        assert run.counters.replayed >= 2
        os.environ["TAPEGRAD_TEST_SCALE"] = "3"
        with pytest.raises(RuntimeError, match="the result is not what eager code gives"):
            run(torch.ones(3))
    finally:
        del os.environ["TAPEGRAD_TEST_SCALE"]


def test_gradients_of_arguments_are_checked():
    run = torch.compile(lambda x: (x * 2).sum().backward(), check=True)
    for i in range(5):
        x = torch.full((3,), float(i), requires_grad=True)
        run(x)
        assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert run.counters.replayed == 3


def test_a_look_puts_everything_back():
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9)

    def step(x):
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    run = torch.compile(step)
    x = torch.full((3,), 2.0, requires_grad=True)
    for _ in range(6):
        run(x)
    assert run.counters.replayed >= 2

    def now():
        moment = optimizer.state[weight]["momentum_buffer"]
        return [t.tolist() for t in (weight, weight.grad, x, x.grad, moment)], weight._version

    before = now()
    assert "update_sgd" in str(run.table(x, runs=3))
    assert run.memory(x).peak > 0
    assert now() == before
