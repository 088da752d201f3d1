"""Compiled steps in several Python threads, each with a model of its own: does the work scale with the cores?

    python asv_bench/compiled_threads.py                    1 and 2 threads
    python asv_bench/compiled_threads.py --threads 1 2 4    and 4
    python asv_bench/compiled_threads.py --work rnn         another step (--list shows them)

A replay runs without the GIL and every kernel on one thread. In a round each number of threads does the
same steps per thread, behind a barrier; the figure is the median over the rounds of the steps per
second, and of their ratio to one thread's within a round. Each thread's model is checked to end with the
parameters that it has when it is trained alone. The control is a product of NumPy's, which needs no GIL
either: if it does not scale, the machine has no cores to spare.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmarks import common, compiled  # isort: skip  # pins the thread counts before NumPy is loaded

import numpy as np

CONTROL = "NumPy's product"


def control() -> compiled.Stepping:
    a = np.random.default_rng(0).random((256, 256), np.float32)
    out = np.empty_like(a)
    return compiled.Stepping(lambda: np.dot(a, a, out=out), [()])


def timed(works: list[compiled.Stepping], n: int) -> float:
    """Steps per second of all works together, each in a thread of its own."""
    barrier = threading.Barrier(len(works) + 1)
    failures: list[BaseException] = []

    def body(work: compiled.Stepping) -> None:
        try:
            barrier.wait()
            work.run(n)
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for t in threads:
        t.start()
    barrier.wait()
    started = time.perf_counter()
    for t in threads:
        t.join()
    took = time.perf_counter() - started
    if failures:
        raise failures[0]
    return len(works) * n / took


def same_as_alone(torch: Any, name: str, count: int, n: int = 40) -> None:
    """Losses after n steps next to each other are those after n steps alone, bit for bit."""
    together = [compiled.MAKES[name](torch, compiled.at_once(torch)) for _ in range(count)]
    alone = compiled.MAKES[name](torch, compiled.at_once(torch))
    for work in (*together, alone):
        work.run(6)  # recorded one after the other
    timed(together, n)
    alone.run(n)
    expected = alone.losses(2)
    for work in together:
        if work.losses(2) != expected:
            raise AssertionError(f"{name}: another result next to other threads")


def main(argv: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (1 2)")
    parser.add_argument("--work", nargs="+", choices=list(compiled.MAKES), metavar="WORK", help="which steps")
    parser.add_argument("--list", action="store_true", help="print the names of the steps and stop")
    parser.add_argument("--rounds", type=int, default=21, help="rounds (21)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a slice of one thread (0.1)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: 2 rounds of 10 ms")
    args = parser.parse_args(argv)
    if args.list:
        print("\n".join(compiled.MAKES))
        return 0
    if min(args.threads) < 1 or args.rounds < 1 or args.seconds <= 0:
        parser.error("--threads, --rounds and --seconds must be positive")
    if args.quick:
        args.rounds, args.seconds = 2, 0.01
    counts = sorted({1, *args.threads})
    try:
        cores: Any = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count()
    torch = common.load("tapegrad")
    print(f"tapegrad {torch.__version__}, {cores} cores")
    chosen = args.work or ["digits 32x32 SGD", "digits 32x128 Adam", "digits 128x512 SGD", "rnn"]
    for name in (CONTROL, *chosen):
        if name == CONTROL:
            works = [control() for _ in range(counts[-1])]
        else:
            same_as_alone(torch, name, counts[-1])
            works = [compiled.MAKES[name](torch, compiled.at_once(torch)) for _ in range(counts[-1])]
        for work in works:
            work.run(12)
        n = max(1, round(args.seconds * timed(works[:1], 20)))
        rates: dict[int, list[float]] = {count: [] for count in counts}
        for r in range(args.rounds):
            for count in counts if r % 2 == 0 else reversed(counts):
                rates[count].append(timed(works[:count], n))
        for count in counts:
            ratios = [a / b for a, b in zip(rates[count], rates[1], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            speed = statistics.median(rates[count])
            line = f"{name:20} {count} thread{'s' if count > 1 else ' '} {speed:10,.0f} steps/s"
            print(line if count == 1 else f"{line}   {middle:.2f} times one thread ({low:.2f}-{high:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
