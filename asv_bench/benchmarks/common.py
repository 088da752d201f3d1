"""The work that is timed, as functions of the module that does it (tapegrad or PyTorch).

Each piece of work is a class made from a module. `run(n)` is the user's own Python loop, n times;
`losses(n)` runs it and returns numbers that must agree between the two modules. What goes in rotates
over several batches, so that neither side lives from one warm array. Both modules get one thread.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 (thread counts are read when it is loaded)

SIZES = [(1, 32), (32, 32), (32, 128), (128, 512)]  # (batch, hidden) of the classifier
LIBRARIES = ["tapegrad", "torch"]
CHAIN = 1000


def load(name: str) -> ModuleType:
    """The module on one thread; NotImplementedError, which makes asv skip, where it is missing."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        raise NotImplementedError(f"{name} is not installed") from None
    module.set_num_threads(1)
    return module


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray, str]:
    """Images in rows of 64 numbers from 0 to 1, their digits, and where they come from."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        random = np.random.default_rng(0)
        images = random.random((1797, 64)).astype(np.float32)
        return images, random.integers(0, 10, 1797), "random images (scikit-learn is not installed)"
    data = load_digits()
    return (data.data / 16.0).astype(np.float32), data.target.astype(np.int64), "scikit-learn's digits"


def classifier(torch: Any, hidden: int) -> Any:
    """64 inputs, two hidden layers, ten classes; the same numbers in both libraries for one seed."""
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    )


def optimizer_for(torch: Any, name: str, parameters: Any) -> Any:
    """SGD with momentum 0.9, or Adam, both at a rate that keeps a long timing run finite."""
    if name == "SGD":
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    return torch.optim.Adam(parameters, lr=0.001)


def batches(torch: Any, size: int, count: int = 8) -> list[tuple[Any, Any]]:
    images, labels, _ = digits()
    order = np.random.default_rng(1).permutation(len(labels))[: size * count].reshape(count, size)
    return [(torch.from_numpy(images[rows].copy()), torch.from_numpy(labels[rows].copy())) for rows in order]


class Work:
    """One row of a table: `run(n)` does `n * per_run` units of it."""

    unit = "step"
    per_run = 1

    def refresh(self) -> None:
        """Puts a training back to its beginning; called before each slice that is timed.

        A model that has long converged on the few batches of a benchmark has units without gradients, whose
        momentum decays until it is denormal: the time would be that of denormal arithmetic, for those who do
        not flush denormals to zero.
        """

    def run(self, n: int) -> None:
        raise NotImplementedError

    def losses(self, n: int) -> list[float]:
        raise NotImplementedError


LONGEST = 400  # steps of a training in one slice


class Beginning:
    """The values with which a model and its optimizer start."""

    def __init__(self, torch: Any, model: Any, optimizer: Any) -> None:
        self.torch, self.optimizer = torch, optimizer
        self.values = [(p, p.detach().clone()) for p in model.parameters()]

    def restore(self) -> None:
        with self.torch.no_grad():
            for p, value in self.values:
                p.copy_(value)
            for state in self.optimizer.state.values():
                for t in state.values():
                    t.zero_()


class Forward(Work):
    """An op on a few numbers that need gradients, its result let go at once."""

    unit = "op"

    def __init__(self, torch: Any, op: str = "add", size: int = 32) -> None:
        torch.manual_seed(0)
        self.pairs = [
            (torch.rand(size, requires_grad=True), torch.rand(size, requires_grad=True)) for _ in range(8)
        ]
        self.op = {
            "add": lambda a, b: a + b,
            "mul": lambda a, b: a * b,
            "tanh": lambda a, b: torch.tanh(a),
            "sum": lambda a, b: a.sum(),
        }[op]
        self.name = op

    def run(self, n: int) -> None:
        # Written out per op: a call through a function would weigh on both sides alike and hide a part
        # of the difference.
        pairs = self.pairs
        m = len(pairs)
        if self.name == "add":
            for i in range(n):
                a, b = pairs[i % m]
                a + b
        elif self.name == "mul":
            for i in range(n):
                a, b = pairs[i % m]
                a * b
        else:
            op = self.op
            for i in range(n):
                a, b = pairs[i % m]
                op(a, b)

    def losses(self, n: int) -> list[float]:
        return [self.op(*self.pairs[i % 8]).sum().item() for i in range(n)]


class ForwardBackward(Forward):
    """The same op, summed, and backward to both inputs."""

    unit = "pass"

    def run(self, n: int) -> None:
        op, pairs = self.op, self.pairs
        m = len(pairs)
        for i in range(n):
            a, b = pairs[i % m]
            op(a, b).sum().backward()
            a.grad = None
            b.grad = None

    def losses(self, n: int) -> list[float]:
        seen = []
        for i in range(n):
            a, b = self.pairs[i % 8]
            op = self.op(a, b).sum()
            op.backward()
            seen += [op.item(), a.grad.sum().item()]
            a.grad = None
            b.grad = None
        return seen


class Chain(Work):
    """A thousand small ops one behind the other, then backward through all of them."""

    unit = "op"
    per_run = CHAIN

    def __init__(self, torch: Any, size: int = 32) -> None:
        torch.manual_seed(0)
        self.starts = [torch.rand(size, requires_grad=True) for _ in range(4)]
        self.scale = torch.rand(size).mul_(0.002).add_(0.999)
        self.shift = torch.rand(size).mul_(0.001)

    def once(self, i: int) -> Any:
        x = self.starts[i % len(self.starts)]
        scale, shift = self.scale, self.shift
        y = x
        for _ in range(CHAIN // 2):
            y = y * scale
            y = y + shift
        loss = y.sum()
        loss.backward()
        return x, loss

    def run(self, n: int) -> None:
        for i in range(n):
            x, _ = self.once(i)
            x.grad = None

    def losses(self, n: int) -> list[float]:
        seen = []
        for i in range(n):
            x, loss = self.once(i)
            seen += [loss.item(), x.grad.sum().item()]
            x.grad = None
        return seen


class ArticleLoop(Work):
    """The loop of the articles: two numbers, y = 100 x, loss = sum(y), zero_grad, backward, step."""

    def __init__(self, torch: Any) -> None:
        self.x = torch.tensor([1.0, 2.0], requires_grad=True)
        self.optimizer = torch.optim.SGD([self.x], lr=1e-6)

    def once(self) -> Any:
        self.optimizer.zero_grad()
        loss = (100 * self.x).sum()
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, n: int) -> None:
        for _ in range(n):
            self.once()

    def losses(self, n: int) -> list[float]:
        return [self.once().item() for _ in range(n)]


class TrainingStep(Work):
    """zero_grad, forward, cross-entropy, backward, step on the digits."""

    def __init__(self, torch: Any, batch: int = 32, hidden: int = 32, optimizer: str = "SGD") -> None:
        self.batches = batches(torch, batch)
        self.model = classifier(torch, hidden)
        self.criterion = torch.nn.CrossEntropyLoss()
        self.optimizer = optimizer_for(torch, optimizer, self.model.parameters())
        self.beginning = Beginning(torch, self.model, self.optimizer)
        self.done = 0

    def refresh(self) -> None:
        self.beginning.restore()

    def once(self) -> Any:
        x, y = self.batches[self.done % len(self.batches)]
        self.done += 1
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, n: int) -> None:
        for _ in range(n):
            self.once()

    def losses(self, n: int) -> list[float]:
        return [self.once().item() for _ in range(n)]


class OptimizerStep(TrainingStep):
    """`optimizer.step()` alone, gradients in place.

    The gradients are drawn at random, of the size that training has, and none is zero: with those of a batch,
    elements whose gradient is zero in this batch and was not in an earlier one would have a momentum that
    decays step by step until it is denormal, and after a thousand steps the time would be that of
    denormal arithmetic.
    """

    def __init__(self, torch: Any, batch: int = 32, hidden: int = 128, optimizer: str = "SGD") -> None:
        super().__init__(torch, batch, hidden, optimizer)
        random = np.random.default_rng(2)
        for p in self.model.parameters():
            p.grad = torch.from_numpy(random.normal(0.0, 0.01, tuple(p.shape)).astype(np.float32))

    def run(self, n: int) -> None:
        step = self.optimizer.step
        for _ in range(n):
            step()


class ZeroGrad(OptimizerStep):
    """`optimizer.zero_grad(set_to_none=False)` alone: None would be nothing to do from the second call on."""

    def run(self, n: int) -> None:
        zero_grad = self.optimizer.zero_grad
        for _ in range(n):
            zero_grad(set_to_none=False)


def resident_bytes() -> int:
    """Resident memory of this process; NotImplementedError where /proc does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):
        raise NotImplementedError("resident memory is read from /proc") from None
