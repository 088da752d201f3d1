"""In-place pointwise calls: the same numbers as calls with a result of their own, and loops as fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tapegrad as torch

N = 65536
CALLS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "unary": (lambda x, _o: torch.sigmoid(x), lambda x, _o: x.sigmoid_()),
    "number": (lambda x, _o: x * 1.0, lambda x, _o: x.mul_(1.0)),
    "first": (lambda x, o: x + o, lambda x, o: x.add_(o)),
}


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return tuple(torch.from_numpy(random.random(N, np.float32)) for _ in range(2))


def best(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(100):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("name", CALLS)
def test_in_place_gives_the_same_numbers(name: str) -> None:
    out, in_place = CALLS[name]
    x, other = data()
    expected = out(x, other).numpy().tobytes()
    assert in_place(x, other).numpy().tobytes() == expected


@pytest.mark.parametrize("name", CALLS)
def test_in_place_loops_have_vectors(name: str) -> None:
    """A loop without them takes four times as long as the other call at least."""
    out, in_place = CALLS[name]
    x, other = data()
    zeros = torch.zeros(N)
    assert best(lambda: in_place(x, zeros)) < 2.5 * best(lambda: out(x, other))
