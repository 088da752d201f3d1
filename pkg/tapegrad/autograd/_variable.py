"""`Variable`, the spelling from before tensors could require gradients themselves."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor

__all__ = ["Variable"]


class _VariableType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableType):
    """`Variable(tensor, requires_grad=False)` is the tensor's data as a fresh tensor.

    >>> import tapegrad as torch
    >>> w = torch.autograd.Variable(torch.ones(2), requires_grad=True)
    >>> w.requires_grad, isinstance(w, torch.Tensor)
    (True, True)
    """

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: bool | None = None) -> Any:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)
