"""Long training and validation leave memory flat, and a step takes nothing from the system."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import Any

import numpy as np
import pytest

STEPS = 10_000


def resident() -> int:
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Work:
    """A small classifier with its optimizer and batches of several sizes."""

    def __init__(self, torch: Any, optimizer: str, sizes: tuple[int, ...] = (16,)) -> None:
        random = np.random.default_rng(0)
        torch.manual_seed(0)
        nn = torch.nn
        self.torch = torch
        self.model = nn.Sequential(
            nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 10)
        )
        self.loss = nn.CrossEntropyLoss()
        parameters = self.model.parameters()
        self.optimizer = (
            torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
            if optimizer == "SGD"
            else torch.optim.Adam(parameters, lr=0.001)
        )
        self.batches = [
            (
                torch.from_numpy(random.random((n, 64), np.float32)),
                torch.from_numpy(random.integers(0, 10, n)),
            )
            for n in sizes
        ]

    def step(self, k: int) -> float:
        x, y = self.batches[k % len(self.batches)]
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def validate(self, k: int) -> float:
        x, y = self.batches[k % len(self.batches)]
        return self.loss(self.model(x), y).item()


def counts(torch: Any) -> dict[str, int]:
    return {**torch.memory_stats(), **torch.tape_stats()}


@pytest.mark.parametrize("what", ["SGD", "Adam", "validation"])
def test_memory_is_flat(torch, what):
    """Ten thousand steps, or predictions without no_grad, after a hundred to settle."""
    work = Work(torch, "Adam" if what == "Adam" else "SGD")
    run = work.validate if what == "validation" else work.step
    for k in range(100):
        run(k)
    gc.collect()
    before, at_first = counts(torch), resident()
    for k in range(STEPS):
        run(k)
    assert counts(torch) == before
    gc.collect()
    assert resident() - at_first < 2 << 20
    # Tracing every allocation makes Python slow: a part of the steps will do.
    tracemalloc.start()
    try:
        for k in range(50):
            run(k)
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
        for k in range(1000):
            run(k)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - traced < 8 << 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_nothing_is_taken_from_the_system_from_the_second_step_on(torch, optimizer):
    work = Work(torch, optimizer)
    work.step(0)
    before = counts(torch)
    for k in range(20):
        work.step(k)
        assert counts(torch)["system_allocations"] == before["system_allocations"]
        assert counts(torch)["segment_bytes"] == before["segment_bytes"]


def test_nothing_is_taken_for_batch_sizes_seen_before(torch):
    work = Work(torch, "SGD", sizes=(1, 7, 16, 33, 128, 500))
    for k in range(6):
        work.step(k)
    before = torch.memory_stats()["system_allocations"]
    for k in np.random.default_rng(0).integers(0, 6, 200).tolist():
        work.step(k)
    assert torch.memory_stats()["system_allocations"] == before


def test_a_deep_step_keeps_its_memory(torch):
    """Many activations of one size at once: more than any limit per size would keep."""
    x = torch.ones(128, 128, requires_grad=True)

    def step() -> None:
        y = x
        for _ in range(600):
            y = y * 0.5  # the number is saved, and 64 KiB of each result are not
            y = y.tanh()  # these are
        y.sum().backward()
        x.grad = None

    step()
    before = torch.memory_stats()["system_allocations"]
    for _ in range(3):
        step()
    assert torch.memory_stats()["system_allocations"] == before


def test_losses_that_are_kept_cost_numbers_and_records(torch):
    work = Work(torch, "SGD", sizes=(256,))
    x, y = work.batches[0]
    kept, live, records = [], [], []
    for _ in range(60):
        work.optimizer.zero_grad()
        loss = work.loss(work.model(x), y)
        loss.backward()
        work.optimizer.step()
        kept.append(loss)
        live.append(torch.memory_stats()["live_bytes"])
        records.append(torch.tape_stats()["records"])
    per_step = (live[-1] - live[9]) / 50
    hidden = 256 * 24 * 4  # bytes of one layer's values, of which a step has five
    assert per_step < hidden / 2
    assert (records[-1] - records[9]) / 50 <= 8
    before = torch.tape_stats()["records"]
    kept.clear()
    del loss
    assert before - torch.tape_stats()["records"] >= 60 * 5
    assert torch.memory_stats()["live_bytes"] < live[9]


def test_an_exception_in_a_step_leaves_nothing_behind(torch):
    work = Work(torch, "SGD")
    work.step(0)
    before = counts(torch)

    def fail(grad: Any) -> None:
        raise KeyError("hook")

    for _ in range(50):
        x, y = work.batches[0]
        out = work.model(x)
        out.register_hook(fail)
        loss = work.loss(out, y)
        with pytest.raises(KeyError, match="hook"):
            loss.backward()
        work.optimizer.zero_grad()
        del x, y, out, loss
    gc.collect()
    work.step(0)
    after = counts(torch)
    assert after["live_blocks"] == before["live_blocks"]
    assert after["records"] == before["records"]
