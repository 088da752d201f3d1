"""What the tests of passes share: programs made by hand, and recorded steps run both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tapegrad as torch
from tapegrad._layout import FRAME_GX, FRAME_GX_N, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_STEP, FRAME_WORDS, FRAME_Y
from tapegrad.dtypes import float32
from tapegrad.ops.registry import BY_NAME, kernel
from tapegrad.replay import layout
from tapegrad.replay.effects import Effects
from tapegrad.replay.logged_steps import copy_step
from tapegrad.replay.program import INSIDE, OUTSIDE, Operand, Program, Step

F = torch.nn.functional
DT = float32.index


class Hand:
    """A program on float32 vectors of n elements, written line by line."""

    def __init__(self, n: int = 40) -> None:
        self.n = n
        self.tensors: list[Any] = []
        self.program = Program({}, [], set(), Effects([], [], [], None, [], self.tensors, [], {}, frozenset(), (), ()))

    def inside(self, n: int | None = None) -> int:
        return self.program.new_buffer(4 * (n or self.n), INSIDE).number

    def outside(self, values: Any = None) -> int:
        random = np.random.default_rng(len(self.tensors))
        data = random.random(self.n, np.float32) + 0.5 if values is None else np.asarray(values, np.float32)
        self.tensors.append(torch.tensor(data))
        return self.program.new_buffer(4 * len(data), OUTSIDE, self.tensors[-1]).number

    def forward(self, name: str, out: int, *inputs: int | tuple[int, int], steps: tuple[int, ...] = (1, 1, 1)) -> None:
        op = BY_NAME[name]
        frame = [0] * FRAME_WORDS
        frame[FRAME_N] = self.n
        operands = {FRAME_OUT: Operand(out, 0)}
        for k, x in enumerate(inputs):
            frame[FRAME_STEP + k] = steps[k]
            operands[FRAME_IN + k] = Operand(*x) if isinstance(x, tuple) else Operand(x, 0)
        reads = frozenset(FRAME_IN + k for k in range(len(inputs)))
        self.add(Step(
            op.id, 0, 0, DT, kernel(op.id, 0, 0, DT), self.n, tuple(frame), operands, reads, frozenset({FRAME_OUT})
        ))  # fmt: skip

    def backward(self, name: str, gx: int, g: int, y: int) -> None:
        """The derivative of a unary op that reads its result."""
        op = BY_NAME[name]
        frame = [0] * FRAME_WORDS
        frame[FRAME_N] = frame[FRAME_GX_N] = self.n
        frame[FRAME_STEP] = 1
        operands = {FRAME_OUT: Operand(g, 0), FRAME_Y: Operand(y, 0), FRAME_GX: Operand(gx, 0)}
        reads, writes = frozenset({FRAME_OUT, FRAME_Y}), frozenset({FRAME_GX})
        self.add(Step(op.id, 1, 0, DT, kernel(op.id, 1, 0, DT), self.n, tuple(frame), operands, reads, writes))

    def copy(self, out: int, source: int, at: int = 0) -> None:
        self.add(copy_step(Operand(out, 0), Operand(source, at), 4 * self.n))

    def add(self, step: Step) -> None:
        self.program.steps.append(step)

    def results(self, program: Program | None = None) -> list[bytes]:
        """What the tensors from outside hold after a run, which is undone."""
        before = [t.numpy().copy() for t in self.tensors]
        machine, _, _ = layout.lay_out(program or self.program)
        done, _ = machine.run(())
        assert done
        found = [t.numpy().tobytes() for t in self.tensors]
        for t, data in zip(self.tensors, before, strict=True):
            t.numpy()[...] = data
        return found

    def after(self, change: Callable[[Program], Program]) -> Program:
        """The program after a pass, which leaves the results what they are."""
        changed = change(self.program)
        assert self.results(changed) == self.results()
        return changed


def entry_of(f: Any) -> Any:
    """The newest program of a compiled function."""
    return next(s.entries[0] for s in f._signatures.values() if s.entries)


def contents(parameters: list[Any], optimizer: Any) -> list[Any]:
    tensors = [*parameters, *(p.grad for p in parameters)]
    if optimizer is not None:
        tensors += [v for p in parameters for v in optimizer.state[p].values()]
    return [t if not isinstance(t, torch.Tensor) else t.detach().numpy().tobytes() for t in tensors]


def history(build: Callable[[], Any], compiled: bool, calls: int = 7) -> tuple[list[Any], Any]:
    """(everything that can be seen after each call, the step); `build` gives (step, parameters, optimizer)."""
    torch.manual_seed(3)
    step, parameters, optimizer = build()
    f = torch.compile(step, fullgraph=True) if compiled else step
    random = np.random.default_rng(1)
    seen: list[Any] = []
    for _ in range(calls):
        x = torch.tensor(random.standard_normal((6, 8)).astype(np.float32))
        t = torch.tensor(random.integers(0, 4, 6))
        result = f(x, t)
        seen.append(None if result is None else result.detach().numpy().tobytes())
        seen.append(contents(parameters, optimizer))
    return seen, f


def check(build: Callable[[], Any], calls: int = 7) -> Any:
    """Eager and compiled calls leave the same bits; the entry that was replayed."""
    expected, _ = history(build, False, calls)
    found, f = history(build, True, calls)
    assert f.counters.replayed >= 2, f.counters
    assert found == expected
    return entry_of(f)
