"""Tensors from numbers: `arange`, `linspace`, `eye`, `fill`. No inputs, no gradients.

arange and linspace round as PyTorch does on x86; linspace counts from both ends, so that it is symmetric and
ends exactly at `end`.
"""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import DTYPES, float32, float64, int32, int64, uint8
from . import indexing_kernels as kernels
from .registry import Plan, float_bits, structured

__all__ = ["arange_op", "arange_size", "eye_op", "linspace_op"]

_FLOATS = (float32, float64)
_WHOLE = (int64, int32, uint8)


def _factory(name: str, rule: Any, forward: Any, dtypes: Any, doc: str, samples: Any, of_size: Any) -> Any:
    return structured(
        name,
        inputs=(),
        rule=rule,
        forward=forward,
        backward={},
        derivative={},
        dtypes=dtypes,
        contiguous=True,
        doc=doc,
        samples=samples,
        constants={"GRAIN": of_size},
    )


def arange_size(start: float, end: float, step: float) -> int:
    """How many numbers `arange` gives; RuntimeError with PyTorch's text for impossible ranges."""
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {_shown(start)} -> {_shown(end)}")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if all(isinstance(v, int) for v in (start, end, step)):
        return -((end - start) // -step)  # type: ignore[return-value]
    return math.ceil((end - start) / step)


def _shown(value: float) -> str:
    return f"{value:g}"


def _arange_rule(start: float, end: float, step: float, dtype: Any) -> Plan:
    n = arange_size(start, end, step)
    return Plan((n,), dtype, words=(n, float_bits(start), float_bits(step), 32 // dtype.itemsize))


def _integer_arange_rule(start: float, end: float, step: float, dtype: Any) -> Plan:
    start, end, step = int(start), int(end), int(step)
    n = arange_size(start, end, step)
    return Plan((n,), dtype, words=(n, start, step))


def _linspace_rule(start: float, end: float, steps: int, dtype: Any) -> Plan:
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return Plan((steps,), dtype, words=(steps, float_bits(start), float_bits(end)))


def _eye_rule(n: int, m: int, dtype: Any) -> Plan:
    for name, size in (("n", n), ("m", m)):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return Plan((n, m), dtype, words=(n, m))


_RANGES = [
    ({"start": 0, "end": 5, "step": 1},),
    ({"start": 9, "end": 2, "step": -3},),
    ({"start": 3, "end": 3, "step": 1},),
    ({"start": 0, "end": 120000, "step": 3},),
]
_FRACTIONS = [({"start": -0.5, "end": 1.3, "step": 0.3},), ({"start": 1.0, "end": -2.0, "step": -0.7},)]
_SPACES = [
    ({"start": 0.0, "end": 9.0, "steps": 4},),
    ({"start": 7.5, "end": 1.25, "steps": 6},),
    ({"start": 3.0, "end": 4.0, "steps": 1},),
    ({"start": 3.0, "end": 4.0, "steps": 0},),
    ({"start": 0.0, "end": 200.0, "steps": 50000},),
]
_arange = _factory(
    "arange", _arange_rule, kernels.arange_kernel, _FLOATS, "start + i * step", _RANGES + _FRACTIONS,
    lambda n: ({"start": 0, "end": n, "step": 1},),
)
_integer_arange = _factory(
    "integer_arange", _integer_arange_rule, kernels.integer_arange_kernel, _WHOLE, "start + i * step in int64", _RANGES,
    lambda n: ({"start": 0, "end": n, "step": 1},),
)
_linspace = _factory(
    "linspace", _linspace_rule, kernels.linspace_kernel, _FLOATS, "evenly spaced numbers", _SPACES,
    lambda n: ({"start": 0.0, "end": 9.0, "steps": n},),
)  # fmt: skip
_integer_linspace = _factory(
    "integer_linspace", _linspace_rule, kernels.integer_linspace_kernel, _WHOLE, "evenly spaced numbers, cut", _SPACES,
    lambda n: ({"start": 0.0, "end": 90.0, "steps": n},),
)
eye_op = _factory(
    "eye",
    _eye_rule,
    kernels.eye_kernel,
    DTYPES,
    "ones on the diagonal",
    [({"n": n, "m": m},) for n, m in ((3, 4), (4, 3), (0, 2), (200, 200))],
    lambda n: ({"n": n // 8, "m": 8},),
)


def arange_op(dtype: Any) -> Any:
    """The op that makes an arange of that dtype: op(start=, end=, step=, dtype=)."""
    return _arange if dtype.is_floating_point else _integer_arange


def linspace_op(dtype: Any) -> Any:
    """The op that makes a linspace of that dtype: op(start=, end=, steps=, dtype=)."""
    return _linspace if dtype.is_floating_point else _integer_linspace
