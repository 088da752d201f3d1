"""Steps: what does not change with x but at single places, so that its derivative is 0, with a history.

PyTorch's derivative of `relu`, say, comes from the graph of x although it is g or 0: differentiated again it gives
zeros. Derivatives in tensor operations get that history here.
"""

from __future__ import annotations

import numpy as np

from .registry import IDENTITY, pointwise

__all__ = ["first_power", "step_of"]


def _zero_1(_g, _x, _y):
    return 0.0


def _zero_2(_g, _a, _x, _y):
    return 0.0


def nothing(_x):
    return 0.0


def first(a, _x):
    return a


step_of = pointwise(
    "step_of", first, (IDENTITY, _zero_2), method=False, function=False, inplace=False,
    reference=lambda a, x: a + np.zeros_like(x),
    doc="`a`, which is a step function of `x`: the gradient of `x` is 0.",
)


pointwise(
    "overwritten", nothing, (_zero_1,), method=False, function=False, inplace=False, reference=np.zeros_like,
    doc="What a tensor is after values without a history were written over it: the gradient of what it was is 0.",
)


def one(_x):
    return 1.0


zeroth_power = pointwise(
    "zeroth_power", one, (_zero_1,), method=False, function=False, inplace=False, reference=np.ones_like,
    doc="`x ** 0`: 1, with gradient 0.",
)


def same(x):
    return x


def same_x(g, _x, _y):
    return g


first_power = pointwise(
    "first_power", same, (same_x,), method=False, function=False, inplace=False, reference=lambda x: x + 0.0,
    doc="`x ** 1`: a copy whose derivative is `x ** 0`.",
    on_tensors={"x": lambda g, x, _y: g * zeroth_power(x)},
)
