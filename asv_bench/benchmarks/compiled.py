"""Training steps as functions that can be compiled whole, and how long a compiled one takes.

`tapegrad.compile` and `torch.compile` are given the same function: zero_grad, forward, loss,
backward, step. The loop around it stays the user's own, in Python.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import common

WAYS = ["eager", "compiled"]
RNN = {"steps": 64, "batch": 16, "inputs": 8, "hidden": 64, "classes": 10}
CHAIN_SIZE = 10_000_000

Step = Callable[..., Any]


def plain(f: Step) -> Step:
    return f


def at_once(torch: Any) -> Callable[..., Any]:
    """tapegrad's `compile` that records the first call."""
    return functools.partial(torch.compile, options={"record_after": 0})


def training_step(model: Any, criterion: Any, optimizer: Any, part: Step = plain) -> Step:
    """One step on a batch, from forgetting the gradients to the update; returns the loss.

    `part` may compile the loss and the update on their own, as suits PyTorch.
    """
    loss_of = part(lambda x, y: criterion(model(x), y))
    update = part(optimizer.step)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        update()
        return loss

    return step


class Stepping(common.Work):
    """`step` over batches in rotation."""

    def __init__(
        self, step: Step, batches: list[tuple[Any, ...]], restore: Callable[[], None] = lambda: None
    ) -> None:
        self.step, self.batches, self.done = step, batches, 0
        self.restore = restore

    def refresh(self) -> None:
        self.restore()

    def run(self, n: int) -> None:
        step, batches, start = self.step, self.batches, self.done
        m = len(batches)
        for i in range(start, start + n):
            step(*batches[i % m])
        self.done += n

    def losses(self, n: int) -> list[float]:
        seen = []
        for _ in range(n):
            loss = self.step(*self.batches[self.done % len(self.batches)])
            seen.append(float(loss.detach() if hasattr(loss, "detach") else loss))
            self.done += 1
        return seen


def digits(
    torch: Any, batch: int, hidden: int, optimizer: str, wrap: Step = plain, part: Step = plain
) -> Stepping:
    """The classifier of the digits; `wrap` compiles the step, `part` its parts, or they do nothing."""
    model = common.classifier(torch, hidden)
    updates = common.optimizer_for(torch, optimizer, model.parameters())
    step = training_step(model, torch.nn.CrossEntropyLoss(), updates, part)
    return Stepping(wrap(step), common.batches(torch, batch), common.Beginning(torch, model, updates).restore)


def rnn_batches(count: int = 8) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(2)
    shape = (RNN["steps"], RNN["batch"], RNN["inputs"])
    return [
        (random.standard_normal(shape, np.float32), random.integers(0, RNN["classes"], RNN["batch"]))
        for _ in range(count)
    ]


def rnn_model(torch: Any) -> Any:
    """A tanh recurrence written out as a Python loop, with a classifier behind its last state."""
    nn = torch.nn

    class Recurrence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Linear(RNN["inputs"], RNN["hidden"])
            self.again = nn.Linear(RNN["hidden"], RNN["hidden"], bias=False)
            self.leave = nn.Linear(RNN["hidden"], RNN["classes"])

        def forward(self, x: Any) -> Any:
            h = torch.zeros(x.shape[1], RNN["hidden"])
            for t in range(RNN["steps"]):
                h = torch.tanh(self.enter(x[t]) + self.again(h))
            return self.leave(h)

    torch.manual_seed(0)
    return Recurrence()


def rnn(torch: Any, wrap: Step = plain, part: Step = plain) -> Stepping:
    model = rnn_model(torch)
    updates = common.optimizer_for(torch, "SGD", model.parameters())
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in rnn_batches()]
    step = training_step(model, torch.nn.CrossEntropyLoss(), updates, part)
    return Stepping(wrap(step), data, common.Beginning(torch, model, updates).restore)


def chain_array(size: int = CHAIN_SIZE) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(size, np.float32)


def chain(torch: Any, wrap: Step = plain, part: Step = plain, size: int = CHAIN_SIZE) -> Stepping:
    """Eight pointwise ops over ten million numbers and a sum, forward and backward; one array, as no cache holds it."""
    x = torch.from_numpy(chain_array(size)).requires_grad_()

    def total() -> Any:
        y = x * 1.1 + 0.3
        y = (torch.relu(y) * x - 0.2) * (x + 2)
        return y.abs().sum()

    forward = part(total)

    def step() -> Any:
        x.grad = None
        loss = forward()
        loss.backward()
        return loss

    return Stepping(wrap(step), [()])


MAKES: dict[str, Callable[..., Stepping]] = {
    **{
        f"digits {batch}x{hidden} {optimizer}": (
            lambda t, w, b=batch, h=hidden, o=optimizer: digits(t, b, h, o, w)
        )
        for optimizer in ("SGD", "Adam")
        for batch, hidden in common.SIZES
    },
    "rnn": rnn,
}


class CompiledStep:
    """A step in tapegrad, compiled and not."""

    params = (WAYS, list(MAKES))
    param_names = ("way", "work")
    warmup_time = 0.3

    def setup(self, way: str, name: str) -> None:
        torch = common.load("tapegrad")
        self.work = MAKES[name](torch, at_once(torch) if way == "compiled" else plain)
        self.work.run(12)
        if way == "compiled" and not self.work.step.counters.replayed:
            raise RuntimeError(f"{name} was not replayed: {self.work.step.counters}")

    def time_step(self, way: str, name: str) -> None:
        self.work.run(1)


class Recording:
    """From a fresh compiled function to its first replay."""

    params = (list(MAKES),)
    param_names = ("work",)
    unit = "seconds"

    def track_until_replay(self, name: str) -> float:
        torch = common.load("tapegrad")
        MAKES[name](torch, at_once(torch)).run(5)  # what is compiled once per machine is not counted
        return until_replay(MAKES[name](torch, at_once(torch)))[0]


def until_replay(work: Stepping) -> tuple[float, int]:
    """Seconds of the calls before the first one that replays, and how many these are."""
    spent = 0.0
    for calls in range(32):
        started = time.perf_counter()
        work.run(1)
        took = time.perf_counter() - started
        if work.step.counters.replayed:
            return spent, calls
        spent += took
    raise RuntimeError(f"nothing was replayed: {work.step.counters}")
