"""Start-up times of tapegrad and PyTorch, each reading in a fresh process with a cache folder of its own.

    python asv_bench/first_step.py            import, and the first training step cold and warm
    python asv_bench/first_step.py --quick    one reading of each
    python asv_bench/first_step.py --kernels  the first use of each of thirty kernels that are on disk

The child loads its arrays from an .npz file, so that scikit-learn is not imported. A step's clock
starts when the parent starts the process and stops when the parent reads that the step is done.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

CHILD = """
import sys, time
before = time.perf_counter()
import {library} as torch
imported = time.perf_counter() - before
import numpy as np
if {step}:
    torch.set_num_threads(1)
    data = np.load({arrays!r})
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.ReLU(),
        torch.nn.Linear(32, 32), torch.nn.ReLU(),
        torch.nn.Linear(32, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.zero_grad()
    loss = torch.nn.CrossEntropyLoss()(model(x), y)
    loss.backward()
    optimizer.step()
    loss = loss.item()
else:
    loss = 0.0
heavy = [name for name in ("numba", "llvmlite", "scipy", "sklearn") if name in sys.modules]
print(imported, loss, ",".join(heavy) or "-", flush=True)
"""


# The second call tells what the operation itself takes, so that the difference is that of the first use.
KERNELS = """
import sys, time
import tapegrad as torch
torch.set_num_threads(1)
x = torch.rand(10, 10) + 0.5
x @ x  # loads BLAS, and with what is below the plans' modules
uses = [lambda name=name: getattr(torch, name)(x) for name in (
    "exp log log1p expm1 tanh sigmoid sqrt rsqrt sin cos relu abs neg floor ceil square reciprocal sign trunc".split())]
uses += [lambda: x + x, lambda: x * x, lambda: x - x, lambda: x / x, lambda: x < x, lambda: torch.maximum(x, x),
         lambda: x.sum(), lambda: x.mean(), lambda: x.amax(), lambda: x.softmax(1), lambda: torch.cat([x, x])]
for use in uses:
    start = time.perf_counter()
    use()
    middle = time.perf_counter()
    use()
    print(2 * middle - start - time.perf_counter())
print(torch.native.statistics()["compiled"])
"""


def first_uses(repeat: int) -> list[float]:
    """Seconds that the first use of each kernel takes beyond the second, the median over fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "TAPEGRAD_CACHE_DIR": folder, "OMP_NUM_THREADS": "1", "TAPEGRAD_QUIET": "1"}
        readings = []
        for k in range(repeat + 1):
            command = [sys.executable, "-c", KERNELS]
            done = subprocess.run(command, env=env, text=True, check=True, stdout=subprocess.PIPE)
            *seconds, compiled = map(float, done.stdout.split())
            if k > 0:  # the first process has filled the folder
                assert compiled == 0
                readings.append(seconds)
    return [statistics.median(column) for column in zip(*readings, strict=True)]


@dataclass
class Reading:
    """One fresh process: seconds to its end of work, seconds of the import inside it."""

    seconds: float
    imported: float
    loss: float
    heavy: str  # which of the heavy modules it ended up importing


def measure(library: str, folder: Path, step: bool = True) -> Reading:
    """Runs the child once; `folder` holds the arrays and the object cache, and decides cold or warm."""
    arrays = folder / "arrays.npz"
    if not arrays.exists():
        random = np.random.default_rng(0)
        x = random.random((32, 64), dtype=np.float32)
        np.savez(arrays, x=x, y=random.integers(0, 10, 32))
    env = {**os.environ, "TAPEGRAD_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    env |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    code = CHILD.format(library=library, step=step, arrays=str(arrays))
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        seconds = time.perf_counter() - started
    if child.returncode or not line:
        raise RuntimeError(f"the child process with {library} failed")
    imported, loss, heavy = line.split()
    return Reading(seconds, float(imported), float(loss), heavy)


def table(libraries: list[str], repeat: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folders = {library: Path(name) / library for library in libraries}
        for folder in folders.values():
            folder.mkdir()
        cold = {library: measure(library, folders[library]) for library in libraries}
        imports: dict[str, list[Reading]] = {library: [] for library in libraries}
        warm: dict[str, list[Reading]] = {library: [] for library in libraries}
        for _ in range(repeat):  # in turn, so that a slow minute hits all alike
            for library in libraries:
                imports[library].append(measure(library, folders[library], step=False))
                warm[library].append(measure(library, folders[library]))
    for library in libraries:
        rows.append(
            {
                "library": library,
                "import_s": statistics.median(r.imported for r in imports[library]),
                "cold_first_step_s": cold[library].seconds,
                "warm_first_step_s": statistics.median(r.seconds for r in warm[library]),
                "warm_worst_s": max(r.seconds for r in warm[library]),
                "heavy_modules_when_warm": warm[library][-1].heavy,
                "loss": asdict(cold[library])["loss"],
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--libraries", nargs="+", default=["tapegrad", "torch"])
    parser.add_argument("--repeat", type=int, default=7, help="fresh processes per warm reading (7)")
    parser.add_argument("--quick", action="store_true", help="one process per reading")
    parser.add_argument("--kernels", action="store_true", help="first uses of single kernels")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.kernels:
        uses = sorted(1e3 * s for s in first_uses(1 if args.quick else args.repeat))
        print(f"first uses of {len(uses)} kernels: {sum(uses):.1f} ms in all, median {statistics.median(uses):.2f} ms,")
        print(f"fastest {uses[0]:.2f} ms, slowest {uses[-1]:.2f} ms")
        return 0
    present = [name for name in args.libraries if importlib.util.find_spec(name) is not None]
    rows = table(present, 1 if args.quick else args.repeat)
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print(
            f"{row['library']:10}  import {row['import_s']:.3f} s   "
            f"first step: cold {row['cold_first_step_s']:.2f} s, "
            f"warm {row['warm_first_step_s']:.3f} s (worst {row['warm_worst_s']:.3f})   "
            f"imported when warm: {row['heavy_modules_when_warm']}"
        )
    for missing in sorted(set(args.libraries) - set(present)):
        print(f"{missing:10}  not installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
