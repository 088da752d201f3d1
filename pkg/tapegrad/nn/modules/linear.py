"""Linear, Identity and Flatten: the layers around a matrix product."""

from __future__ import annotations

import math
from typing import Any

from ... import api
from .. import init
from ..parameter import Parameter
from .module import Module

__all__ = ["Flatten", "Identity", "Linear"]


class Linear(Module):
    """y = x W^T + b for inputs of shape (*, in_features); result (*, out_features).

    Weight (out_features, in_features) and bias start uniform in +-1/sqrt(in_features), drawn in
    this order exactly as PyTorch draws them.

    >>> import tapegrad as torch
    >>> torch.nn.Linear(20, 30)(torch.zeros(128, 20)).shape
    torch.Size([128, 30])
    """

    in_features: int
    out_features: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(api.empty((out_features, in_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(api.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        # sqrt(5) makes the bound 1/sqrt(in_features); written this way for the same roundings as torch.
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: api.Tensor) -> api.Tensor:
        # Straight to the dictionary: an attribute that is a parameter is found only after a miss.
        params = self._parameters
        if "weight" in params and "bias" in params:
            return api.linear(input, params["weight"], params["bias"])
        return api.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Returns its input; takes any arguments at construction and ignores them.

    >>> import tapegrad as torch
    >>> torch.nn.Identity(54, unused=True)(3)
    3
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Merges the dimensions start_dim to end_dim into one.

    >>> import tapegrad as torch
    >>> torch.nn.Flatten()(torch.zeros(32, 1, 5, 5)).shape
    torch.Size([32, 25])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: api.Tensor) -> api.Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
