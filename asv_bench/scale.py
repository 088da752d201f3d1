"""What a graph of a million records costs: time and memory per record, and what remains afterwards.

    python asv_bench/scale.py            all graphs, a thousand and a million records
    python asv_bench/scale.py adds tree  some of them

Times are processor time (of the program and of the system for it) of the second of two runs, the best of
many, since a long run cannot dodge other programs as a short one does; the ratio of the times on the wall is
shown as well. Growth of resident memory is read between the finished forward pass and the start; from it
goes the element data, which is what the storage cache counts as live: 16 bytes for a tensor of one number,
without the rest of its block.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import common

MILLION = 1_000_000


def adds(torch: Any, x: Any, n: int) -> Any:
    """A chain whose records save nothing."""
    one = torch.ones(1)
    y = x
    for _ in range(n - 1):
        y = y + one
    return y.sum()


def muls(torch: Any, x: Any, n: int) -> Any:
    """A chain whose records save their inputs."""
    y = x
    for _ in range(n - 1):
        y = y * x
    return y.sum()


def tree(torch: Any, x: Any, n: int) -> Any:
    """Half as many products of one leaf, added up in pairs."""
    two = torch.full((1,), 2.0)
    waiting: list[Any] = []
    for k in range(1, n // 2 + 1):
        y = x * two
        while k % 2 == 0:
            y = waiting.pop() + y
            k //= 2
        waiting.append(y)
    while len(waiting) > 1:
        y = waiting.pop()
        waiting.append(waiting.pop() + y)
    return waiting[0].sum()


GRAPHS: dict[str, Callable[..., Any]] = {"adds": adds, "muls": muls, "tree": tree}


def once(torch: Any, build: Callable[..., Any], n: int) -> tuple[float, float, float, float]:
    """Seconds of forward, backward and freeing per record, and of all of it on the wall."""
    x = torch.ones(1, requires_grad=True)
    on_the_wall = time.perf_counter()
    started = time.process_time()
    loss = build(torch, x, n)
    built = time.process_time()
    loss.backward()
    done = time.process_time()
    del loss
    freed = time.process_time()
    on_the_wall = time.perf_counter() - on_the_wall
    return (built - started) / n, (done - built) / n, (freed - done) / n, on_the_wall / n


def spent(times: tuple[float, float, float, float]) -> float:
    """Processor time of one run."""
    return sum(times[:3])


def growth(torch: Any, build: Callable[..., Any], n: int) -> tuple[float, float, int, int]:
    """Bytes per record of tape and of element data; bytes still resident at the end, and after empty_cache."""
    gc.collect()
    x = torch.ones(1, requires_grad=True)
    before, elements = common.resident_bytes(), torch.memory_stats()["live_bytes"]
    loss = build(torch, x, n)
    elements = torch.memory_stats()["live_bytes"] - elements
    grown = common.resident_bytes() - before
    loss.backward()
    del loss
    gc.collect()
    after = common.resident_bytes() - before
    torch.empty_cache()
    return (grown - elements) / n, elements / n, after, common.resident_bytes() - before


def main(argv: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("graphs", nargs="*", choices=[*GRAPHS, []], help=f"of {', '.join(GRAPHS)} (all)")
    parser.add_argument("--records", type=int, default=MILLION)
    parser.add_argument("--repeat", type=int, default=5, help="pairs of runs, of which the best counts (5)")
    args = parser.parse_args(argv)
    torch = common.load("tapegrad")
    for name in args.graphs or GRAPHS:
        build = GRAPHS[name]
        small = [once(torch, build, 1000) for _ in range(300)][1:]
        best = min(map(spent, small))
        best_on_the_wall = min(t[3] for t in small)
        torch.empty_cache()
        memory = growth(torch, build, args.records)
        pairs = []
        for _ in range(args.repeat):
            torch.empty_cache()
            pairs.append((once(torch, build, args.records), once(torch, build, args.records)))
        first, second = min(pairs, key=lambda pair: spent(pair[1]))
        on_the_wall = min(pair[1][3] for pair in pairs)
        parts = " + ".join(f"{t * 1e9:.0f}" for t in second[:3])
        print(
            f"{name:5} {args.records:,} records: {spent(second) * 1e9:.0f} ns a record ({parts}: forward, backward, "
            f"freeing; run before {spent(first) * 1e9:.0f}), at 1,000 {best * 1e9:.0f}: ratio "
            f"{spent(second) / best:.2f}, on the wall {on_the_wall / best_on_the_wall:.2f}\n"
            f"      {memory[0]:.0f} bytes a record and {memory[1]:.0f} of element data; afterwards "
            f"{memory[2] / 2**20:.1f} MiB more than before, {memory[3] / 2**20:.1f} after empty_cache()"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
