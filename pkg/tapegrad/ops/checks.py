"""Checks of values by kernels: a compiled program makes them at each replay, where Python would have to look."""

from __future__ import annotations

import struct
from typing import Any

from .._layout import FRAME_ERROR, FRAME_EXT, FRAME_IN
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer
from .fold import plan_items
from .registry import FLOATS, Given, Plan, structured
from .shapes import numel

__all__: list[str] = []

OUTSIDE = 1
GRAIN = 32768  # elements of a chunk
NEGATIVE, TOO_LARGE = 1, 2
NOT_FINITE = 1
BELOW_ZERO, ENDLESS, NOTHING = 1, 2, 3


def probabilities_kernel(f, lo, hi):
    """words: elements, what they are. Nothing is computed: status OUTSIDE where one is not in [0, 1]."""
    n = pointer(f[FRAME_EXT], int64)[0]
    if lo == -1:
        return plan_items(f, n, GRAIN, 0, 1)
    x = pointer(f[FRAME_IN], T)
    outside = 0
    for i in range(lo, hi):
        outside += 0 if x[i] >= 0.0 and x[i] <= 1.0 else 1
    f[FRAME_ERROR] = pointer(f[FRAME_EXT], int64)[1]
    return OUTSIDE if outside > 0 else 0


_CHECKED = ("input", "target")


_probabilities = structured(
    "check_probabilities",
    inputs=("x",),
    rule=lambda x, what=0: Plan((0,), x.dtype, words=(numel(x.shape), what)),
    forward=probabilities_kernel,
    dtypes=FLOATS,
    errors={OUTSIDE: lambda what, _: RuntimeError(f"all elements of {_CHECKED[what]} should be between 0 and 1")},
    doc="Nothing; RuntimeError where an element of `x` is not in [0, 1].",
    samples=[(Given([[0.0, 0.5], [1.0, 0.25]]),), (Given([]),), (Given(1.0),), (Given([0.5] * 70000),)],
    constants={"GRAIN": lambda n: (Given([0.5] * n),)},
)


def check_probabilities(x: Any, what: str = "input") -> None:
    """RuntimeError where an element of this input or target is not in [0, 1].

    >>> import tapegrad as torch
    >>> from tapegrad.ops.checks import check_probabilities
    >>> check_probabilities(torch.tensor([0.0, 0.5, 1.0]))
    """
    _probabilities(x, _CHECKED.index(what))


def classes_kernel(f, lo, hi):
    """words: elements, classes. Nothing is computed: status NEGATIVE, or else TOO_LARGE, where one is no class."""
    words = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, 1, 1, 0, 1)
    x = pointer(f[FRAME_IN], int64)
    large = 0
    for i in range(words[0]):
        if x[i] < 0:
            return NEGATIVE
        large += 1 if x[i] >= words[1] else 0
    return TOO_LARGE if large > 0 else 0


_classes = structured(
    "check_classes",
    inputs=("x",),
    rule=lambda x, classes: Plan((0,), x.dtype, words=(numel(x.shape), classes)),
    forward=classes_kernel,
    dtypes=(int64,),
    errors={
        NEGATIVE: lambda *_: RuntimeError("Class values must be non-negative."),
        TOO_LARGE: lambda *_: RuntimeError("Class values must be smaller than num_classes."),
    },
    doc="Nothing; RuntimeError where an element of `x` is not in [0, classes).",
    samples=[
        (Given([0, 2, 1], int64), {"classes": 3}),
        (Given([], int64), {"classes": 3}),
        (Given(1), {"classes": 2}),
        (Given([1] * 30000), {"classes": 2}),
    ],
)


def check_classes(x: Any, classes: int) -> None:
    """RuntimeError where an element of an int64 tensor is not in [0, classes).

    >>> import tapegrad as torch
    >>> from tapegrad.ops.checks import check_classes
    >>> check_classes(torch.tensor([0, 2]), 3)
    """
    _classes(x, classes=classes)


def finite_kernel(f, lo, hi):
    """words: elements, the order as a float64. Nothing is computed: status NOT_FINITE where one is not finite."""
    words = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, 1, 1, 0, 1)
    x = pointer(f[FRAME_IN], T)
    for i in range(words[0]):
        if x[i] - x[i] != 0.0:  # of what is infinite it is not a number
            f[FRAME_ERROR] = words[1]
            return NOT_FINITE
    return 0


def not_finite(order: int, _: int) -> Exception:
    (norm_type,) = struct.unpack("d", struct.pack("q", order))
    return RuntimeError(
        f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped. "
        "To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
    )


