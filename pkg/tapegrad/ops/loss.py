"""Losses with PyTorch's reductions: `cross_entropy`, `nll_loss`, `mse_loss`, `l1_loss`.

Class indices without label smoothing, the common case, is one op from logits to the number; class
probabilities and label smoothing are composites, and images `(N, C, d1, ...)` are reshaped around the op.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..dtypes import float32, float64, int64, promote_types, uint8
from . import loss_kernels as kernels
from .registry import Index, Plan, structured
from .shapes import broadcast_shapes, numel
from .softmax import log_softmax

__all__ = ["cross_entropy", "l1_loss", "mse_loss", "nll_loss"]

_REDUCTIONS = {"none": kernels.NONE, "mean": kernels.MEAN, "sum": kernels.SUM}
_SCALAR_NAMES = {
    "float32": "Float",
    "float64": "Double",
    "int64": "Long",
    "int32": "Int",
    "uint8": "Byte",
    "bool": "Bool",
}


def _reduction(name: str) -> int:
    if name not in _REDUCTIONS:
        raise ValueError(f"{name} is not a valid value for reduction")
    return _REDUCTIONS[name]


def _sizes(shape: Any) -> str:
    return "[" + ", ".join(str(s) for s in shape) + "]"


def _check_rows(x: Any, target: Any, weight: Any) -> None:
    """PyTorch's complaints about x (N, C), target (N,) and weight (C,)."""
    if x.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.dtype is not int64:
        name = _SCALAR_NAMES[target.dtype.name]
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {name}")
    classes = x.shape[1]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight "
            f"tensor of shape: {_sizes(weight.shape)}"
        )
    if weight is not None and weight.dtype is not x.dtype:
        names = f"{_SCALAR_NAMES[x.dtype.name]} but found {_SCALAR_NAMES[weight.dtype.name]}"
        raise RuntimeError(f"expected scalar type {names}")


def _rows_plan(x: Any, weight: Any, ignore_index: int, reduction: int, kept: int) -> Plan:
    rows, classes = x.shape
    words = (rows, classes, x.dtype.itemsize, ignore_index, reduction, int(weight is not None))
    shape = (rows,) if reduction == kernels.NONE else ()
    return Plan(shape, x.dtype, words=words, aux=((kept + 1,), x.dtype))


def cross_entropy_rule(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: int = kernels.MEAN
) -> Plan:
    _check_rows(x, target, weight)
    rows, classes = x.shape
    kept = rows * classes if classes <= kernels.KEEP else 2 * rows
    return _rows_plan(x, weight, ignore_index, reduction, kept)


def nll_rule(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: int = kernels.MEAN
) -> Plan:
    _check_rows(x, target, weight)
    if not x.dtype.is_floating_point:
        name = _SCALAR_NAMES[x.dtype.name]
        raise NotImplementedError(f"\"nll_loss_out_frame\" not implemented for '{name}'")
    return _rows_plan(x, weight, ignore_index, reduction, 0)


def _row_factors(c: Any, g: Any) -> tuple[Any, Any]:
    """(classes (N, 1) with 0 for ignored rows, factors (N, 1) of the rows' derivatives)."""
    ignore_index, reduction, weighted = c.words[3:6]
    counted = c.target != ignore_index
    index = c.target * counted
    weight = counted.to(g.dtype)
    if weighted:
        weight = weight * c.weight[index]
    if reduction == kernels.MEAN:
        g = g / weight.sum()
    return index.unsqueeze(1), (weight * g).unsqueeze(1)


def _cross_entropy_dx(c: Any, g: Any) -> Any:
    index, factor = _row_factors(c, g)
    return (c.x.softmax(1) * factor).scatter_add(1, index, -factor)


def _nll_dx(c: Any, g: Any) -> Any:
    index, factor = _row_factors(c, g)
    # PyTorch's derivative has a history of x, whose own derivative is 0; so has a sign's.
    return g.new_zeros(c.input_shape).scatter_add(1, index, -factor) + 0.0 * c.x.sign()


_ERRORS = {kernels.OUT_OF_BOUNDS: lambda t, _: IndexError(f"Target {t} is out of bounds.")}

