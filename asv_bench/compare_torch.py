"""The same work in tapegrad and in PyTorch, in turn, in one run, on one thread each.

    python asv_bench/compare_torch.py                     every row
    python asv_bench/compare_torch.py --rows 'step.*SGD'  rows whose name matches
    python asv_bench/compare_torch.py --quick             a smoke test of a few seconds
    python asv_bench/compare_torch.py --markdown          the table as Markdown, --json as JSON

Both sides run the same Python loop (benchmarks/common.py) over the same rotating batches. Before a row
is timed its losses over several iterations are compared; a row whose numbers differ is not timed and
makes the run fail. Then come rounds: a slice of one library, a slice of the other, the first place
changing from round to round. The ratio is PyTorch's time over tapegrad's within a round; the table
shows the median over the rounds with its lower and upper quartile.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmarks import common  # also pins the thread counts before NumPy is loaded

Make = Callable[[Any], common.Work]


def rows() -> dict[str, Make]:
    """Every row by its name; a row makes its work from a module."""
    table: dict[str, Make] = {}
    for op in ("add", "mul", "tanh", "sum"):
        table[f"op forward {op}, 32 numbers"] = lambda t, op=op: common.Forward(t, op)
    for op in ("add", "mul", "tanh"):
        name = f"op forward+backward {op} and sum, 32 numbers"
        table[name] = lambda t, op=op: common.ForwardBackward(t, op)
    table[f"chain of {common.CHAIN} ops, forward+backward"] = common.Chain
    table["loop of the articles"] = common.ArticleLoop
    for optimizer in ("SGD", "Adam"):
        for batch, hidden in common.SIZES:
            table[f"digits step ({batch},{hidden}) {optimizer}"] = (
                lambda t, b=batch, h=hidden, o=optimizer: common.TrainingStep(t, b, h, o)
            )
    for optimizer in ("SGD", "Adam"):
        name = f"{optimizer}.step alone, hidden 128"
        table[name] = lambda t, o=optimizer: common.OptimizerStep(t, 32, 128, o)
    table["zero_grad(set_to_none=False) alone, hidden 128"] = lambda t: common.ZeroGrad(t, 32, 128)
    return table


@dataclass
class Result:
    """One row: medians in nanoseconds per unit, and PyTorch's time over ours with its quartiles."""

    name: str
    unit: str
    ours_ns: float
    theirs_ns: float
    ratio: float
    low: float
    high: float
    rounds: int
    loss_difference: float


class Disagreement(Exception):
    """The two libraries computed different numbers."""


def check(name: str, ours: common.Work, theirs: common.Work, rtol: float, iterations: int) -> float:
    """The largest relative difference of the losses; Disagreement above rtol."""
    worst = 0.0
    for i, (a, b) in enumerate(zip(ours.losses(iterations), theirs.losses(iterations), strict=True)):
        difference = abs(a - b) / max(abs(b), 1e-3)
        if not difference <= rtol:  # NaN does not pass either
            raise Disagreement(f"{name}: number {i} is {a!r} here and {b!r} in the reference")
        worst = max(worst, difference)
    return worst


def slice_time(work: common.Work, n: int, clock: Callable[[], int]) -> float:
    work.refresh()
    started = clock()
    work.run(n)
    return (clock() - started) / (n * work.per_run)


def repeats_for(work: common.Work, slice_s: float) -> int:
    """How often a work fits into one slice."""
    work.refresh()
    work.run(1)
    n = 1
    while True:
        started = time.perf_counter()
        work.run(n)
        took = time.perf_counter() - started
        if took >= slice_s / 4 or n >= 1 << 20:
            return max(1, round(n * slice_s / max(took, 1e-9)))
        n *= 4


def longest(work: common.Work, n: int) -> int:
    """At most so many steps of a training that it stays one: see Work.refresh."""
    return n if type(work).refresh is common.Work.refresh else min(n, common.LONGEST)


