"""Peak memory of a training step, eager and compiled: an MLP of eight layers, batch 4096, width 512, SGD.

    python asv_bench/compiled_memory.py                  the figures
    python asv_bench/compiled_memory.py --batch 256 --width 64

Each way runs in a process of its own; all of it is `peak_bytes` of `memory_stats`, batch and parameters included.
"compiled" is one replay, with what the program holds between calls; "told" is what `plan_memory` said before
the first replay. "within" is the program that computes values of the forward pass again so as to stay below
`--share` of eager's peak, or as near as that comes. `zero_grad` is called at the end of a step (gradients are
not seen then, and need no memory of their own), or at its beginning. The peak of the recordings before the
first replay, which are eager calls, is shown too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks import common

MIB = 2**20


def work(torch: Any, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The step and its batch."""
    torch.manual_seed(0)
    parts: list[Any] = []
    for _ in range(args.layers):
        parts += [torch.nn.Linear(args.width, args.width), torch.nn.ReLU()]
    model = torch.nn.Sequential(*parts[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_of = torch.nn.MSELoss()

    def step(x: Any, t: Any) -> Any:
        if args.zero == "first":
            optimizer.zero_grad()
        loss = loss_of(model(x), t)
        loss.backward()
        optimizer.step()
        if args.zero == "last":
            optimizer.zero_grad()
        return loss

    return step, torch.randn(args.batch, args.width), torch.randn(args.batch, args.width)


def program_of(f: Any) -> Any:
    """The program of a compiled function, or None while it records."""
    return next((s.entries[0].program for s in f._signatures.values() if s.entries), None)


def fastest(f: Any, x: Any, t: Any, repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f(x, t)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(args: argparse.Namespace) -> dict[str, float]:
    """What one process finds."""
    torch = common.load("tapegrad")
    step, x, t = work(torch, args)
    if args.way == "eager":
        for _ in range(3):
            step(x, t)
        return {"peak": torch.memory_stats()["peak_bytes"], "seconds": fastest(step, x, t, args.repeat)}
    from tapegrad.replay.planning import plan_memory
    from tapegrad.tape import _storage

    f = torch.compile(step, fullgraph=True, options={"memory_limit": int(args.limit)} if args.limit else None)
    while program_of(f) is None:
        f(x, t)
    plan = plan_memory(program_of(f))
    recorded = torch.memory_stats()["peak_bytes"]
    _storage.reset_peak()
    f(x, t)
    if f.counters.replayed != 1:
        raise RuntimeError(f"the call was not replayed: {f.counters}")
    return {
        "peak": torch.memory_stats()["peak_bytes"],
        "told": plan.total,
        "recording": recorded,
        "arena": plan.arena + plan.scratch,
        "unshared": plan.unshared,
        "fresh": plan.fresh,
        "seconds": fastest(f, x, t, args.repeat),
    }


def in_a_process(args: argparse.Namespace, way: str, zero: str, limit: float = 0) -> dict[str, float]:
    numbers = [str(v) for k in ("layers", "batch", "width", "repeat") for v in (f"--{k}", getattr(args, k))]
    call = [sys.executable, __file__, "--way", way, "--zero", zero, "--limit", str(limit), *numbers]
    found: dict[str, float] = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    return found


def main(argv: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5, help="steps timed, of which the fastest counts (5)")
    parser.add_argument("--share", type=float, default=0.7, help="of eager's peak that `within` may hold (0.7)")
    parser.add_argument("--way", choices=["eager", "compiled"], help=argparse.SUPPRESS)
    parser.add_argument("--zero", choices=["first", "last"], help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.way:
        print(json.dumps(measure(args)))
        return 0
    print(f"{args.layers} layers, batch {args.batch}, width {args.width}; MiB of peak memory, ms per step")
    for zero in ("last", "first"):
        eager = in_a_process(args, "eager", zero)
        print(f"zero_grad {zero}: eager {eager['peak'] / MIB:.2f} MiB, {eager['seconds'] * 1e3:.1f} ms")
        for name, limit in (("compiled", 0.0), ("within", args.share * eager["peak"])):
            found = in_a_process(args, "compiled", zero, limit)
            print(
                f"  {name:<8} {found['peak'] / MIB:.2f} MiB (told {found['told'] / MIB:.2f}), ratio "
                f"{found['peak'] / eager['peak']:.3f}, {found['seconds'] * 1e3:.1f} ms; arena and scratch "
                f"{found['arena'] / MIB:.2f} of {found['unshared'] / MIB:.2f}, new each run "
                f"{found['fresh'] / MIB:.2f}; while recording {found['recording'] / MIB:.2f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
