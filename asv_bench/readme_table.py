"""Writes README's performance block again, from runs of the comparisons on this machine.

    python asv_bench/readme_table.py                 runs everything and rewrites the block (many minutes)
    python asv_bench/readme_table.py --print         shows the block instead
    python asv_bench/readme_table.py --keep FOLDER   keeps the runs' results there, one JSON file each
    python asv_bench/readme_table.py --from FOLDER   makes the block of results kept before
    python asv_bench/readme_table.py --check         only whether the block has the form that this writes

The block lies between `<!-- performance:begin -->` and `<!-- performance:end -->`; nothing in it is
written by hand, and a test checks its form.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import compare_compiled
import compare_torch

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- performance:begin -->", "<!-- performance:end -->"
RUNS = {
    "eager": ["compare_torch.py", "--json"],
    "compiled": ["compare_compiled.py", "--json"],
    "start": ["first_step.py", "--json"],
}
NUMBER = re.compile(r"\d+(\.\d+)*(\+cpu)?")
MACHINE = re.compile(r"^On .* CPython")


def machine() -> str:
    """The processor in words."""
    name, flags = platform.processor() or platform.machine(), ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip().replace("(R)", "").replace("(TM)", "")
        if key.strip() == "flags" and " avx512f" in value:
            flags = " with AVX-512"
    return f"{os.cpu_count()} cores of {name}{flags}"


def render(results: dict[str, Any], where: str) -> str:
    """The block's text from the results of the runs, by name."""
    eager, compiled = results["eager"], results["compiled"]
    versions = compiled["context"]
    names = (eager["context"]["ours"], eager["context"]["theirs"])
    rows = [compare_torch.Result(**r) for r in eager["results"]]
    steps = [compare_compiled.Result(**r) for r in compiled["results"]]
    used = ", ".join(f"{n} {versions[n]}" for n in ("torch", "jax", "optax", "numba") if n in versions)
    return "\n".join(
        [
            f"On {where}, CPython {versions['python']}, {used}; float32, {versions['threads']}, {versions['clock']},",
            f"load average {versions['load']}. Where that is above the number of cores, other work was in the way of",
            "the caches, and the figures say little.",
            "Another processor gives other numbers: `python asv_bench/readme_table.py` writes this block again.",
            "",
            "Whole training steps. The figure in brackets is the time over that of compiled tapegrad, the median over",
            "the rounds and its quartiles; `by hand` is one `@njit` function with the derivative written out. The last",
            "column says how many eager steps the calls before the first replay take beyond the steps they do.",
            "",
            *compare_compiled.table(steps, compiled["recording_in_eager_steps"], markdown=True),
            "",
            "Eager code. The ratio is PyTorch's time over tapegrad's.",
            "",
            *compare_torch.lines(rows, True, names),
            "",
            "In fresh processes:",
            "",
            *start_table(results["start"]),
        ]
    )


def start_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| library | import | to the end of the first step, warm | with an empty cache |",
        "| --- | ---: | ---: | ---: |",
    ]
    for r in rows:
        cells = (f"{r[k]:.2f} s" for k in ("import_s", "warm_first_step_s", "cold_first_step_s"))
        lines.append(f"| {r['library']} | " + " | ".join(cells) + " |")
    return lines


def split(text: str) -> tuple[str, str, str]:
    """README before the block, in it, and behind it."""
    before, found, rest = text.partition(BEGIN)
    block, ended, after = rest.partition(END)
    if not found or not ended:
        raise SystemExit(f"README.md has no block between {BEGIN} and {END}")
    return before, block.strip("\n"), after


def form(block: str) -> list[str]:
    """The block without its measurements: sentences, columns, names of rows."""
    lines = []
    for line in block.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            name, *cells = line.strip("| ").split(" | ")
            masked = (NUMBER.sub("#", c).replace("ns", "us").replace("ms", "us") for c in cells)
            lines.append(" | ".join([name, *masked]))
        else:
            lines.append(NUMBER.sub("#", MACHINE.sub("On this machine, CPython", line)))
    return lines


