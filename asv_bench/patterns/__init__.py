"""Everyday training loops as PyTorch's users write them, each a function of the module `torch` and of a decorator.

A loop makes its model and data, decorates the step that a user would decorate, and returns what one iteration does. The
same text runs on tapegrad, plain and compiled, and on PyTorch. `compile_patterns.py` runs and compares them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Decorator = Callable[[Callable[..., Any]], Any]


class Loop(NamedTuple):
    """`iterate(i)` does one iteration and returns what its user sees; `seen()` is all that it changes."""

    iterate: Callable[[int], Any]
    seen: Callable[[], Iterable[Any]]
    steps: tuple[Any, ...]  # what was decorated


LOOPS: dict[str, Callable[[Any, Decorator], Loop]] = {}


def loop(function: Callable[[Any, Decorator], Loop]) -> Callable[[Any, Decorator], Loop]:
    """Registers a loop under its name."""
    LOOPS[function.__name__] = function
    return function


def mlp(torch: Any, *sizes: int, act: str = "Tanh") -> Any:
    """A perceptron with these sizes, from seed 0."""
    torch.manual_seed(0)
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), getattr(torch.nn, act)()]
    return torch.nn.Sequential(*layers[:-1])


def batches(torch: Any, n: int = 4, rows: int = 32, width: int = 8, classes: int = 3) -> list[tuple[Any, Any]]:
    """A few batches of rows and class numbers, from seed 1."""
    torch.manual_seed(1)
    return [(torch.randn(rows, width), torch.randint(0, classes, (rows,))) for _ in range(n)]


def targets(torch: Any, n: int = 4, rows: int = 32, width: int = 8) -> list[tuple[Any, Any]]:
    """A few batches of rows and one number for each, from seed 1."""
    torch.manual_seed(1)
    return [(torch.randn(rows, width), torch.randn(rows, 1)) for _ in range(n)]


def gradients_too(model: Any) -> Callable[[], list[Any]]:
    """What is seen of a model: parameters, gradients, buffers."""
    return lambda: [*model.state_dict().values(), *[p.grad for p in model.parameters()]]


from . import adversarial, arguments, fitting, outside, physics, trainers  # noqa: E402, F401 (they register their loops)
