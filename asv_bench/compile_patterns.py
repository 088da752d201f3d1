"""Everyday training loops, plain and compiled: the same bits, how much is replayed, and what a whole loop gains.

    python asv_bench/compile_patterns.py                 # all loops
    python asv_bench/compile_patterns.py --rows 'gan|ppo'
    python asv_bench/compile_patterns.py --quick         # bits only

The loops are in `patterns/`, written as PyTorch's users write them. Each runs plain, compiled and, where PyTorch is
installed, on PyTorch, from the same seed. Columns:

    bits      what the loop returned and what it changed, plain against compiled, after every iteration
    torch     the same against PyTorch over the first iterations (largest relative difference)
    replayed  share of the calls that were replayed, over 2,000 iterations
    warm      plain time over compiled time of an iteration, once 1,000 have run
    60 ...    plain time over compiled time of a whole loop of so many iterations, from the model on

One thread, plain and compiled in alternation, medians. Above 1 compiled is faster.
"""

from __future__ import annotations

import argparse
import gc
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tapegrad as tg

sys.path.insert(0, str(Path(__file__).parent))
from patterns import LOOPS, Loop

LENGTHS = (60, 300, 2000)
CHECKED = 600  # iterations whose bits are compared: programs are made and replayed in them
LOSES = 0.9
SHORT_STEP = 10e-6  # below, a compiled step may cost TOLERATED more than a plain one
TOLERATED = 0.5e-6


def plain(function: Any) -> Any:
    return function


def at_once(function: Any) -> Any:
    return tg.compile(function, options={"record_after": 0})


def flat(value: Any) -> list[Any]:
    """What a user sees, as arrays and numbers in a row."""
    if value is None:
        return [None]
    if isinstance(value, (tuple, list)):
        return [x for part in value for x in flat(part)]
    if isinstance(value, dict):
        return flat(list(value.values()))
    return [value.detach().numpy().copy() if hasattr(value, "detach") else value]


def same_bits(a: list[Any], b: list[Any]) -> bool:
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        if isinstance(x, np.ndarray) != isinstance(y, np.ndarray) or type(x) is not type(y):
            return False
        if isinstance(x, np.ndarray) and (x.dtype != y.dtype or x.shape != y.shape or x.tobytes() != y.tobytes()):
            return False
        if not isinstance(x, np.ndarray) and x != y:
            return False
    return True


def largest_difference(a: list[Any], b: list[Any]) -> float:
    worst = 0.0
    for x, y in zip(a, b, strict=True):
        if x is None or y is None:
            worst = max(worst, 0.0 if x is y else float("inf"))
            continue
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if x.size:
            worst = max(worst, float(np.abs(x - y).max() / max(1e-3, float(np.abs(y).max()))))
    return worst


def built(name: str, module: ModuleType, decorate: Callable[[Any], Any]) -> Loop:
    made = LOOPS[name](module, decorate)
    module.manual_seed(7)
    return made


def check_bits(name: str, iterations: int) -> bool:
    """Whether plain and compiled code do the same, in everything that is seen."""
    results = []
    for decorate in (plain, at_once):
        made = built(name, tg, decorate)
        seen = [flat(made.iterate(i)) for i in range(iterations)]
        results.append([*seen, flat(list(made.seen()))])
    return all(same_bits(a, b) for a, b in zip(*results, strict=True))


def against_pytorch(name: str, torch: ModuleType, iterations: int = 12) -> float:
    results = []
    for module in (tg, torch):
        made = built(name, module, plain)
        results.append([x for i in range(iterations) for x in flat(made.iterate(i))])
    return largest_difference(*results)


def whole_loop(name: str, decorate: Callable[[Any], Any], n: int) -> float:
    gc.collect()
    start = time.perf_counter()
    made = built(name, tg, decorate)
    for i in range(n):
        made.iterate(i)
    return time.perf_counter() - start


def gains(name: str, n: int, rounds: int) -> float:
    """Plain time over compiled time of whole loops, in alternation."""
    pairs = [(whole_loop(name, plain, n), whole_loop(name, tg.compile, n)) for _ in range(rounds)]
    return statistics.median(p for p, _ in pairs) / statistics.median(c for _, c in pairs)


