"""Pointwise ops as formulas on single elements, for kernels that are composed of several."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import native
from ..dtypes import DTYPES, dtype
from .registry import OPS, types_of

__all__ = ["Scalar", "scalar"]


class Scalar(NamedTuple):
    """A pointwise op's value (or derivative) for one element, to be composed with others.

    Called with values of the types `takes` (None: the argument is not read) and, where `params` is true, a
    pointer to the parameters, of type `compute`; the result is to be cast to `gives`, as the loops do.
    """

    formula: Any
    takes: tuple[dtype | None, ...]
    gives: dtype
    compute: dtype
    params: bool


def scalar(op_id: int, role: int, dt: int) -> Scalar | None:
    """The formula behind `kernel` of a pointwise op: for role 0 of (inputs...), else of (g, inputs..., y)."""
    op = OPS[op_id]
    compute = DTYPES[dt]
    types = types_of(op, compute)
    inputs = [types[f"T{k}"] for k in range(len(op.inputs))]
    if role == 0:
        formula = native.Formula(op.forward, {"T": compute})
        return Scalar(formula, tuple(inputs), types["TO"], compute, bool(op.params))
    derivative = op.derivatives[role - 1]
    if not callable(derivative):
        return None
    need = op.needs(role - 1)
    takes = [types["TO"], *(t if need >> k & 1 else None for k, t in enumerate(inputs))]
    takes.append(types["TO"] if need & 8 else None)
    gives = inputs[0] if len(inputs) == 1 else compute
    return Scalar(native.Formula(derivative, {"T": compute}), tuple(takes), gives, compute, bool(op.params))
