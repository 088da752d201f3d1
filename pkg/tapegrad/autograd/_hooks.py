"""Hooks on tensors: functions that see a gradient as it passes."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from .. import _tensor
from .._tensor import Tensor

_ids = itertools.count()


class RemovableHandle:
    """Takes a hook off again: `remove()`, or leaving a with block."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], key: int) -> None:
        self._hooks: dict[int, Callable[..., Any]] | None = hooks
        self.id = key

    def remove(self) -> None:
        """Removes the hook; nothing happens if it is gone."""
        if self._hooks is not None:
            self._hooks.pop(self.id, None)
        self._hooks = None

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Calls `hook(grad)` when the gradient of this tensor is known; what it returns replaces it.

    A leaf's hook sees the gradient of one backward call, summed, before it is accumulated.
    RuntimeError if the tensor requires no gradient.

    >>> import tapegrad as torch
    >>> x = torch.tensor([1.0], requires_grad=True)
    >>> handle = x.register_hook(lambda g: g * 2)
    >>> (x * 3).sum().backward(); x.grad
    tensor([6.])
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    hooks = _tensor.hooks_of(self).pre
    key = next(_ids)
    hooks[key] = hook
    return RemovableHandle(hooks, key)


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Calls `hook(tensor)` after a backward call has accumulated into the `.grad` of this leaf."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    reference = weakref.ref(self)

    def call() -> None:
        tensor = reference()
        if tensor is not None:
            hook(tensor)

    hooks = _tensor.hooks_of(self).post
    key = next(_ids)
    hooks[key] = call
    return RemovableHandle(hooks, key)
