"""Compiled training steps: tapegrad, PyTorch, JAX and a step written by hand, in one run, in turn.

    python asv_bench/compare_compiled.py                        every row and every side
    python asv_bench/compare_compiled.py --rows '32,32|rnn'     rows whose name matches
    python asv_bench/compare_compiled.py --sides tapegrad torch the named sides
    python asv_bench/compare_compiled.py --quick                a smoke test without torch.compile
    python asv_bench/compare_compiled.py --markdown             tables as Markdown, --json as JSON

The sides are tapegrad and PyTorch, eager and compiled (`torch.compile` of the loss and of the update,
with its default back end, which needs a C++ compiler), `jax.jit` of a functional step with optax (`pip
install jax optax`), and one `@njit` function with the derivative written out by hand. What is not
installed is left out. The loop is Python's in all of them, inputs rotate except in the chain, whose ten
million numbers no cache holds, and everything runs on one core. Losses are compared with PyTorch's
before anything is timed, and a row whose numbers differ is not timed and makes the run fail. A round is
a slice of each side, the first place changing. The table shows medians over the rounds: of the time,
and of the ratio of a side's time to that of compiled tapegrad within a round, with the ratio's
quartiles.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import compare_torch
import contenders
from benchmarks import common, compiled

OURS, EAGER, TORCH, INDUCTOR, JAX, HAND = SIDES = (
    "tapegrad compiled",
    "tapegrad",
    "torch",
    "torch.compile",
    "jax.jit",
    "by hand",
)

Make = Callable[[], common.Work]


def rows(ours: Any, theirs: Any, quick: bool = False) -> dict[str, dict[str, Make]]:
    """Every row by its name: what makes the work of each side."""

    def both(make: Callable[..., common.Work]) -> dict[str, Make]:
        return {
            OURS: lambda: make(ours, wrap=compiled.at_once(ours)),
            EAGER: lambda: make(ours),
            TORCH: lambda: make(theirs),
            INDUCTOR: lambda: inductor(theirs, make),
        }

    table: dict[str, dict[str, Make]] = {}
    for o in ("SGD", "Adam"):
        for b, h in common.SIZES[1:]:
            table[f"digits step ({b},{h}) {o}"] = {
                **both(lambda t, b=b, h=h, o=o, **k: compiled.digits(t, b, h, o, **k)),
                JAX: lambda b=b, h=h, o=o: contenders.jax_digits(theirs, b, h, o),
                HAND: lambda b=b, h=h, o=o: contenders.numba_digits(theirs, b, h, o),
            }
    table["tanh recurrence, 64 steps, batch 16, hidden 64, SGD"] = {
        **both(compiled.rnn),
        JAX: lambda: contenders.jax_rnn(theirs),
        HAND: lambda: contenders.numba_rnn(theirs),
    }
    size = 100_000 if quick else compiled.CHAIN_SIZE
    table[f"chain of 8 ops over {size:,} numbers, forward+backward"] = {
        **both(lambda t, **k: compiled.chain(t, size=size, **k)),
        JAX: lambda: contenders.jax_chain(size),
        HAND: lambda: contenders.numba_chain(size),
    }
    return table


def inductor(torch: Any, make: Callable[..., common.Work]) -> common.Work:
    """Loss and update compiled: faster here than one torch.compile around the step, which breaks at backward."""
    torch._dynamo.reset()  # else the rows before count against the limit of recompilations
    return make(torch, part=torch.compile)


@dataclass
class Result:
    """One side of one row: nanoseconds per step, and their ratio to compiled tapegrad's."""

    row: str
    side: str
    ns: float
    ratio: float
    low: float
    high: float
    rounds: int
    preparation_s: float  # making it and its first steps: recording, compiling
    loss_difference: float


def one_core() -> str:
    """Keeps the whole process on one core, so that no side's helper threads run beside it."""
    try:
        core = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError):
        return "one thread each"
    return "one core"


