"""A chain of pointwise ops with a sum at its end, forward and backward, against the time to move its bytes.

    python asv_bench/compiled_chain.py                    10 million floats, one thread
    python asv_bench/compiled_chain.py --size 1000000 --rounds 20

The chain is `x*1.1+0.3, relu, *x, -0.2, *(x+2), abs, sum`. Compiled it is one kernel that reads x once and
writes its gradient once, which is what the copy beside it moves: as many bytes read, as many written. A
second row squares the sum: its backward pass cannot begin before the forward pass has ended, so x is read twice.

Rows: PyTorch eager, `torch.compile` and `jax.jit` where they are installed and work, tapegrad eager and
compiled, and the copy. Losses and gradients are compared first, and a side that differs makes the run fail.
Rounds go through the rows in turn; a ratio is the median over the rounds of one row's time over another's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmarks import common  # noqa: F401 (it pins the thread counts before NumPy is loaded)

import numpy as np  # isort: skip

import tapegrad  # isort: skip

ONCE = {"tapegrad compiled", "copy"}


def forward(x: Any) -> Any:
    y = (x * 1.1 + 0.3).relu()
    y = y * x
    y = y - 0.2
    return (y * (x + 2)).abs().sum()


def training(x: Any, squared: bool) -> Any:
    x.grad = None
    loss = forward(x)
    if squared:
        loss = loss * loss
    loss.backward()
    return loss


def tensors(module: Any, step: Callable[..., Any], data: np.ndarray) -> Callable[[bool], Any]:
    x = module.tensor(data, requires_grad=True)

    def run(look: bool) -> Any:
        loss = step(x)
        return (float(loss.detach()), x.grad.detach().numpy()) if look else None

    return run


def sides(data: np.ndarray, squared: bool) -> dict[str, Callable[[bool], Any]]:
    """Every side that works here: called with True it gives (loss, gradient)."""

    def step(x: Any) -> Any:
        return training(x, squared)

    found: dict[str, Callable[[bool], Any]] = {}
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed")
    else:
        torch.set_num_threads(1)
        found["torch eager"] = tensors(torch, step, data)
        try:
            compiled = torch.compile(forward)
            x = torch.tensor(data, requires_grad=True)

            def run(look: bool) -> Any:
                x.grad = None
                loss = compiled(x)
                if squared:
                    loss = loss * loss
                loss.backward()
                return (float(loss.detach()), x.grad.numpy()) if look else None

            run(True)
            found["torch.compile"] = run
        except Exception as error:  # no C++ compiler, say
            print(f"torch.compile does not work here: {type(error).__name__}")
    try:
        import jax
    except ImportError:
        print("JAX is not installed")
    else:
        import jax.numpy as jnp

        def loss_of(x: Any) -> Any:
            y = jax.nn.relu(x * 1.1 + 0.3) * x - 0.2
            loss = jnp.abs(y * (x + 2)).sum()
            return loss * loss if squared else loss

        both = jax.jit(jax.value_and_grad(loss_of))
        given = jnp.asarray(data)

        def run_jax(look: bool) -> Any:
            loss, gradient = both(given)
            gradient.block_until_ready()
            return (float(loss), np.asarray(gradient)) if look else None

        found["jax.jit"] = run_jax
    found["tapegrad eager"] = tensors(tapegrad, step, data)
    found["tapegrad compiled"] = tensors(tapegrad, tapegrad.compile(step, options={"record_after": 0}), data)
    return found


def compare(found: dict[str, Callable[[bool], Any]]) -> None:
    """SystemExit if a side's numbers differ; tapegrad's two sides must agree to the bit."""
    eager = found["tapegrad eager"](True)
    for name, run in found.items():
        for _ in range(3):  # recorded, confirmed, replayed
            loss, gradient = run(True)
        if name == "tapegrad compiled" and not (loss == eager[0] and np.array_equal(gradient, eager[1])):
            raise SystemExit("compiled differs from eager")
        # In the norm: a multiply-add with one rounding puts an element or two on the other side of relu's corner.
        apart = float(np.linalg.norm(gradient - eager[1]) / np.linalg.norm(eager[1]))
        if abs(loss - eager[0]) > 1e-4 * abs(eager[0]) or apart > 1e-3:
            raise SystemExit(f"{name}: other numbers ({loss} instead of {eager[0]})")


def measure(found: dict[str, Callable[[bool], Any]], data: np.ndarray, rounds: int) -> dict[str, list[float]]:
    target = np.zeros_like(data)
    found = {**found, "copy": lambda look: np.copyto(target, data)}
    times: dict[str, list[float]] = {name: [] for name in found}
    names = list(found)
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            found[name](False)  # what others left in the caches is not this one's fault
            start = time.perf_counter()
            for _ in range(3 if name in ONCE else 1):
                found[name](False)
            times[name].append((time.perf_counter() - start) / (3 if name in ONCE else 1))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    tapegrad.set_num_threads(1)
    data = np.random.RandomState(0).standard_normal(given.size).astype(np.float32)
    for squared in (False, True):
        found = sides(data, squared)
        compare(found)
        times = measure(found, data, given.rounds)
        print(f"\n{given.size} floats, {'loss squared: two passes' if squared else 'one pass'}")
        for name, ts in times.items():
            ours = statistics.median(t / o for t, o in zip(ts, times["tapegrad compiled"], strict=True))
            print(f"  {name:18} {min(ts) * 1e3:9.2f} ms least {statistics.median(ts) * 1e3:9.2f} ms median", end="")
            print(f"  {ours:7.2f} times compiled")


if __name__ == "__main__":
    main()
