"""Optimizer updates behind their gradients: once each, in time, and never before something that can fail."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tapegrad as torch
from _passes import F, check, entry_of
from _steps import OPTIMIZERS, training
from tapegrad.replay import passes
from tapegrad.replay.passes.update_early import split_updates
from tapegrad.replay.planning import plan_memory


@pytest.fixture
def eager_updates(monkeypatch: Any) -> None:
    """Every parameter is large enough."""
    monkeypatch.setattr(passes, "PASSES", (functools.partial(split_updates, least=1),))


def updates(program: Any) -> list[int]:
    return [i for i, s in enumerate(program.steps) if s.update is not None]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_spread_and_do_the_same(optimizer: str, eager_updates: None) -> None:
    program = check(training(optimizer=optimizer, zero="last")).program
    at = updates(program)
    assert len(at) > 3
    assert at[0] < len(program.steps) - len(at)


@pytest.mark.usefixtures("eager_updates")
def test_step_counts_advance_once() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    optimizer = torch.optim.Adam(model.parameters())

    @torch.compile(fullgraph=True)
    def step(x: Any, t: Any) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()

    for _ in range(9):
        step(torch.ones(2, 8), torch.tensor([1, 2]))
    assert step.counters.replayed >= 5
    assert {optimizer.state[p]["step"].item() for p in model.parameters()} == {9.0}


@pytest.mark.usefixtures("eager_updates")
def test_a_schedule_reaches_every_part() -> None:
    def build(compiled: bool) -> list[Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

        def step(x: Any, t: Any) -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(x), t).backward()
            optimizer.step()

        f = torch.compile(step, fullgraph=True) if compiled else step
        for k in range(8):
            f(torch.full((2, 8), k / 8), torch.tensor([1, 2]))
            schedule.step()
        assert not compiled or f.counters.replayed >= 4
        return [p.detach().numpy().tobytes() for p in model.parameters()]

    assert build(True) == build(False)


@pytest.mark.usefixtures("eager_updates")
def test_nothing_is_updated_before_a_step_that_can_fail() -> None:
    """An index error after backward, before step(): eager code has not touched the parameters then."""
    w = torch.nn.Parameter(torch.ones(6))
    optimizer = torch.optim.SGD([w], lr=0.1)
    table = torch.arange(4.0)

    def step(x: Any, places: Any) -> Any:
        optimizer.zero_grad()
        (w * x).sum().backward()
        picked = table[places]
        optimizer.step()
        return picked

    f = torch.compile(step, fullgraph=True)
    for _ in range(4):
        f(torch.ones(6), torch.tensor([0]))
    before = w.detach().numpy().copy()
    with pytest.raises(IndexError):
        f(torch.ones(6), torch.tensor([8]))
    assert f.counters.recorded == 2
    assert np.array_equal(w.detach().numpy(), before)


def test_a_parameter_that_is_read_later_waits(eager_updates: None) -> None:
    def norm_after(model: Any, x: Any) -> Any:
        return model[5](torch.relu(model[0](x))) + model[0].weight.square().mean()

    check(training(norm_after, zero="last", optimizer="momentum"))


def test_memory_of_gradients_is_shared_once_they_are_used_up(monkeypatch: Any) -> None:
    def plan(*changes: Any) -> int:
        monkeypatch.setattr(passes, "PASSES", changes)
        torch.manual_seed(0)
        model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(6)])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any) -> None:
            model(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        f = torch.compile(step, fullgraph=True)
        for _ in range(4):
            f(torch.ones(2, 64))
        return plan_memory(entry_of(f).program).arena

    assert plan(functools.partial(split_updates, least=1)) < 0.5 * plan()


@pytest.mark.usefixtures("eager_updates")
def test_a_parameter_that_is_looked_at_before_the_step_has_not_changed() -> None:
    def run(compiled: bool) -> list[Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

        def step(x: Any, t: Any) -> Any:
            optimizer.zero_grad()
            F.cross_entropy(model(x), t).backward()
            norm = model[2].weight.detach().square().sum()
            optimizer.step()
            return norm

        f = torch.compile(step, fullgraph=True) if compiled else step
        return [f(torch.full((2, 8), k / 8), torch.tensor([1, 2])).item() for k in range(6)]

    assert run(True) == run(False)


@pytest.mark.parametrize(("zero", "batch", "splits"), [("last", 2, True), ("last", 2000, False), ("first", 2, False)])
def test_updates_are_split_only_where_memory_is_saved(zero: str, batch: int, splits: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(*[torch.nn.Linear(128, 128) for _ in range(4)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any) -> None:
        if zero == "first":
            optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        if zero == "last":
            optimizer.zero_grad()

    f = torch.compile(step, fullgraph=True)
    for _ in range(4):
        f(torch.ones(batch, 128))
    assert (len(updates(entry_of(f).program)) > 1) == splits
