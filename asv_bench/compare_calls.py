"""Every public function beside PyTorch's, at several sizes, in turn, in one process, on one thread.

    python asv_bench/compare_calls.py                     every call
    python asv_bench/compare_calls.py --rows 'stack|cat'  rows whose text matches
    python asv_bench/compare_calls.py --sizes 10,10k      these sizes only (10, 10k, 1M)
    python asv_bench/compare_calls.py --quick             a smoke test in under a minute: smallest size, few rounds

The calls stand in benchmarks/calls.py. Before a call is timed its values (and gradients) are compared; a call
whose numbers differ is not timed and makes the run fail. Then come rounds: a slice of one library, a slice of the
other, the first place changing from round to round. The ratio is our time over PyTorch's within a round, the
median over the rounds: below 1 is faster. The slowest come first; a row above 1.1 carries its reason, if any.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import timeit
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmarks import common  # also pins the thread counts before NumPy is loaded

# isort: split

import numpy as np
from benchmarks import calls
from compare_torch import human

SLOWER = 1.1  # a row above this is said to be slower


@dataclass
class Row:
    """One call: medians in nanoseconds, and our time over PyTorch's."""

    call: str
    size: str
    backward: bool
    ours_ns: float
    theirs_ns: float
    ratio: float

    @property
    def reason(self) -> str:
        """Why it is slower, where that is known."""
        if self.ratio <= SLOWER:
            return ""
        text = f"{self.call} {self.size}{' backward' if self.backward else ''}"
        return next((why for pattern, why in calls.REASONS.items() if re.search(pattern, text)), "?")


class Disagreement(Exception):
    """The two libraries computed different numbers."""


def _arrays(value: Any) -> list[Any]:
    """The tensors and numbers in a result, as arrays."""
    if hasattr(value, "detach"):
        return [np.asarray(value.detach().cpu().numpy())]
    if isinstance(value, (tuple, list)):
        return [a for part in value for a in _arrays(part)]
    return [np.asarray(value)] if isinstance(value, (bool, int, float)) else []


def compare_values(call: str, ours: Any, theirs: Any, values: bool) -> None:
    """Disagreement unless both have the same shapes and, if `values`, the same numbers."""
    a, b = _arrays(ours), _arrays(theirs)
    if [(x.shape, x.dtype) for x in a] != [(x.shape, x.dtype) for x in b]:
        raise Disagreement(f"{call}: results of other shapes or types")
    if not values:
        return
    for x, y in zip(a, b, strict=True):
        scale = float(np.nanmax(np.abs(y.astype(np.float64)))) if y.size else 1.0
        if not np.allclose(x.astype(np.float64), y.astype(np.float64), 1e-3, 1e-5 * max(1.0, scale), equal_nan=True):
            raise Disagreement(f"{call}: other numbers")


def letters(call: str) -> list[str]:
    """The leaves that a call uses."""
    return [letter for letter in calls.LEAVES if re.search(rf"(?<![\w.]){letter}\b(?!=)", call)]


def is_statement(call: str) -> bool:
    return call.startswith("for ")


def in_place(call: str) -> bool:
    return re.search(r"\w_\(", call) is not None


class Pair:
    """One call at one size in both libraries, with or without its backward."""

    def __init__(self, call: str, ours: dict[str, Any], theirs: dict[str, Any], backward: bool) -> None:
        self.call = call
        self.sides = (dict(ours), dict(theirs))
        self.backward = backward
        used = letters(call)
        self.used = used
        self.statement = call
        if backward:
            reset = "; ".join(f"{letter}.grad = None" for letter in used)
            self.statement = f"out = {call}; (out[0] if type(out) is not type(g) else out).backward(g); {reset}"
            for side in self.sides:
                out = eval(call, side)
                side["g"] = side["torch"].ones_like((out[0] if isinstance(out, tuple) else out).detach())

    def check(self) -> None:
        """Disagreement where values or gradients differ."""
        if is_statement(self.call):
            return
        results = [eval(self.call, side) for side in self.sides]
        same = not re.search(calls.RANDOM, self.call)
        compare_values(self.call, *results, same)
        if not self.backward:
            return
        gradients = []
        for side, out in zip(self.sides, results, strict=True):
            (out[0] if isinstance(out, tuple) else out).backward(side["g"])
            gradients.append([side[letter].grad for letter in self.used])
            for letter in self.used:
                side[letter].grad = None
        compare_values(self.call + " backward", *gradients, same)

    def time(self, rounds: int, slice_s: float) -> tuple[float, float, float]:
        """Medians of nanoseconds on either side, and of the ratio."""
        timers = [timeit.Timer(self.statement, globals=side) for side in self.sides]
        counts = []
        for timer in timers:
            timer.timeit(2)
            took = max(timer.timeit(3) / 3, 1e-8)
            counts.append(max(1, round(slice_s / took)))
        times: tuple[list[float], list[float]] = ([], [])
        for r in range(rounds):
            for side in (0, 1) if r % 2 == 0 else (1, 0):
                times[side].append(timers[side].timeit(counts[side]) / counts[side] * 1e9)
        ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
        return statistics.median(times[0]), statistics.median(times[1]), ratio