def warm(name: str, rounds: int = 15) -> tuple[float, float, float]:
    """(plain over compiled time of an iteration, plain seconds, share replayed), once both have run for a while."""
    loops = [built(name, tg, d) for d in (plain, tg.compile)]
    for made in loops:
        for i in range(1000):
            made.iterate(i)
    times: list[list[float]] = [[], []]
    first = time.perf_counter()
    loops[0].iterate(1000)
    chunk = max(4, min(200, int(2e-3 / max(1e-7, time.perf_counter() - first))))
    done = 1001
    for _ in range(rounds):
        for k, made in enumerate(loops):
            start = time.perf_counter()
            for i in range(done, done + chunk):
                made.iterate(i)
            times[k].append((time.perf_counter() - start) / chunk)
        done += chunk
    counters = [s.counters for s in loops[1].steps if hasattr(s, "counters")]
    calls = sum(c.replayed + c.recorded + c.eager for c in counters)
    share = sum(c.replayed for c in counters) / calls if calls else float("nan")
    a, b = (statistics.median(t) for t in times)
    return a / b, a, share


def report(rows: list[dict[str, Any]]) -> str:
    lines = ["| loop | bits | torch | replayed | plain, us | warm | 60 | 300 | 2000 |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for r in rows:
        ratios = " | ".join(f"{r[n]:.2f}" for n in LENGTHS)
        lines.append(
            f"| {r['name']} | {'equal' if r['bits'] else 'DIFFER'} | {r['torch']:.0e} | {r['replayed']:.2f} | "
            f"{r['plain'] * 1e6:.1f} | {r['warm']:.2f} | {ratios} |"
        )
    slow = [r["name"] for r in rows if loses_warm(r)]
    whole = [f"{r['name']} ({n})" for r in rows for n in LENGTHS if r[n] < LOSES]
    replayed = [r for r in rows if r["replayed"] > 0.5]
    faster = [r for r in replayed if r[2000] > 1.0]
    lines += [
        "",
        f"{len(rows)} loops; bits differ in {sum(not r['bits'] for r in rows)}",
        f"warm ratio under {LOSES}: {len(slow)} {slow}",
        f"whole loop under {LOSES}: {len(whole)} {whole}",
        f"replayed: {len(replayed)}, of which faster at 2,000 iterations: {len(faster)}",
    ]
    return "\n".join(lines)


def loses_warm(r: dict[str, Any]) -> bool:
    if r["plain"] < SHORT_STEP:
        return r["plain"] / r["warm"] - r["plain"] > TOLERATED
    return bool(r["warm"] < LOSES)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="", help="a regular expression; only loops whose names it is found in")
    parser.add_argument("--quick", action="store_true", help="12 iterations of each, bits only")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of whole loops")
    options = parser.parse_args(arguments)
    names = [n for n in LOOPS if re.search(options.rows, n)]
    tg.set_num_threads(1)
    warnings.simplefilter("ignore")  # code that cannot be replayed says so; the table shows it
    torch: ModuleType | None
    try:
        import torch
    except ImportError:
        torch = None
    else:
        torch.set_num_threads(1)
    if options.quick:
        wrong = [n for n in names if not check_bits(n, 12)]
        far = [] if torch is None else [n for n in names if against_pytorch(n, torch, 6) > 1e-3]
        print(f"{len(names)} loops; bits differ in {wrong}; far from PyTorch: {far}")
        return 1 if wrong or far else 0
    rows = []
    for name in names:
        row: dict[str, Any] = {"name": name, "bits": check_bits(name, CHECKED)}
        row["torch"] = float("nan") if torch is None else against_pytorch(name, torch)
        row["warm"], row["plain"], row["replayed"] = warm(name)
        row.update({n: gains(name, n, options.rounds if n < 1000 else min(3, options.rounds)) for n in LENGTHS})
        rows.append(row)
        print(f"{name}: {row}", file=sys.stderr, flush=True)
    print(report(rows))
    return 1 if any(not r["bits"] for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