def compare(
    row: str, makes: dict[str, Make], rounds: int, slice_s: float, rtol: float, clock: Callable[[], float]
) -> tuple[list[Result], dict[str, str]]:
    """Checks the numbers of a row's sides, then times them; what could not be made comes back with its reason."""
    expected = makes[TORCH]().losses(10)
    works: dict[str, common.Work] = {}
    missing: dict[str, str] = {}
    spent: dict[str, float] = {}
    worst: dict[str, float] = {}
    for side, make in makes.items():
        started = time.perf_counter()
        try:
            work = make()
            losses = work.losses(10)
        except Exception as error:
            missing[side] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        spent[side] = time.perf_counter() - started
        worst[side] = difference(row, side, losses, expected, rtol)
        works[side] = work
    replaying(works.get(OURS))
    counts = {
        side: compare_torch.longest(work, compare_torch.repeats_for(work, slice_s)) for side, work in works.items()
    }
    gc.collect()
    times: dict[str, list[float]] = {side: [] for side in works}
    order = list(works)
    for r in range(rounds):
        for side in order[r % len(order) :] + order[: r % len(order)]:
            works[side].refresh()
            started = clock()
            works[side].run(counts[side])
            times[side].append((clock() - started) / counts[side])
    base = OURS if OURS in works else order[0]
    results = []
    for side in order:
        ratios = [t / b for t, b in zip(times[side], times[base], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
        ns = statistics.median(times[side]) * 1e9
        results.append(Result(row, side, ns, middle, low, high, rounds, spent[side], worst[side]))
    return results, missing


def difference(row: str, side: str, losses: list[float], expected: list[float], rtol: float) -> float:
    """The largest relative difference of the losses; compare_torch.Disagreement above rtol."""
    worst = 0.0
    for i, (a, b) in enumerate(zip(losses, expected, strict=True)):
        off = abs(a - b) / max(abs(b), 1e-3)
        if not off <= rtol:  # NaN does not pass either
            raise compare_torch.Disagreement(f"{row}: loss {i} of {side} is {a!r}, PyTorch's is {b!r}")
        worst = max(worst, off)
    return worst


def replaying(work: Any) -> None:
    """That a compiled step is one: eager steps under its name would be timed otherwise."""
    if work is None:
        return
    before = work.step.counters.replayed
    work.run(8)
    counters = work.step.counters
    if counters.replayed - before != 8:
        raise compare_torch.Disagreement(f"the compiled step does not replay: {counters}")


def recording(ours: Callable[[], Any], eager: Callable[[], Any], eager_ns: float, repeat: int = 9) -> float:
    """What recording adds: the calls before the first replay less the first calls of eager code, in eager steps."""
    added = []
    for _ in range(repeat):
        spent, calls = compiled.until_replay(ours())
        plain = eager()
        started = time.perf_counter()
        for _ in range(calls):
            plain.run(1)
        added.append(spent - (time.perf_counter() - started))
    return statistics.median(added) * 1e9 / eager_ns


def table(results: list[Result], recordings: dict[str, float], markdown: bool) -> list[str]:
    """One line per row: time of the compiled step, then per side its time and its ratio."""
    sides = [s for s in SIDES if any(r.side == s for r in results)]
    head = ["step", *(s if s == OURS else f"{s} (ratio, quartiles)" for s in sides), "recording adds"]
    cells = []
    for row in dict.fromkeys(r.row for r in results):
        found = {r.side: r for r in results if r.row == row}
        line = [row]
        for side in sides:
            r = found.get(side)
            if r is None:
                line.append("-")
            elif side == OURS:
                line.append(compare_torch.human(r.ns))
            else:
                line.append(f"{compare_torch.human(r.ns)} ({r.ratio:.2f}, {r.low:.2f}-{r.high:.2f})")
        cells.append([*line, f"{recordings[row]:.1f} eager steps" if row in recordings else "-"])
    if markdown:
        return ["| " + " | ".join(c) + " |" for c in (head, ["---", *["---:"] * (len(head) - 1)], *cells)]
    widths = [max(len(c[i]) for c in (head, *cells)) for i in range(len(head))]
    return ["  ".join(x.ljust(w) for x, w in zip(c, widths, strict=True)).rstrip() for c in (head, *cells)]


def versions() -> dict[str, str]:
    names = ("tapegrad", "torch", "jax", "optax", "numba", "numpy")
    present = [n for n in names if importlib.util.find_spec(n) is not None]
    return {n: importlib.import_module(n).__version__ for n in present}


def main(argv: list[str] | None = None) -> int:
    parser = compare_torch.options(__doc__)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE")
    args = compare_torch.arguments(parser, argv)
    if args.quick:
        args.sides = [s for s in args.sides if s != INDUCTOR]
    cores = one_core()
    try:
        ours, theirs = common.load("tapegrad"), common.load("torch")
    except NotImplementedError as missing:
        print(f"{missing}: nothing to compare", file=sys.stderr)
        return 2
    every = rows(ours, theirs, args.quick)
    chosen = {name: sides for name, sides in every.items() if re.search(args.rows, name)}
    if args.list or not chosen:
        print("\n".join([*every, *SIDES] if args.list else [f"no row matches {args.rows!r}"]))
        return 0 if args.list else 2
    clock = time.process_time if args.cpu_time else time.perf_counter
    context = {
        **versions(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": cores,
        "clock": "processor time" if args.cpu_time else "wall clock",
    }
    context["load"] = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    results: list[Result] = []
    recordings: dict[str, float] = {}
    failures: list[str] = []
    absent: dict[str, str] = {}
    for name, makes in chosen.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        wanted = {s: makes[s] for s in SIDES if s in {*args.sides, TORCH}}
        try:
            found, missing = compare(name, wanted, args.rounds, args.slice, args.rtol, clock)
        except compare_torch.Disagreement as failure:
            failures.append(str(failure))
            continue
        results += found
        absent |= {f"{name}: {side}": why for side, why in missing.items()}
        eager = [r.ns for r in found if r.side == EAGER]
        if eager and OURS in wanted:
            recordings[name] = recording(makes[OURS], makes[EAGER], eager[0])
    if args.json:
        report = {
            "context": context,
            "results": [asdict(r) for r in results],
            "recording_in_eager_steps": recordings,
            "failures": failures,
            "missing": absent,
        }
        print(json.dumps(report, indent=1))
    else:
        print(", ".join(f"{k}: {v}" for k, v in context.items()))
        print("\n".join(table(results, recordings, args.markdown)))
    for where, why in absent.items():
        print(f"left out: {where}: {why}", file=sys.stderr)
    for failure in failures:
        print("failed:", failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
