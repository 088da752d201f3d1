"""Layers and activations as functions, with the signatures of torch.nn.functional.

Losses live in `_losses.py` and are re-exported here.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from .. import api
from .._missing import names_missing
from ..ops.checks import check_classes
from ..ops.registry import BY_NAME
from ._losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]


def linear(input: api.Tensor, weight: api.Tensor, bias: api.Tensor | None = None) -> api.Tensor:
    """input @ weight.T + bias; weight is (out_features, in_features).

    >>> import tapegrad as torch
    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).shape
    torch.Size([2, 4])
    """
    return api.linear(input, weight, bias)


def relu(input: api.Tensor, inplace: bool = False) -> api.Tensor:
    """max(x, 0); the gradient at 0 is 0.

    >>> import tapegrad as torch
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return input.relu_() if inplace else api.relu(input)


def tanh(input: api.Tensor) -> api.Tensor:
    """The hyperbolic tangent."""
    return api.tanh(input)


def sigmoid(input: api.Tensor) -> api.Tensor:
    """1 / (1 + exp(-x))."""
    return api.sigmoid(input)


def _activation(name: str, input: api.Tensor, inplace: bool, *params: float) -> api.Tensor:
    """A pointwise op of parameters, into the memory of its input if that is asked for."""
    y: api.Tensor = BY_NAME[name](input, params=params or None, inplace=input if inplace else None)
    return y


def leaky_relu(input: api.Tensor, negative_slope: float = 0.01, inplace: bool = False) -> api.Tensor:
    """x where positive, negative_slope * x elsewhere."""
    return _activation("leaky_relu", input, inplace, negative_slope)


def elu(input: api.Tensor, alpha: float = 1.0, inplace: bool = False) -> api.Tensor:
    """x where positive, alpha * (exp(x) - 1) elsewhere."""
    return _activation("elu", input, inplace, alpha)


def silu(input: api.Tensor, inplace: bool = False) -> api.Tensor:
    """x * sigmoid(x)."""
    return _activation("silu", input, inplace)


def gelu(input: api.Tensor, approximate: str = "none") -> api.Tensor:
    """x times the normal distribution function of x; `approximate='tanh'` for the formula with tanh."""
    if approximate == "none":
        return api.gelu(input)
    if approximate == "tanh":
        return BY_NAME["gelu_tanh"](input)
    raise RuntimeError("approximate argument must be either none or tanh.")


def softplus(input: api.Tensor, beta: float = 1.0, threshold: float = 20.0) -> api.Tensor:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    if beta == 1.0 and threshold == 20.0:
        return api.softplus(input)
    if not input.is_floating_point():
        raise NotImplementedError(f"\"softplus_cpu\" not implemented for '{input.type()[6:-6]}'")
    scaled = input * beta
    # Clamped before the exponential: where() would turn its overflow into NaN gradients.
    smooth = api.log1p(api.exp(scaled.clamp(max=float(threshold)))) / beta
    return api.where(scaled > threshold, input, smooth)


def logsigmoid(input: api.Tensor) -> api.Tensor:
    """log(sigmoid(x)) without overflow."""
    from ._losses import log_sigmoid

    if not input.is_floating_point():
        raise NotImplementedError(f"\"log_sigmoid_cpu\" not implemented for '{input.type()[6:-6]}'")
    return log_sigmoid(input)


def _implicit_dim(name: str, input: api.Tensor) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. "
        "Change the call to include dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(input: api.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> api.Tensor:
    """exp(x) / sum(exp(x)) along `dim`.

    >>> import tapegrad as torch
    >>> torch.nn.functional.softmax(torch.zeros(4), dim=0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if dim is None:
        dim = _implicit_dim("softmax", input)
    return api.softmax(input if dtype is None else input.to(dtype), dim)


def log_softmax(
    input: api.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> api.Tensor:
    """log(softmax(x)) along `dim`, computed without overflow."""
    if dim is None:
        dim = _implicit_dim("log_softmax", input)
    return api.log_softmax(input if dtype is None else input.to(dtype), dim)


def dropout(input: api.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> api.Tensor:
    """Zero each element with probability `p`, scale the rest by 1/(1 - p); the input if not training.

    Draws the same random numbers as PyTorch on CPUs where it does not use MKL's generator.
    """
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 0 or not training or input.numel() == 0:
        return input
    if not input.is_floating_point():  # before the generator moves
        kind = input.type()[6:-6]
        raise RuntimeError(f"result type Float can't be cast to the desired output type {kind}")
    with api.no_grad():
        noise = api.zeros_like(input)
        if p < 1:
            noise.bernoulli_(1 - p).div_(1 - p)
    return input.mul_(noise) if inplace else input * noise


def one_hot(tensor: api.Tensor, num_classes: int = -1) -> api.Tensor:
    """int64 tensor with a last dimension of `num_classes` that is 1 at the class and 0 elsewhere.

    >>> import tapegrad as torch
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if tensor.dtype != api.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if tensor.numel() == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return api.zeros((*tensor.shape, num_classes), dtype=api.int64)
    if num_classes == -1:
        num_classes = int(tensor.max().item()) + 1
    check_classes(tensor, num_classes)
    places = tensor.unsqueeze(-1)
    blank = api.zeros((*tensor.shape, max(num_classes, 0)), dtype=api.int64)
    return blank.scatter_add(-1, places, api.ones(places.shape, dtype=api.int64))


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
