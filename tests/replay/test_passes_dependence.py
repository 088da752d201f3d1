"""What must come before what, kept for a window of steps: programs of any length, and the same order of steps."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tapegrad as torch
from _passes import Hand
from hypothesis import given
from hypothesis import strategies as st
from tapegrad.replay.passes import dependence
from tapegrad.replay.passes import fuse as fuse_pass
from tapegrad.replay.passes.dependence import Units
from tapegrad.replay.passes.order import with_steps


def chain(length: int) -> Hand:
    h = Hand()
    last = h.outside()
    for _ in range(length):
        out = h.inside()
        h.forward("tanh", out, last)
        last = out
    return h


def test_what_is_kept_of_a_step_does_not_grow_with_the_program() -> None:
    units = Units(chain(3 * dependence.WINDOW).program)
    assert max(m.bit_length() for m in units.ancestors + units.descendants) <= dependence.WINDOW
    assert all(len(before) <= 1 for before in units.before)


def test_units_are_joined_within_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependence, "WINDOW", 4)
    units = Units(chain(10).program)
    assert units.join(0, 1)
    assert units.join(0, 2)
    assert not units.join(3, 4)  # of two windows
    assert units.join(5, 6)
    assert not units.join(4, 7)  # the two others lie between
    assert units.order() == [[0, 1, 2], [3], [4], [5, 6], [7], [8], [9]]


@given(st.integers(0, 10**6), st.sampled_from([3, 8, 2048]))
def test_joined_units_keep_every_order(seed: int, window: int) -> None:
    """Steps that read and write few buffers, in pairs that are joined at random."""
    choose = random.Random(seed)
    h = Hand()
    buffers = [h.outside()] + [h.inside() for _ in range(5)]
    for _ in range(20):
        h.forward("add", choose.choice(buffers), choose.choice(buffers), choose.choice(buffers))
    before, dependence.WINDOW = dependence.WINDOW, window
    try:
        units = Units(h.program)
        for _ in range(30):
            a, b = (units.unit[choose.randrange(20)] for _ in range(2))
            if a != b:
                units.join(a, b)
        order = units.order()
    finally:
        dependence.WINDOW = before
    assert sorted(i for unit in order for i in unit) == list(range(20))
    place = {i: k for k, unit in enumerate(order) for i in unit}
    reads = [{o.buffer for o in step.read_operands()} for step in h.program.steps]
    writes = [{o.buffer for o in step.written_operands()} for step in h.program.steps]
    for i in range(20):
        for j in range(i):
            if writes[i] & (reads[j] | writes[j]) or writes[j] & reads[i]:
                assert place[j] <= place[i]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=30), st.lists(st.integers(0, 31), max_size=8))
def test_gradients_are_told_at_the_places_that_steps_have_now(steps: list[Any], events: list[int]) -> None:
    program = chain(1).program
    program.effects = replace(program.effects, events=[(at, 0, False) for at in events])
    given_steps = [(SimpleNamespace(), old if kept else None) for kept, old in steps]
    after = with_steps(program, given_steps)  # type: ignore[arg-type]
    for at, (found, _, _) in zip(events, after.effects.events, strict=True):
        assert found == max((k + 1 for k, (kept, old) in enumerate(steps) if kept and old < at), default=0)


def test_a_long_step_in_short_windows_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependence, "WINDOW", 16)
    monkeypatch.setattr(fuse_pass, "MIN_GAIN", float("-inf"))

    def trained(compiled: bool) -> list[Any]:
        torch.manual_seed(0)
        cell, inner = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        optimizer = torch.optim.SGD([*cell.parameters(), *inner.parameters()], lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            h = x[0]
            for part in x:
                h = torch.tanh(cell(part) * 1.5 + inner(h) * 0.5 - 0.1)
            loss = (h.square() * 2 + 1).mean()
            loss.backward()
            optimizer.step()
            return loss

        f = torch.compile(step, fullgraph=True) if compiled else step
        losses = [f(torch.tensor(np.random.default_rng(i).random((12, 3, 4), "f4"))).item() for i in range(6)]
        if compiled:
            assert f.counters.replayed == 4
        return [losses, [p.tolist() for p in cell.parameters()]]

    assert trained(True) == trained(False)
