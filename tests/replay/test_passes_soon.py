"""Steps that move up behind what they read: the order changes, the bits do not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace as namespace
from typing import Any

import pytest
import tapegrad as torch
from _twins import Twins
from tapegrad.replay import passes
from tapegrad.replay.passes.soon import read_soon


@pytest.fixture
def whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    changed = tuple(partial(p, least=0, between=0) if p is read_soon else p for p in passes.PASSES)
    monkeypatch.setattr(passes, "PASSES", changed)
    yield


def labels(twins: Twins) -> list[str]:
    entry = next(iter(twins.functions[1]._signatures.values())).entries[0]
    return [step.label for step in entry.program.steps]


def classifier(batch: int, hidden: int, name: str) -> Any:
    def make() -> Any:
        model = torch.nn.Sequential(
            torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU(),
            torch.nn.Linear(hidden, 10),
        )  # fmt: skip
        optimizer: Any = torch.optim.Adam(model.parameters())
        if name == "sgd":
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return namespace(model=model, optimizer=optimizer, step=step)

    return make


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_activations_follow_the_product_that_makes_their_gradient(name: str) -> None:
    twins = Twins(classifier(128, 512, name), fullgraph=True)
    for _ in range(4):
        twins.call(torch.randn(128, 64), torch.randint(0, 10, (128,)))
    steps = labels(twins)
    places = [i for i, s in enumerate(steps) if s == "relu.dx"]
    assert len(places) == 2
    for i in places:
        assert steps[i - 1] == "linear.dx" and steps[i + 1] == "linear.db"


def test_small_programs_stay_as_they_are() -> None:
    twins = Twins(classifier(32, 32, "sgd"), fullgraph=True)
    for _ in range(4):
        twins.call(torch.randn(32, 64), torch.randint(0, 10, (32,)))
    steps = labels(twins)
    assert all(steps[i - 1] == "linear.db" for i, s in enumerate(steps) if s == "relu.dx")


@pytest.mark.usefixtures("whatever_the_size")
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_everything_that_can_move(name: str) -> None:
    twins = Twins(classifier(8, 12, name), fullgraph=True)
    for _ in range(5):
        twins.call(torch.randn(8, 64), torch.randint(0, 10, (8,)))
    steps = labels(twins)
    assert all(steps[i - 1] == "linear.dx" for i, s in enumerate(steps) if s == "relu.dx")


@pytest.mark.usefixtures("whatever_the_size")
def test_nothing_overtakes_what_writes_or_reads_its_memory() -> None:
    def make() -> Any:
        w, state = torch.randn(6, 6), torch.zeros(6)

        def step(x: Any) -> Any:
            a = x @ w
            b = x.sum(0)
            state.add_(b)
            c = torch.relu(a)  # may go up to a
            w.mul_(0.9)
            d = a * state  # not past the change of state
            state.copy_(d[0])
            e = torch.tanh(w) + torch.rand(6, 6)
            x.add_(c)
            return a, c, d, e, torch.relu(x)

        return namespace(w=w, state=state, step=step)

    twins = Twins(make, fullgraph=True)
    for _ in range(5):
        twins.call(torch.randn(6, 6))
    assert twins.counters.replayed >= 2


@pytest.mark.usefixtures("whatever_the_size")
def test_an_error_finds_the_gradients_as_eager_code_leaves_them() -> None:
    def make() -> Any:
        w = torch.randn(5, 5, requires_grad=True)
        def step(x: Any, i: Any) -> Any:
            w.grad = None
            torch.relu(x @ w).sum().backward()
            loss = torch.nn.functional.cross_entropy(x @ w.detach(), i)  # may fail
            return loss, torch.relu(x @ w.detach())

        return namespace(w=w, step=step)

    twins = Twins(make, fullgraph=True)
    good, bad = torch.tensor([0, 3, 4]), torch.tensor([0, 5, 1])
    for i in (good, good, good, bad, good):
        twins.call(torch.randn(3, 5), i)