_CLASS_SAMPLES = [
    ((4, 3), Index((4,), 3), weight, {"ignore_index": ignored, "reduction": reduction})
    for weight in (None, (3,))
    for ignored in (-100, 1)
    for reduction in (kernels.NONE, kernels.MEAN, kernels.SUM)
] + [
    ((0, 3), Index((0,), 3), None, {"ignore_index": -100, "reduction": kernels.SUM}),
    ((2, 1), Index((2,), 1), None, {"ignore_index": -100, "reduction": kernels.MEAN}),
    ((900, 50), Index((900,), 50), (50,), {"ignore_index": 3, "reduction": kernels.MEAN}),
    ((30, 1500), Index((30,), 1500), None, {"ignore_index": -100, "reduction": kernels.NONE}),
]


def _classes(n: int) -> Any:
    return (kernels.BLOCK // n + 40, n), Index((kernels.BLOCK // n + 40,), n), None, _MEAN_OF_ALL


def _rows(n: int) -> Any:
    return (n, 3), Index((n,), 3), (3,), _MEAN_OF_ALL


_MEAN_OF_ALL = {"ignore_index": -100, "reduction": kernels.MEAN}
_cross_entropy = structured(
    "cross_entropy",
    inputs=("x", "target", "weight"),  # weight may be None
    rule=cross_entropy_rule,
    forward=kernels.cross_entropy_kernel,
    backward={"x": (kernels.cross_entropy_dx_kernel, ("x", "target", "weight", "aux"))},
    derivative={"x": _cross_entropy_dx},
    dtypes=(float32, float64),
    contiguous=True,
    errors=_ERRORS,
    doc="Cross entropy of logits `(N, C)` with classes `(N,)`; see the function `cross_entropy`.",
    samples=_CLASS_SAMPLES,
    constants={
        **dict.fromkeys(("SHORT", "SHORT_RUN", "LANES", "WIDE_RUN", "KEEP", "BLOCK"), _classes),
        "GRAIN": lambda n: _rows(n // 3),
    },
)
_nll = structured(
    "nll_loss",
    inputs=("x", "target", "weight"),
    rule=nll_rule,
    forward=kernels.nll_kernel,
    backward={"x": (kernels.nll_dx_kernel, ("x", "target", "weight", "aux"))},  # x for the history of the derivative
    derivative={"x": _nll_dx},
    dtypes=(float32, float64),
    contiguous=True,
    errors=_ERRORS,
    doc="Minus the logarithm of the probability `(N, C)` of the class `(N,)`; see `nll_loss`.",
    samples=_CLASS_SAMPLES,
    constants={"PICKED_ROWS": _rows, "GRAIN": lambda n: _rows(n // 3)},
)


_PAIR_CONSTANTS = dict.fromkeys(
    ("ELEMENTS", "BLOCK", "LANES", "SHORT_RUN", "WIDE_RUN"), lambda n: ((n,), (n,), {"reduction": kernels.SUM})
)
_PAIR_SAMPLES = [
    (shape, shape, {"reduction": r})
    for shape in ((3, 4), (), (2, 0), (150, 300))
    for r in (kernels.NONE, kernels.MEAN, kernels.SUM)
]


def _distance_rule(name: str) -> Any:
    def rule(x: Any, target: Any, reduction: int) -> Plan:
        if not x.dtype.is_floating_point:
            raise NotImplementedError(f"\"{name}\" not implemented for '{_SCALAR_NAMES[x.dtype.name]}'")
        if tuple(x.shape) != tuple(target.shape):
            shapes = f"{_sizes(x.shape)}, {_sizes(target.shape)}"
            raise RuntimeError(f"{name} takes two tensors of one shape: {shapes}")
        n = numel(x.shape)
        shape = x.shape if reduction == kernels.NONE else ()
        return Plan(shape, x.dtype, words=(n, x.dtype.itemsize, reduction))

    return rule


def _distance_scale(c: Any, g: Any) -> Any:
    return g / max(1, c.words[0]) if c.words[2] == kernels.MEAN else g


def _mse_dx(c: Any, g: Any) -> Any:
    return (c.x - c.target) * (_distance_scale(c, g) * 2.0)


def _l1_dx(c: Any, g: Any) -> Any:
    return (c.x - c.target).sign() * _distance_scale(c, g)


_mse = structured(
    "mse_loss",
    inputs=("x", "target"),
    rule=_distance_rule("mse_cpu"),
    forward=kernels.mse_kernel,
    backward={
        "x": (kernels.mse_dx_kernel, ("x", "target")),
        "target": (kernels.mse_dtarget_kernel, ("x", "target")),
    },
    derivative={"x": _mse_dx, "target": lambda c, g: -_mse_dx(c, g)},
    dtypes=(float32, float64),
    contiguous=True,
    doc="Squared differences of two tensors of one shape; see `mse_loss`.",
    samples=_PAIR_SAMPLES,
    constants=_PAIR_CONSTANTS,
)
_l1 = structured(
    "l1_loss",
    inputs=("x", "target"),
    rule=_distance_rule("abs_cpu"),
    forward=kernels.l1_kernel,
    backward={
        "x": (kernels.l1_dx_kernel, ("x", "target")),
        "target": (kernels.l1_dtarget_kernel, ("x", "target")),
    },
    derivative={"x": _l1_dx, "target": lambda c, g: -_l1_dx(c, g)},
    dtypes=(float32, float64),
    contiguous=True,
    doc="Absolute differences of two tensors of one shape; see `l1_loss`.",
    samples=_PAIR_SAMPLES,
    constants=_PAIR_CONSTANTS,
)


# ---- public functions ---------------------------------------------------------------------------


def _over_rows(op: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: int) -> Any:
    """An op over rows `(N, C)` applied to `(C,)`, `(N, C)` or `(N, C, d1, ...)`."""
    if target.dtype is uint8:
        target = target.to(int64)
    if x.ndim == 0:
        raise ValueError(f"Expected 1 or more dimensions (got {x.ndim})")
    if x.ndim == 1:
        if target.ndim == 1 and target.shape[0] != 1:
            size = target.shape[0]
            raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {size}")
        y = op(x.unsqueeze(0), target.reshape(1), weight, ignore_index=ignore_index, reduction=reduction)
        return y.reshape(()) if reduction == kernels.NONE else y
    if x.ndim == 2:
        return op(x, target, weight, ignore_index=ignore_index, reduction=reduction)
    rows, rest = x.shape[0], tuple(x.shape[2:])
    if rows != target.shape[0]:
        sizes = f"({rows}) to match target batch_size ({target.shape[0]})"
        raise ValueError(f"Expected input batch_size {sizes}.")
    if tuple(target.shape[1:]) != rest:
        raise RuntimeError(f"Expected target size {_sizes((rows, *rest))}, got {_sizes(target.shape)}")
    flat = x.permute(0, *range(2, x.ndim), 1).reshape(rows * numel(rest), x.shape[1])
    y = op(flat, target.reshape(rows * numel(rest)), weight, ignore_index=ignore_index, reduction=reduction)
    return y.reshape(rows, *rest) if reduction == kernels.NONE else y


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Negative log likelihood: `-weight[t] input[t]` of the class t of each row.

    `input` holds log-probabilities, `(C,)`, `(N, C)` or `(N, C, d1, ...)`; `target` classes, of the same
    shape without C. The mean divides by the sum of the weights. IndexError for a class that does not exist.

    >>> import tapegrad as torch
    >>> torch.nn.functional.nll_loss(torch.tensor([[-1., -2.]]), torch.tensor([1]))
    tensor(2.)
    """
    return _over_rows(_nll, input, target, weight, ignore_index, _reduction(reduction))


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross entropy between logits and classes (whole numbers) or class probabilities (of input's shape).

    `input` is `(C,)`, `(N, C)` or `(N, C, d1, ...)`. Rows whose class is `ignore_index` count for nothing.
    IndexError for a class that does not exist, ValueError or RuntimeError for shapes that do not fit.

    >>> import tapegrad as torch
    >>> torch.nn.functional.cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    tensor(0.6931)
    """
    code = _reduction(reduction)
    probabilities = tuple(input.shape) == tuple(target.shape)
    if not probabilities and not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if not probabilities and label_smoothing == 0.0 and input.dtype.is_floating_point:
        return _over_rows(_cross_entropy, input, target, weight, ignore_index, code)
    dim = 0 if input.ndim == 1 else 1
    if probabilities:
        if not target.dtype.is_floating_point:
            name = _SCALAR_NAMES[target.dtype.name]
            wanted = "floating point type for target with class probabilities"
            raise RuntimeError(f"Expected {wanted}, got {name}")
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _soft_cross_entropy(input, target, weight, code, label_smoothing, dim)
    logits = log_softmax(input, dim=dim)
    loss = _over_rows(_nll, logits, target, weight, ignore_index, code)
    return loss * (1.0 - label_smoothing) + _smooth(logits, target, weight, ignore_index, code, dim) * (
        label_smoothing / input.shape[dim]
    )


def _class_weights(weight: Any, ndim: int, dim: int) -> Any:
    shape = [1] * ndim
    shape[dim] = weight.shape[0]
    return weight.reshape(shape)


def _soft_cross_entropy(x: Any, target: Any, weight: Any, reduction: int, smoothing: float, dim: int) -> Any:
    if not 0.0 <= smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {smoothing}")
    classes = x.shape[dim]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes "
            f"but got weight tensor of shape: {_sizes(weight.shape)}"
        )
    logits = log_softmax(x, dim=dim)
    if smoothing > 0.0:
        target = target * (1.0 - smoothing) + smoothing / classes
    terms = logits * target
    if weight is not None:
        terms = terms * _class_weights(weight, x.ndim, dim)
    if reduction == kernels.NONE:
        return -terms.sum(dim)
    total = -terms.sum()
    if reduction == kernels.SUM:
        return total
    rows = numel(x.shape) // classes if classes else 0
    return total / rows if rows else total * float("nan")


def _smooth(logits: Any, target: Any, weight: Any, ignore_index: int, reduction: int, dim: int) -> Any:
    """The loss against the uniform distribution, times the number of classes."""
    terms = logits if weight is None else logits * _class_weights(weight, logits.ndim, dim)
    loss = -terms.sum(dim)
    counted = target.reshape(loss.shape) != ignore_index
    loss = loss.masked_fill(~counted, 0.0)
    if reduction == kernels.NONE:
        return loss
    if reduction == kernels.SUM:
        return loss.sum()
    if weight is None:
        return loss.sum() / counted.sum()
    return loss.sum() / (weight[target.reshape(loss.shape) * counted] * counted).sum()


def _pair(x: Any, target: Any, name: str) -> tuple[Any, Any]:
    """Both tensors in one shape and one dtype, with PyTorch's warning if they were not in one shape."""
    if tuple(x.shape) != tuple(target.shape):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({x.shape}). This "
            "will likely lead to incorrect results due to broadcasting. Please ensure they have the same "
            "size.",
            stacklevel=4,
        )
        shape = broadcast_shapes(tuple(x.shape), tuple(target.shape))
        x, target = x.expand(*shape), target.expand(*shape)
    if x.dtype is not target.dtype:
        common = promote_types(x.dtype, target.dtype)
        x, target = x.to(common), target.to(common)
    if name == "l1" and not x.dtype.is_floating_point:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex "
            f"dtype. Got: {_SCALAR_NAMES[x.dtype.name]}"
        )
    return x, target


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Mean (or sum, or every one) of the squared differences.

    >>> import tapegrad as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1., 2.]), torch.tensor([1., 4.]))
    tensor(2.)
    """
    code = _reduction(reduction)
    x, target = _pair(input, target, "mse")
    return _mse(x, target, reduction=code)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Mean (or sum, or every one) of the absolute differences; the slope at 0 is 0.

    >>> import tapegrad as torch
    >>> torch.nn.functional.l1_loss(torch.tensor([1., 2.]), torch.tensor([1., 4.]))
    tensor(1.)
    """
    code = _reduction(reduction)
    x, target = _pair(input, target, "l1")
    return _l1(x, target, reduction=code)