def is_differentiable(call: str, theirs: dict[str, Any]) -> bool:
    if not letters(call) or is_statement(call) or in_place(call):
        return False
    out = eval(call, dict(theirs))
    out = out[0] if isinstance(out, tuple) and out else out
    if not hasattr(out, "requires_grad") or not out.requires_grad or out.numel() == 0:
        return False
    try:
        out.sum().backward()
    except RuntimeError:  # such as floor_divide, whose result has a node that refuses
        return False
    for letter in letters(call):
        theirs[letter].grad = None
    return True


def rows(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Every chosen row timed, and what went wrong."""
    ours, theirs = common.load(args.ours), common.load("torch")
    for torch in (ours, theirs):
        _ = torch.nn.functional, torch.utils.data
    found, failures = [], []
    for size in args.sizes:
        n = calls.SIZES[size]
        plain = [calls.names(torch, n, False) for torch in (ours, theirs)]
        graph = [calls.names(torch, n, True) for torch in (ours, theirs)]
        for call in [*calls.EVERY_SIZE, *(calls.ONE_SIZE if n == 10 else [])]:
            if not re.search(args.rows, call):
                continue
            for backward in (False, True):
                if backward and args.forward:
                    continue
                try:
                    if backward and not is_differentiable(call, graph[1]):
                        continue
                    pair = Pair(call, *(graph if backward else plain), backward)
                    pair.check()
                    found.append(Row(call, size, backward, *pair.time(args.rounds, args.slice)))
                except Disagreement as failure:
                    failures.append(f"{failure}, {size}")
                except Exception as failure:
                    failures.append(f"{call}, {size}: {type(failure).__name__}: {failure}")
    return found, failures


def report(found: list[Row]) -> list[str]:
    """The table as lines of text, slowest first, with the quartiles on top."""
    ratios = [row.ratio for row in found]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [*ratios, *ratios, *ratios]
    slower = sum(r > SLOWER for r in ratios)
    unnamed = sum(row.reason == "?" for row in found)
    lines = [
        f"{len(found)} rows; our time over PyTorch's: median {middle:.2f}, quartiles {low:.2f} and {high:.2f}; "
        f"{slower} above {SLOWER}, {unnamed} of them without a reason"
    ]
    width = max(len(row.call) for row in found)
    for row in sorted(found, key=lambda row: -row.ratio):
        kind = "forward+backward" if row.backward else "forward"
        lines.append(
            f"{row.ratio:6.2f}  {human(row.ours_ns):>9} {human(row.theirs_ns):>9}  {row.size:>4}  {kind:<16}  "
            f"{row.call:<{width}}  {row.reason}".rstrip()
        )
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="REGEX", default="", help="only calls whose text matches")
    parser.add_argument("--sizes", default=",".join(calls.SIZES), help="sizes, with commas between (10,10k,1M)")
    parser.add_argument("--forward", action="store_true", help="no rows with a backward")
    parser.add_argument("--rounds", type=int, default=15, help="rounds per row (15)")
    parser.add_argument("--slice", type=float, default=0.001, help="seconds per side and round (0.001)")
    parser.add_argument("--quick", action="store_true", help="the smallest size, 3 rounds of 0.2 ms")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ours", default="tapegrad", help=argparse.SUPPRESS)  # "torch": the script on itself
    args = parser.parse_args(argv)
    args.sizes = args.sizes.split(",")
    if args.rounds < 1 or args.slice <= 0 or not set(args.sizes) <= set(calls.SIZES):
        parser.error(f"--rounds and --slice must be positive, --sizes some of {', '.join(calls.SIZES)}")
    if args.quick:
        args.sizes, args.rounds, args.slice = ["10"], 3, 0.0002
    try:
        found, failures = rows(args)
    except NotImplementedError as missing:
        print(f"{missing}: nothing to compare", file=sys.stderr)
        return 2
    if not found and not failures:
        print(f"no row matches {args.rows!r}")
        return 2
    if args.json:
        print(json.dumps({"results": [asdict(r) | {"reason": r.reason} for r in found], "failures": failures}))
    elif found:
        print("\n".join(report(found)))
    for failure in failures:
        print("numbers differ:", failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
