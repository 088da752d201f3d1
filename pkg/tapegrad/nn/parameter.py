"""Parameter: the tensor that a Module registers when it is assigned as an attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import api
from .._missing import names_missing

__all__ = ["Parameter"]


class Parameter(api.Tensor):
    """A leaf tensor that modules list among their parameters.

    `data` is shared, not copied. `requires_grad` is True unless told otherwise, also under
    `no_grad`. Same as torch.nn.Parameter.

    >>> import tapegrad as torch
    >>> p = torch.nn.Parameter(torch.zeros(2, 3))
    >>> p.requires_grad, p.is_leaf, p.shape
    (True, True, torch.Size([2, 3]))
    """

    def __new__(cls, data: api.Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = api.empty(0)
        elif not isinstance(data, api.Tensor):
            raise TypeError(f"Parameter data should be a Tensor, but got {type(data).__name__}")
        return api.Tensor._make_subclass(cls, data, requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self) -> str:
        return "Parameter containing:\n" + repr(self.detach().requires_grad_(self.requires_grad))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild_parameter, (type(self), self.data, self.requires_grad, self.__dict__)


def _rebuild_parameter(
    cls: type[Parameter], data: api.Tensor, requires_grad: bool, state: dict[str, Any] | None = None
) -> Parameter:
    made = cls(data, requires_grad)
    made.__dict__.update(state or {})
    return made


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
