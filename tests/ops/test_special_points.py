"""Pointwise ops where something special happens, against PyTorch: values, first and second derivatives.

Zeros of both signs, ties, poles, infinities, NaN, denormals and the largest numbers, in every combination for two
inputs, and what an op declares as special for itself. KNOWN says where the two differ, and why.
"""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from ops.derive import differentiable, input_dtype, pointwise, tensor
from ops.test_registry_torch import theirs
from tapegrad.dtypes import float32
from tapegrad.ops.registry import Op, pointwise_ops

INF, NAN = float("inf"), float("nan")
POINTS = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, -1e-30, 1e-42, -1e-42, 3e38, -3e38, INF, -INF, NAN, -17.0, 17.0),
    *(-100.0, 100.0, 1e-8),
)
VALUE, FIRST, SECOND = range(3)
# Op -> the orders that are not compared, with the reason.
KNOWN: dict[str, tuple[int, ...]] = {
    "step_of": (VALUE, FIRST, SECOND),  # PyTorch has no such function; the spelling multiplies by 0
    "overwritten": (VALUE, FIRST, SECOND),  # the same
    "pow": (SECOND,),  # products of 0 and infinity in the derivative by the exponent
    "remainder": (VALUE, FIRST, SECOND),  # quotients below the normal numbers round to 0 here; infinite dividends
    "sin": (VALUE, FIRST, SECOND),  # bounded but meaningless beyond 2^50
    "cos": (VALUE, FIRST, SECOND),
    "tan": (VALUE, FIRST, SECOND),
    "erf": (SECOND,),  # 0 times infinity at the largest numbers
    "gelu": (VALUE, SECOND),  # infinity: inf here; the largest numbers
    "bce_slope": (SECOND,),  # PyTorch's third derivative of the loss
    "smooth_l1": (SECOND,),  # NaN
    "huber": (SECOND,),  # NaN
}
EVERY = pytest.mark.parametrize("op", pointwise_ops(), ids=lambda op: op.name)


def orders(torch: ModuleType, xs: list[Any], y: Any) -> list[tuple[int, Any]]:
    """(order, values) of the result and its derivatives by those of `xs` that require gradients."""
    found = [(VALUE, y.detach())]
    wanted = [x for x in xs if x.requires_grad]
    gradients = torch.autograd.grad(y.sum(), wanted, create_graph=True, allow_unused=True)
    found += [(FIRST, g) for g in gradients]
    for g in gradients:
        if g is not None and g.requires_grad:
            second = torch.autograd.grad(g.sum(), wanted, allow_unused=True, retain_graph=True)
            found += [(SECOND, s) for s in second]
    return found


@pytest.mark.torch
@EVERY
def test_special_points(op: Op, reference: Any) -> None:
    which, n = differentiable(op), len(op.inputs)
    if float32 not in op.dtypes or not which or n > 2:
        return
    if any(input_dtype(op, k, float32) is not float32 for k in range(n)):
        return
    low, high = (0.0, 1.0) if op.name == "bce" else (-INF, INF)
    points = [p for p in (*POINTS, *op.special) if low <= p <= high or (np.isnan(p) and op.name != "bce")]
    columns = [np.array(c, np.float32) for c in zip(*itertools.product(points, repeat=n), strict=True)]
    ours = [tensor(c.copy(), k in which) for k, c in enumerate(columns)]
    other = [reference.from_numpy(c.copy()).requires_grad_(k in which) for k, c in enumerate(columns)]
    got = orders(tg, ours, pointwise(op, *ours))
    want = orders(reference, other, theirs(reference, op)(*other))
    for (order, a), (_, b) in zip(got, want, strict=True):
        if order in KNOWN.get(op.name, ()):
            continue
        assert (a is None) == (b is None)
        if a is None:
            continue
        u, v = a.detach().numpy(), b.detach().numpy(force=True)
        with np.errstate(all="ignore"):
            near = (u == v) | (np.isnan(u) & np.isnan(v)) | (np.abs(u - v) <= 2e-6 * np.abs(v) + 1e-6)
        wrong = [(*(float(c[i]) for c in columns), float(u[i]), float(v[i])) for i in np.flatnonzero(~near)[:5]]
        assert near.all(), f"order {order}: (inputs, ours, PyTorch's) {wrong}"
