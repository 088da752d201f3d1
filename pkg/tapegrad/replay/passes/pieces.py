"""What fusion can take of a step: its part as formulas on elements, or a reduction of all that is computed.

Taken are flat pointwise calls (values and derivatives; the additions of gradients are such calls), the
derivatives of sums and means over everything, which spread one number, and as the last part of a chain sums
and means over everything or over the last dimension.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..._layout import FRAME_ACC, FRAME_GX, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_STEP, FRAME_Y
from ...dtypes import DTYPES, int64
from ...ops.registry import BY_NAME
from ...ops.scalars import scalar
from ..program import Operand, Step
from .dependence import flat_accesses

__all__ = ["Call", "Cell", "Number", "Piece", "piece_of"]

SHORTEST_ROW = 64  # a row costs a call: shorter ones are reduced as fast from memory


class Cell(NamedTuple):
    """Elements in memory: n of them (`full`) or one."""

    operand: Operand
    dt: int
    full: bool


class Number(NamedTuple):
    """A number given by value."""

    dt: int
    data: bytes


class Call(NamedTuple):
    """One formula; an argument is a Cell, a Number, None where it is not read, or "before": the last call's value."""

    op: int
    role: int
    dt: int
    args: tuple[object, ...]
    params: bytes | None = None


@dataclass
class Piece:
    """`calls` (or, if there are none, `value` itself) make n elements for `target`; or `reduction` takes `value`."""

    n: int
    calls: tuple[Call, ...]
    value: Cell | None
    target: Cell | None
    reduction: tuple[int, int, tuple[int, int, int], Operand] | None = None  # op, dt, sizes, result

    def cells(self) -> list[Cell]:
        """What is read."""
        found = [a for c in self.calls for a in c.args if isinstance(a, Cell)]
        return found if self.value is None else [*found, self.value]

    def nbytes(self) -> int:
        """Bytes that the step moves by itself."""
        cells = self.cells() if self.target is None else [*self.cells(), self.target]
        return self.n * sum(DTYPES[c.dt].itemsize for c in cells if c.full)


def piece_of(step: Step) -> Piece | None:
    """The piece that a step is, or None."""
    if step.generator is not None or step.update is not None or step.table or step.op < 0:
        return None
    if step.pointwise:
        return _pointwise(step)
    name = step.declaration.name if step.declaration is not None else ""
    if name in ("sum", "mean") and step.words is not None:
        outer, n, inner = struct.unpack_from("3q", step.words)
        if step.role == 0:
            return _reduction(step, outer, n, inner)
        return _spread(step, outer * inner, n, name == "mean")
    return None


def _undefined(step: Step) -> bool:
    """Whether numbers become integers that may not hold them: what comes out must not depend on other formulas.

    A cast, and arithmetic of int64: where the compiler sees what becomes of a sum, it takes it not to overflow.
    """
    op = step.declaration
    assert op is not None
    if DTYPES[step.dt] is int64 and (op.result is None or op.result is int64):
        return True
    whole = op.result is not None and not op.result.is_floating_point and op.name.startswith("to_")
    return whole and DTYPES[step.dt].is_floating_point


def _pointwise(step: Step) -> Piece | None:
    if flat_accesses(step) is None or _undefined(step):
        return None
    formula = scalar(step.op, step.role, step.dt)
    n = step.frame[FRAME_N]
    if formula is None or n == 0:
        return None
    numbers = dict(step.scalars)
    args: list[object] = []
    words = [FRAME_IN + k for k in range(len(formula.takes))]
    if step.role > 0:
        words = [FRAME_OUT, *words[:-2], FRAME_Y]
    for word, t in zip(words, formula.takes, strict=True):
        if t is None:
            args.append(None)
        elif word in step.reads:
            k = word - FRAME_IN
            full = not 0 <= k < 3 or n == 1 or step.frame[FRAME_STEP + k] == 1
            args.append(Cell(step.operands[word], t.index, full))
        elif word in numbers:
            args.append(Number(t.index, numbers[word]))
        else:
            return None
    if formula.params and step.params is None:
        return None
    call = Call(step.op, step.role, step.dt, tuple(args), step.params if formula.params else None)
    return Piece(n, (call,), None, Cell(step.target, formula.gives.index, True))


def _spread(step: Step, numbers: int, n: int, mean: bool) -> Piece | None:
    if numbers != 1 or n == 0:
        return None
    dt = step.dt
    g = Cell(step.operands[FRAME_OUT], dt, n == 1)
    target = Cell(step.operands[FRAME_GX], dt, True)
    calls: list[Call] = []
    if mean:
        count = DTYPES[dt].numpy.type(np.int64(n)).tobytes()
        calls.append(Call(BY_NAME["div"].id, 0, dt, (g, Number(dt, count))))
    if step.frame[FRAME_ACC] == 1:
        calls.append(Call(BY_NAME["add"].id, 0, dt, (target, "before" if mean else g)))
    return Piece(n, tuple(calls), None if calls else g, target)


def _reduction(step: Step, outer: int, n: int, inner: int) -> Piece | None:
    if inner != 1 or outer == 0 or n == 0 or (outer > 1 and n < SHORTEST_ROW):
        return None
    value = Cell(step.operands[FRAME_IN], step.dt, True)
    result = (step.op, step.dt, (outer, n, inner), step.operands[FRAME_OUT])
    return Piece(outer * n, (), value, None, result)
