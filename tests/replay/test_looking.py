"""`check=True`, `table` and `memory`: replays that are compared with eager code, and programs that are looked at."""

import dataclasses
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


@pytest.mark.parametrize("look", ["table", "memory"])
def test_a_learning_rate_that_was_changed_before_a_look_counts(look):
    w = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)

    @torch.compile
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    x = torch.ones(1)
    for _ in range(4):
        step(x)
    optimizer.param_groups[0]["lr"] = 100.0
    getattr(step, look)(x)
    step(x)
    assert w.item() == -104.0
    assert step.counters.recorded == 2


def test_a_table_of_a_run_that_fails_leaves_everything():
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    count = torch.zeros(1)

    @torch.compile
    def step(x, y):
        optimizer.zero_grad()
        count.add_(1)
        torch.nn.functional.cross_entropy(model(x) + torch.rand(3), y).backward()
        optimizer.step()

    x = torch.ones(2, 3)
    for _ in range(4):
        step(x, torch.tensor([0, 1]))
    state = torch.get_rng_state().tolist()
    with pytest.raises(IndexError):
        step.table(x, torch.tensor([0, 99]))
    assert count.item() == count._version == 4
    assert model.weight.grad is not None
    assert torch.get_rng_state().tolist() == state


def test_check_compares_objects_of_dataclasses_by_what_they_hold():
    @dataclasses.dataclass(repr=False)
    class Out:
        a: object
        b: object

    step = torch.compile(lambda x: (Out(x * 2, 1), Out(x, {"q": x.sum()})), check=True)
    kept = []
    for k in range(8):
        kept += [step(torch.ones(2, 3)), *[object() for _ in range(k % 3)]]
    assert step.counters.replayed == 6