def example() -> dict[str, Any]:
    """Results of a run that measured nothing: every row and side, for the form."""
    row: dict[str, Any] = {"ratio": 1.5, "low": 1.5, "high": 1.5, "rounds": 3, "loss_difference": 0.0}
    units = {"op forward add": "op", "op forward mul": "op", "op forward tanh": "op", "op forward sum": "op"}
    eager = []
    for name in compare_torch.rows():
        unit = next((u for start, u in units.items() if name.startswith(start)), "step")
        unit = "pass" if name.startswith("op forward+backward") else "op" if name.startswith("chain") else unit
        eager.append({"name": name, "unit": unit, "ours_ns": 1e5, "theirs_ns": 1e5, **row})
    makes = compare_compiled.rows(None, None)
    steps = [
        {"row": name, "side": side, "ns": 1e5, "preparation_s": 1.0, **row}
        for name, sides in makes.items()
        for side in sides
    ]
    names = ("torch", "jax", "optax", "numba", "python")
    times = {"import_s": 1.5, "warm_first_step_s": 1.5, "cold_first_step_s": 1.5}
    return {
        "eager": {"context": {"ours": "tapegrad 0.1.0", "theirs": "torch 2.13.0+cpu"}, "results": eager},
        "compiled": {
            "context": {**dict.fromkeys(names, "1.5"), "threads": "one core", "clock": "wall clock", "load": "1.5"},
            "results": steps,
            "recording_in_eager_steps": dict.fromkeys(makes, 10.0),
        },
        "start": [{"library": name, **times} for name in ("tapegrad", "torch")],
    }


def same_form(block: str) -> list[str]:
    """The lines of the block that are not what this script writes; a figure may be `-`, not measured."""
    wanted, found = form(render(example(), "this machine")), form(block)
    wrong = [
        f"{b!r} in place of {a!r}"
        for a, b in zip(wanted, found, strict=False)
        if len(a.split(" | ")) != len(b.split(" | "))
        or any(
            p.replace("processor time", "wall clock") != q.replace("processor time", "wall clock") and q != "-"
            for p, q in zip(a.split(" | "), b.split(" | "), strict=False)
        )
    ]
    if len(wanted) != len(found):
        wrong.append(f"{len(found)} lines in place of {len(wanted)}")
    return wrong


def measure(options: list[str]) -> dict[str, Any]:
    results = {}
    for name, command in RUNS.items():
        extra = options if name != "start" else [o for o in options if o == "--quick"]
        done = subprocess.run([sys.executable, HERE / command[0], *command[1:], *extra], stdout=subprocess.PIPE)
        if done.returncode:
            raise SystemExit(f"{command[0]} failed; README.md stays as it is")
        results[name] = json.loads(done.stdout)
    return results


def main(argv: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--print", action="store_true", dest="show", help="show the block, change nothing")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the results of the runs there")
    parser.add_argument("--from", type=Path, metavar="FOLDER", dest="source", help="results kept before")
    parser.add_argument("--check", action="store_true", help="check the form of the block, run nothing")
    parser.add_argument("--cpu-time", action="store_true", help="by the processor's clock")
    parser.add_argument("--quick", action="store_true", help="runs of a few seconds, for a try")
    args = parser.parse_args(argv)
    before, block, after = split(README.read_text(encoding="utf-8"))
    if args.check:
        wrong = same_form(block)
        print("\n".join(wrong) or "the block has the generated form")
        return 1 if wrong else 0
    if args.source:
        results = {name: json.loads((args.source / f"{name}.json").read_text()) for name in RUNS}
    else:
        results = measure([f"--{o}" for o in ("quick", "cpu-time") if getattr(args, o.replace("-", "_"))])
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for name, result in results.items():
            (args.keep / f"{name}.json").write_text(json.dumps(result, indent=1))
    new = render(results, machine())
    if args.show:
        print(new)
    else:
        README.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
