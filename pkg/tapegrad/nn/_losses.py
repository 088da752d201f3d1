"""Losses as functions, with the signatures and conventions of torch.nn.functional.

The four commonest are ops of their own; the rest is composed of tensor functions.
"""

from __future__ import annotations

import warnings

from .. import api
from ..ops.checks import check_probabilities
from ..ops.registry import BY_NAME
from . import _reduction

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]


def nll_loss(
    input: api.Tensor,
    target: api.Tensor,
    weight: api.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> api.Tensor:
    """Negative log likelihood of classes under log-probabilities (N, C) or (N, C, d1, ...).

    `weight` has one factor per class; the mean divides by the sum of the weights that counted.

    >>> import tapegrad as torch
    >>> logp = torch.log_softmax(torch.zeros(2, 4), dim=1)
    >>> round(torch.nn.functional.nll_loss(logp, torch.tensor([0, 3])).item(), 4)
    1.3863
    """
    reduction = _reduction.resolve(reduction, size_average, reduce)
    return api.nll_loss(input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: api.Tensor,
    target: api.Tensor,
    weight: api.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> api.Tensor:
    """Cross entropy between scores (N, C) or (N, C, d1, ...) and class indices or probabilities.

    IndexError for a class out of range, ValueError if the batch sizes differ.

    >>> import tapegrad as torch
    >>> loss = torch.nn.functional.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    >>> round(loss.item(), 4)
    1.3863
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.resolve(reduction, size_average, reduce)
    return api.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def _same_size(input: api.Tensor, target: api.Tensor) -> None:
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). "
            "This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )


def mse_loss(
    input: api.Tensor,
    target: api.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: api.Tensor | None = None,
) -> api.Tensor:
    """Squared error; warns if the sizes differ, since broadcasting is rarely meant.

    >>> import tapegrad as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]))
    tensor(5.)
    """
    reduction = _reduction.resolve(reduction, size_average, reduce)
    if weight is None:
        return api.mse_loss(input, target, reduction)
    _same_size(input, target)
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    difference = input - target
    weighted = difference * difference * weight
    if reduction == "mean":
        return weighted.sum() / weight.sum()
    return _reduction.apply(weighted, reduction)


def l1_loss(
    input: api.Tensor,
    target: api.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> api.Tensor:
    """Absolute error."""
    reduction = _reduction.resolve(reduction, size_average, reduce)
    if api.bool_ in (input.dtype, target.dtype):
        input - target  # refuses them
    return api.l1_loss(input, target, reduction)


def smooth_l1_loss(
    input: api.Tensor,
    target: api.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> api.Tensor:
    """Squared error / (2 beta) up to `beta`, absolute error minus beta / 2 beyond."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0.0:
        return l1_loss(input, target, size_average, reduce, reduction)
    _same_size(input, target)
    reduction = _reduction.resolve(reduction, size_average, reduce)
    _floats_only("smooth_l1", input, target)
    return _reduction.apply(BY_NAME["smooth_l1"](input, target, params=(beta,)), reduction)


def huber_loss(
    input: api.Tensor, target: api.Tensor, reduction: str = "mean", delta: float = 1.0
) -> api.Tensor:
    """delta times `smooth_l1_loss` with beta = delta."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _same_size(input, target)
    reduction = _reduction.resolve(reduction)
    _floats_only("huber", input, target)
    loss: api.Tensor = BY_NAME["huber"](input, target, params=(delta,))
    return _reduction.apply(loss.to(input.dtype) if input.is_floating_point() else loss, reduction)


def _floats_only(name: str, input: api.Tensor, target: api.Tensor) -> None:
    if not (input.is_floating_point() or target.is_floating_point()):
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{_kind(input)}'")


def log_sigmoid(x: api.Tensor) -> api.Tensor:
    """min(x, 0) - log(1 + exp(-|x|)), element by element."""
    y: api.Tensor = BY_NAME["log_sigmoid"](x)
    return y


def binary_cross_entropy(
    input: api.Tensor,
    target: api.Tensor,
    weight: api.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> api.Tensor:
    """Cross entropy of probabilities in [0, 1]; logarithms are clamped at -100.

    RuntimeError for values outside [0, 1].

    >>> import tapegrad as torch
    >>> round(torch.nn.functional.binary_cross_entropy(torch.full((3,), 0.5), torch.ones(3)).item(), 4)
    0.6931
    """
    reduction = _reduction.resolve(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is "
            "deprecated. Please ensure they have the same size."
        )
    if target.dtype is not input.dtype:
        raise RuntimeError(f"Found dtype {_kind(target)} but expected {_kind(input)}")
    if not input.is_floating_point():
        raise NotImplementedError(f"\"binary_cross_entropy\" not implemented for '{_kind(input)}'")
    check_probabilities(input.detach())
    check_probabilities(target.detach(), "target")
    loss: api.Tensor = BY_NAME["bce"](input, target)
    if weight is not None:
        loss = (loss * weight.expand(input.shape)).to(input.dtype)
    return _reduction.apply(loss, reduction)


def _kind(t: api.Tensor) -> str:
    """The element type as messages call it: "Float"."""
    name: str = t.type()
    return name[6:-6]


def binary_cross_entropy_with_logits(
    input: api.Tensor,
    target: api.Tensor,
    weight: api.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: api.Tensor | None = None,
) -> api.Tensor:
    """Cross entropy of sigmoid(input), computed without overflow."""
    reduction = _reduction.resolve(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if input.is_floating_point() and not target.is_floating_point() and target.dtype is not api.bool_:
        raise RuntimeError(
            f"result type {_kind(input)} can't be cast to the desired output type {_kind(target)}"
        )
    if not input.is_floating_point():
        raise NotImplementedError(f"\"log_sigmoid_cpu\" not implemented for '{_kind(input)}'")
    if target.dtype is api.bool_:
        1 - target  # raises: PyTorch subtracts here
    loss: api.Tensor
    if pos_weight is None:
        loss = BY_NAME["bce_with_logits"](input, target)
    else:
        loss = BY_NAME["weighted_bce_with_logits"](input, target, pos_weight)
        if loss.shape != input.shape:
            raise RuntimeError(
                f"output with shape {list(input.shape)} doesn't match the broadcast shape {list(loss.shape)}"
            )
    if weight is not None:
        loss = loss * weight
    return _reduction.apply(loss.to(target.dtype), reduction)  # the target's type, as in PyTorch