def compare(
    name: str,
    make: Make,
    ours: ModuleType,
    theirs: ModuleType,
    rounds: int,
    slice_s: float,
    rtol: float,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Result:
    """Checks a row's numbers, then times it."""
    difference = check(name, make(ours), make(theirs), rtol, 10)
    sides = (make(ours), make(theirs))
    counts = [longest(work, repeats_for(work, slice_s)) for work in sides]
    gc.collect()
    times: tuple[list[float], list[float]] = ([], [])
    for r in range(rounds):
        for side in (0, 1) if r % 2 == 0 else (1, 0):
            times[side].append(slice_time(sides[side], counts[side], clock))
    ratios = sorted(b / a for a, b in zip(*times, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Result(
        name,
        sides[0].unit,
        statistics.median(times[0]),
        statistics.median(times[1]),
        middle,
        low,
        high,
        rounds,
        difference,
    )


def human(ns: float) -> str:
    for limit, scale, unit in ((1e4, 1, "ns"), (1e7, 1e3, "us"), (float("inf"), 1e6, "ms")):
        if ns < limit:
            return f"{ns / scale:.{0 if unit == 'ns' else 1}f} {unit}"
    raise AssertionError


def lines(results: list[Result], markdown: bool, names: tuple[str, str]) -> list[str]:
    head = ["work", "per", names[0], names[1], "ratio", "quartiles"]
    cells = [
        [r.name, r.unit, human(r.ours_ns), human(r.theirs_ns), f"{r.ratio:.2f}", f"{r.low:.2f}-{r.high:.2f}"]
        for r in results
    ]
    if markdown:
        rule = ["---", "---", "---:", "---:", "---:", "---"]
        return ["| " + " | ".join(row) + " |" for row in (head, rule, *cells)]
    widths = [max(len(row[i]) for row in (head, *cells)) for i in range(len(head))]
    padded = [[cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in (head, *cells)]
    return ["  ".join(row).rstrip() for row in padded]


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every comparison; `arguments` reads the line with it."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=as_written)
    parser.add_argument("--rows", metavar="REGEX", default="", help="only rows whose name matches")
    parser.add_argument("--list", action="store_true", help="print the names to choose from and stop")
    parser.add_argument("--rounds", type=int, default=31, help="rounds per row (31)")
    parser.add_argument("--slice", type=float, default=0.02, help="seconds per side and round (0.02)")
    parser.add_argument("--rtol", type=float, default=1e-4, help="how far losses may differ (1e-4)")
    parser.add_argument("--cpu-time", action="store_true", help="time by the processor's clock of this process")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 ms: runs? same numbers?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    return parser


def arguments(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.slice <= 0:
        parser.error("--rounds and --slice must be positive")
    if args.quick:
        args.rounds, args.slice = 3, 0.002
    return args


def main(argv: list[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--ours", default="tapegrad", help=argparse.SUPPRESS)  # "torch": the script on itself
    args = arguments(parser, argv)
    chosen = {name: make for name, make in rows().items() if re.search(args.rows, name)}
    if args.list or not chosen:
        print("\n".join(rows() if args.list else [f"no row matches {args.rows!r}"]))
        return 0 if args.list else 2
    try:
        ours, theirs = common.load(args.ours), common.load("torch")
    except NotImplementedError as missing:
        print(f"{missing}: nothing to compare", file=sys.stderr)
        return 2
    context = {
        "ours": f"{args.ours} {getattr(ours, '__version__', '')}".strip(),
        "theirs": f"torch {theirs.__version__}",
        "data": common.digits()[2],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": 1,
        "clock": "processor time" if args.cpu_time else "wall clock",
    }
    clock = time.process_time_ns if args.cpu_time else time.perf_counter_ns
    results, failures = [], []
    for name, make in chosen.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            results.append(compare(name, make, ours, theirs, args.rounds, args.slice, args.rtol, clock))
        except Disagreement as failure:
            failures.append(str(failure))
    if args.json:
        report = {"context": context, "results": [asdict(r) for r in results], "failures": failures}
        print(json.dumps(report, indent=1))
    else:
        print(", ".join(f"{k}: {v}" for k, v in context.items()))
        print("\n".join(lines(results, args.markdown, (context["ours"], context["theirs"]))))
    for failure in failures:
        print("numbers differ:", failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
