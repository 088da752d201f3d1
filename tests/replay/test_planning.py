"""The plan of memory: nothing alive together overlaps, and what it tells is what a run takes."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import tapegrad as torch
from _passes import F, Hand, entry_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tapegrad.replay.passes import run_passes
from tapegrad.replay.passes.recompute import recompute
from tapegrad.replay.planning import ALIGN, Block, pack, plan_memory
from tapegrad.tape import _storage


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8), st.integers(0, 1000)), max_size=30))
def test_blocks_that_are_alive_together_do_not_overlap(wanted: list[tuple[int, int, int]]) -> None:
    blocks = [Block(k, first, first + n, size) for k, (first, n, size) in enumerate(wanted)]
    offsets, total = pack(blocks)
    for b in blocks:
        assert offsets[b.key] % ALIGN == 0
        assert offsets[b.key] + b.nbytes <= total
        for c in blocks[: b.key]:
            together = b.first <= c.last and c.first <= b.last
            apart = offsets[b.key] + b.nbytes <= offsets[c.key] or offsets[c.key] + c.nbytes <= offsets[b.key]
            assert apart or not together or not b.nbytes or not c.nbytes


def test_a_chain_needs_two_places() -> None:
    h = Hand(64)
    x, y = h.outside(), h.outside()
    inside = [h.inside() for _ in range(9)]
    for a, b in zip([x, *inside], [*inside, y], strict=True):
        h.forward("tanh", b, a)
    plan = plan_memory(h.program)
    assert plan.unshared == 9 * 256
    assert plan.arena == 2 * 256
    assert plan.outside == 2 * 256


def test_a_kept_buffer_is_not_shared_afterwards() -> None:
    h = Hand(64)
    x, y = h.outside(), h.outside()
    a, b = h.inside(), h.inside()
    h.forward("tanh", a, x)
    h.forward("tanh", y, a)
    h.forward("exp", b, x)
    h.forward("neg", x, b)
    assert plan_memory(h.program).arena == 256
    h.program.keep.add(a)
    assert plan_memory(h.program).arena == 512


class Work:
    """An MLP's step whose gradients are None at its end."""

    def __init__(self, layers: int = 8, width: int = 64, batch: int = 512) -> None:
        torch.manual_seed(0)
        parts: list[Any] = []
        for _ in range(layers):
            parts += [torch.nn.Linear(width, width), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*parts[:-1])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.x, self.t = torch.randn(batch, width), torch.randn(batch, width)

    def step(self, x: Any, t: Any) -> Any:
        loss = F.mse_loss(self.model(x), t)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def peak(self, f: Any) -> int:
        """The most that a call holds beyond what was there before it."""
        gc.collect()
        before = torch.memory_stats()["live_bytes"]
        _storage.reset_peak()
        f(self.x, self.t)
        return torch.memory_stats()["peak_bytes"] - before


def compiled(work: Work) -> Any:
    f = torch.compile(work.step, fullgraph=True)
    while not any(s.entries for s in f._signatures.values()):
        f(work.x, work.t)
    return f


def test_the_plan_tells_what_a_program_takes_before_it_runs() -> None:
    work = Work()
    f = torch.compile(work.step, fullgraph=True)
    gc.collect()
    before = torch.memory_stats()["live_bytes"]
    while not any(s.entries for s in f._signatures.values()):
        f(work.x, work.t)
    plan = plan_memory(entry_of(f).program)
    assert f.counters.replayed == 0
    machine = torch.memory_stats()["live_bytes"] - before
    run = work.peak(f)
    assert f.counters.replayed == 1
    # Beside the plan there are the words of the program and the rounding of fresh storages.
    assert plan.peak <= machine + run <= plan.peak + 32768
    assert plan.arena < 0.6 * plan.unshared
    assert "peak" in str(plan)


def test_values_computed_again_fit_a_limit_and_have_the_same_bits() -> None:
    work = Work()
    program = entry_of(compiled(work)).before
    plain = plan_memory(run_passes(program))
    limit = int(0.65 * plain.peak)
    less = plan_memory(run_passes(program, limit))
    assert less.peak <= limit
    assert recompute(program, plain.peak * 2) is program


@pytest.mark.parametrize("limit", [0.9, 0.65, 0.0])
def test_a_step_within_a_limit(limit: float) -> None:
    eager, replayed = Work(), Work()
    plan = plan_memory(entry_of(compiled(Work())).program)
    plain = plan.peak
    f = torch.compile(replayed.step, options={"memory_limit": int(limit * plain) + plan.total - plan.peak})
    while f.counters.replayed < 3:
        f(replayed.x, replayed.t)
    for _ in range(f.counters.recorded + f.counters.replayed):
        eager.step(eager.x, eager.t)
    for p, q in zip(eager.model.parameters(), replayed.model.parameters(), strict=True):
        assert p.detach().numpy().tobytes() == q.detach().numpy().tobytes()
    assert plan_memory(entry_of(f).program).peak < plain


def with_zero_grad_first(compiled: bool) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256))

    def step(x: Any, places: Any) -> Any:
        model.zero_grad()
        picked = x[places]
        model(picked).square().mean().backward()
        return None

    return torch.compile(step, fullgraph=True) if compiled else step, model


def test_gradients_that_are_replaced_unread_go_first() -> None:
    f, _ = with_zero_grad_first(True)
    x, places = torch.randn(8, 256), torch.tensor([0, 3])
    for _ in range(4):
        f(x, places)
    assert f.counters.replayed >= 1
    fresh = plan_memory(entry_of(f).program).fresh
    assert fresh > 2**19
    gc.collect()
    before = torch.memory_stats()["live_bytes"]
    _storage.reset_peak()
    f(x, places)
    assert torch.memory_stats()["peak_bytes"] - before < fresh // 8


def test_a_gradient_that_the_caller_holds_keeps_its_numbers() -> None:
    f, model = with_zero_grad_first(True)
    places = torch.tensor([0, 3])
    for k in range(5):
        f(torch.full((8, 256), k + 1.0), places)
        if k == 3:
            held = model[0].weight.grad
            numbers = held.numpy().tobytes()
    assert held.numpy().tobytes() == numbers
    assert model[0].weight.grad is not held


def test_gradients_after_an_error_behind_zero_grad() -> None:
    left = []
    for compiled in (False, True):
        f, model = with_zero_grad_first(compiled)
        for _ in range(4):
            f(torch.ones(8, 256), torch.tensor([0, 3]))
        with pytest.raises(IndexError):
            f(torch.ones(8, 256), torch.tensor([0, 30]))
        left.append([p.grad is None for p in model.parameters()])
    assert left[0] == left[1] == [True] * 4
