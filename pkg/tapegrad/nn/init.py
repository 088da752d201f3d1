"""Initialisers: fill a tensor in place, outside of any gradient, and return it.

Same draws from the same generator state as torch.nn.init.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from .. import api
from .._missing import names_missing

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a nonlinearity wants its weights scaled; `param` is leaky_relu's slope.

    >>> import tapegrad as torch
    >>> torch.nn.init.calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity in _LINEAR:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif isinstance(param, (int, float)) and not isinstance(param, bool):
            slope = param
        else:
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(
    tensor: api.Tensor, a: float = 0.0, b: float = 1.0, generator: api.Generator | None = None
) -> api.Tensor:
    """Fill with draws from U(a, b)."""
    with api.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: api.Tensor, mean: float = 0.0, std: float = 1.0, generator: api.Generator | None = None
) -> api.Tensor:
    """Fill with draws from N(mean, std^2)."""
    with api.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor: api.Tensor, val: float) -> api.Tensor:
    """Fill with `val`."""
    with api.no_grad():
        return tensor.fill_(val)


def ones_(tensor: api.Tensor) -> api.Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: api.Tensor) -> api.Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: api.Tensor) -> api.Tensor:
    """Fill a matrix with the identity; ValueError unless it has two dimensions."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with api.no_grad():
        return tensor.copy_(api.eye(*tensor.shape))


def _calculate_fan_in_and_fan_out(tensor: api.Tensor) -> tuple[int, int]:
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: api.Tensor, mode: str) -> int:
    mode = mode.lower()
    modes = ["fan_in", "fan_out"]
    if mode not in modes:
        raise ValueError(f"Mode {mode} not supported, please use one of {modes}")
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode)]


def _is_empty(tensor: api.Tensor) -> bool:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False


def xavier_uniform_(
    tensor: api.Tensor, gain: float = 1.0, generator: api.Generator | None = None
) -> api.Tensor:
    """Glorot's uniform bound: gain * sqrt(6 / (fan_in + fan_out)).

    >>> import tapegrad as torch
    >>> w = torch.nn.init.xavier_uniform_(torch.empty(3, 3))
    >>> bool((w.abs() <= 1).all())
    True
    """
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(
    tensor: api.Tensor, gain: float = 1.0, generator: api.Generator | None = None
) -> api.Tensor:
    """Glorot's standard deviation: gain * sqrt(2 / (fan_in + fan_out))."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: api.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: api.Generator | None = None,
) -> api.Tensor:
    """He's uniform bound: gain * sqrt(3 / fan)."""
    if _is_empty(tensor):
        return tensor
    fan = _fan(tensor, mode)
    std = calculate_gain(nonlinearity, a) / math.sqrt(fan)
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: api.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: api.Generator | None = None,
) -> api.Tensor:
    """He's standard deviation: gain / sqrt(fan)."""
    if _is_empty(tensor):
        return tensor
    fan = _fan(tensor, mode)
    return normal_(tensor, 0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
