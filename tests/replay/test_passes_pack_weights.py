"""Weights that several products read are packed once per state, and no bit changes."""

from __future__ import annotations

import importlib
from collections import Counter
from types import SimpleNamespace as namespace
from typing import Any

import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _twins import Twins
from tapegrad.native.blas import panels_pay

pack_weights = importlib.import_module("tapegrad.replay.passes.pack_weights")
pytestmark = pytest.mark.skipif(not panels_pay(), reason="no kernel of our own for products on this CPU")

SIZES = [(16, 64, 64), (17, 40, 37), (16, 33, 32), (70, 100, 300), (130, 10, 520), (300, 96, 96), (600, 50, 48)]


@pytest.fixture(autouse=True)
def for_any_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_weights, "LEAST", 1)


def labels(twins: Twins) -> Counter[str]:
    entry = next(iter(twins.functions[1]._signatures.values())).entries[0]
    return Counter(step.label for step in entry.program.steps)


def run(make: Any, *args: Any, calls: int = 5) -> Counter[str]:
    """Eager and compiled calls leave the same bits; what steps the program has."""
    twins = Twins(make, fullgraph=True)
    before = torch.get_num_threads()
    try:
        for i in range(calls):
            torch.set_num_threads(1 + i % 2)
            twins.call(*args)
    finally:
        torch.set_num_threads(before)
    assert twins.counters.replayed >= 2
    return labels(twins)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(size: tuple[int, int, int], dtype: torch.dtype, bias: bool) -> None:
    m, n, k = size

    def make() -> Any:
        layer = torch.nn.Linear(k, n, bias=bias, dtype=dtype)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            total = sum(layer(x[t]).square().mean() for t in range(3))
            total.backward()
            optimizer.step()
            return total

        return namespace(layer=layer, optimizer=optimizer, step=step)

    found = run(make, torch.randn(3, m, k, dtype=dtype))
    assert found["pack"] == 1
    assert found["linear.packed"] == 3
    assert not found["linear"]


def test_negative_zeros_and_what_is_not_finite() -> None:
    def make() -> Any:
        w, b = torch.zeros(32, 32), -torch.zeros(32)
        return namespace(step=lambda x: (F.linear(x[0], w, b), F.linear(x[1], w), x[2] @ w.t()))

    x = torch.randn(3, 32, 32)
    x[0, 3, 4], x[1, 5, 6], x[2, 7, 8] = float("inf"), float("nan"), -float("inf")
    assert run(make, -x)["pack"] == 1


def test_a_weight_that_changes_is_packed_anew() -> None:
    def make() -> Any:
        w = torch.randn(64, 64)

        def step(x: Any) -> Any:
            a = F.linear(F.linear(x, w), w)
            w.mul_(0.5)
            b = F.linear(F.linear(a, w), w)
            w.add_(0.25)
            return a, b, F.linear(b, w)

        return namespace(w=w, step=step)

    found = run(make, torch.randn(16, 64))
    assert found["pack"] == 2
    assert found["linear.packed"] == 4
    assert found["linear"] == 1


def test_transposed_views_and_parts_of_a_weight() -> None:
    def make() -> Any:
        w = torch.randn(128, 80)

        def step(x: Any) -> Any:
            h = x @ w[64:].t()
            for _ in range(2):
                h = torch.tanh(h[:, :40]) @ w[:64, :40].t()
            return h, x @ w[64:].t()

        return namespace(step=step)

    found = run(make, torch.randn(20, 80))
    assert found["pack"] == 2
    assert found["mm.packed"] == 4
    assert not found["mm"]


def test_products_that_blas_takes_stay() -> None:
    def make() -> Any:
        w = torch.randn(64, 64)
        return namespace(step=lambda x: F.linear(torch.tanh(F.linear(x, w)), w))

    found = run(make, torch.randn(4, 64))
    assert found["linear"] == 2
    assert not found["pack"]


def test_a_recurrent_network() -> None:
    def make() -> Any:
        inputs, hidden, out = torch.nn.Linear(32, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 1)
        parameters = [*inputs.parameters(), *hidden.parameters(), *out.parameters()]
        optimizer = torch.optim.Adam(parameters)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            h = torch.zeros(16, 64)
            for t in range(8):
                h = torch.tanh(inputs(x[t]) + hidden(h))
            loss = ((out(h) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return namespace(inputs=inputs, hidden=hidden, out=out, optimizer=optimizer, step=step)

    found = run(make, torch.randn(8, 16, 32), torch.randn(16, 1), calls=6)
    assert found["pack"] == 2
    assert found["linear.packed"] == 16


@pytest.mark.parametrize(("shape", "uses", "packed"), [((64, 64), 4, 0), ((64, 64), 5, 1), ((600, 600), 3, 0)])
def test_only_where_it_pays(shape: tuple[int, int], uses: int, packed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def make() -> Any:
        w = torch.randn(*shape)
        return namespace(step=lambda x: [F.linear(x + i, w) for i in range(uses)])

    assert run(make, torch.randn(16, shape[1]))["pack"] == packed