_total_norm = structured(
    "check_total_norm",
    inputs=("x",),
    rule=lambda x, order: Plan((0,), x.dtype, words=(numel(x.shape), struct.unpack("q", struct.pack("d", order))[0])),
    forward=finite_kernel,
    dtypes=FLOATS,
    errors={NOT_FINITE: not_finite},
    doc="Nothing; RuntimeError where an element of `x` is infinite or not a number.",
    samples=[
        (Given([0.0, -2.0]), {"order": 2.0}),
        (Given([]), {"order": 1.0}),
        (Given(1.0), {"order": float("inf")}),
        (Given([0.5] * 30000), {"order": 2.0}),
    ],
)


def check_total_norm(norm: Any, order: float) -> None:
    """RuntimeError where the norm of this order is infinite or not a number.

    >>> import tapegrad as torch
    >>> from tapegrad.ops.checks import check_total_norm
    >>> check_total_norm(torch.tensor(5.0), 2.0)
    """
    _total_norm(norm, order=order)


def deviations_kernel(f, lo, hi):
    """words: elements. Nothing is computed: status OUTSIDE where one is not at least 0."""
    n = pointer(f[FRAME_EXT], int64)[0]
    if lo == -1:
        return plan_items(f, n, GRAIN, 0, 1)
    x = pointer(f[FRAME_IN], T)
    outside = 0
    for i in range(lo, hi):
        outside += 0 if x[i] >= 0.0 else 1
    return OUTSIDE if outside > 0 else 0


_deviations = structured(
    "check_deviations",
    inputs=("x",),
    rule=lambda x: Plan((0,), x.dtype, words=(numel(x.shape),)),
    forward=deviations_kernel,
    dtypes=FLOATS,
    errors={OUTSIDE: lambda *_: RuntimeError("normal expects all elements of std >= 0.0")},
    doc="Nothing; RuntimeError where an element of `x` is negative or not a number.",
    samples=[(Given([[0.0, 0.5], [1.0, 7.0]]),), (Given([]),), (Given(1.0),), (Given([0.5] * 70000),)],
    constants={"GRAIN": lambda n: (Given([0.5] * n),)},
)


def check_deviations(x: Any) -> None:
    """RuntimeError where an element is no standard deviation.

    >>> import tapegrad as torch
    >>> from tapegrad.ops.checks import check_deviations
    >>> check_deviations(torch.tensor([0.0, 2.0]))
    """
    _deviations(x)


def weights_kernel(f, lo, hi):
    """words: rows, columns, with replacement. Nothing is computed: a status where one is no weight, or all are 0."""
    words = pointer(f[FRAME_EXT], int64)
    if lo == -1:
        return plan_items(f, words[0], 1, 0, 1)
    f[FRAME_ERROR] = words[2]
    x = pointer(f[FRAME_IN], T)
    for row in range(lo, hi):
        total = 0.0
        for i in range(row * words[1], (row + 1) * words[1]):
            if not x[i] >= 0.0:  # what is not a number counts as below 0, as in PyTorch
                return BELOW_ZERO
            if x[i] - x[i] != 0.0:
                return ENDLESS
            total += x[i]
        if not total > 0.0:
            return NOTHING
    return 0


def no_weight(with_replacement: str) -> Any:
    """The error of a weight, in the words of the two ways of drawing."""

    def error(replacement: int, _: int) -> Exception:
        if replacement:
            return RuntimeError(f"invalid multinomial distribution (encountering probability entry {with_replacement})")
        return RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")

    return error


_weights = structured(
    "check_weights",
    inputs=("x",),
    rule=lambda x, replacement: Plan(
        (0,), x.dtype, words=(numel(x.shape[:-1]), x.shape[-1], 1 if replacement else 0)
    ),
    forward=weights_kernel,
    dtypes=FLOATS,
    errors={
        BELOW_ZERO: no_weight("< 0"),
        ENDLESS: no_weight("= infinity or NaN"),
        NOTHING: lambda *_: RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)"),
    },
    doc="Nothing; RuntimeError where an element of `x` is negative or not finite, or the last dimension sums to 0.",
    samples=[
        (Given([[0.0, 0.5], [1.0, 7.0]]), {"replacement": False}),
        (Given([0.5] * 7), {"replacement": True}),
        (Given([[1.0, 2.0]] * 12000), {"replacement": True}),
    ],
)


def check_weights(x: Any, replacement: bool) -> None:
    """RuntimeError where an element is no weight of a choice, or all of a row are 0.

    >>> import tapegrad as torch
    >>> from tapegrad.ops.checks import check_weights
    >>> check_weights(torch.tensor([0.0, 2.0]), True)
    """
    _weights(x, replacement=replacement)
