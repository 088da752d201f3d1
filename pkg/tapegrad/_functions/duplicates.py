"""What `copy.copy`, `copy.deepcopy` and `pickle` do with a tensor."""

from __future__ import annotations

import copy as copies
from typing import Any

from .. import _arrays, _duplicates, _tensor
from .._tensor import Tensor

_MEMORY = "tapegrad: copies of memory"  # in the memo of a deep copy; all other keys there are numbers


def shallow_copy(self: Tensor) -> Tensor:
    """The same memory as a leaf, for `copy.copy`."""
    made: Tensor = Tensor._make_subclass(type(self), self.data, self.requires_grad)
    if type(self) is not Tensor:
        made.__dict__.update(self.__dict__)
    attributes = _duplicates.attributes_of(self)
    if attributes:
        _duplicates.set_attributes(made, dict(attributes))
    return made


def _copy_with_memory(t: Tensor, memo: dict[Any, Any]) -> Tensor:
    """A copy of the data in which views of one memory are views of one memory again."""
    memory = memo.setdefault(_MEMORY, {})
    where = _duplicates.place_of_memory(t)
    if where in memory:
        return _duplicates.placed_in(t, memory[where][0])
    if _duplicates.fills_memory(t):
        whole: Tensor = _tensor.clone(t.detach())
        memory[where] = whole, t  # t, so that nothing else comes to lie there meanwhile
        return whole
    memory[where] = _duplicates.copy_of_memory(t), t
    return _duplicates.placed_in(t, memory[where][0])


def deepcopy(self: Tensor, memo: dict[Any, Any]) -> Tensor:
    if id(self) in memo:
        found: Tensor = memo[id(self)]
        return found
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
            "see https://github.com/pytorch/pytorch/pull/103001"
        )
    copy = _copy_with_memory(self, memo)
    if type(self) is not Tensor:
        copy = Tensor._make_subclass(type(self), copy)
    copy.requires_grad_(self.requires_grad)
    memo[id(self)] = copy
    if self.grad is not None:
        copy.grad = deepcopy(self.grad, memo)
    if type(self) is not Tensor:
        copy.__dict__.update(copies.deepcopy(self.__dict__, memo))
    attributes = _duplicates.attributes_of(self)
    if attributes:
        _duplicates.set_attributes(copy, copies.deepcopy(attributes, memo))
    return copy


def _rebuild(array: Any, requires_grad: bool, attributes: Any = None) -> Tensor:
    made = _tensor.clone(_arrays.from_numpy(array)).requires_grad_(requires_grad)
    if attributes:
        _duplicates.set_attributes(made, attributes)
    return made


def _rebuild_subclass(cls: type, state: dict[str, Any], *content: Any) -> Tensor:
    plain = _rebuild(*content)
    made: Tensor = Tensor._make_subclass(cls, plain.detach(), plain.requires_grad)
    made.__dict__.update(state)
    return made


def reduce_ex(self: Tensor, protocol: Any) -> tuple[Any, ...]:
    content = (self.detach().numpy().copy(), self.requires_grad, _duplicates.attributes_of(self))
    if type(self) is Tensor:
        return _rebuild, content
    return _rebuild_subclass, (type(self), self.__dict__, *content)
