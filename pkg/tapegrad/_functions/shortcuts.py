"""Public functions that find their plan at once: see `_structured.Shortcut`.

Each keeps the signature, the errors and the text of the function that it stands for. It is a function
of its own, and not the Shortcut itself, so that it binds as a method and shows its signature.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .._structured import Shortcut
from ..ops.registry import BY_NAME, Op
from .base import FUNCTIONS, METHODS


def _over_dims_with_dtype(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        return shortcut(x, dim, keepdim, dtype)

    return short


def _over_dims(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        return shortcut(x, dim, keepdim)

    return short


def _extreme(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(x: Any, dim: Any = (), keepdim: bool = False) -> Any:
        return shortcut(x, dim, keepdim)

    return short


def _along(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(input: Any, dim: int, dtype: Any = None) -> Any:
        return shortcut(input, dim, dtype)

    return short


def _joining(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(tensors: Any, dim: int = 0) -> Any:
        return shortcut(tensors, dim)

    return short


def _product(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(a: Any, b: Any) -> Any:
        return shortcut(a, b)

    return short


def _linear(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(x: Any, weight: Any, bias: Any = None) -> Any:
        return shortcut(x, weight, bias)

    return short


def _cross_entropy(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(
        input: Any,
        target: Any,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        return shortcut(input, target, weight, ignore_index, reduction, label_smoothing)

    return short


def _distance(function: Callable[..., Any], op: Op) -> Callable[..., Any]:
    shortcut = Shortcut(function, op)

    @functools.wraps(function)
    def short(input: Any, target: Any, reduction: str = "mean") -> Any:
        return shortcut(input, target, reduction)

    return short


def shorten() -> None:
    """Puts the shortcuts in the place of what they stand for."""
    for make, names in (
        (_over_dims_with_dtype, ("sum", "mean", "prod")),
        (_over_dims, ("any", "all", "argmax", "argmin")),
        (_extreme, ("amax", "amin")),
        (_along, ("softmax", "log_softmax")),
    ):
        for name in names:  # the op that the function ends in has its name
            FUNCTIONS[name] = METHODS[name] = make(FUNCTIONS[name], BY_NAME[name])
    for name in ("mm", "matmul"):
        FUNCTIONS[name] = METHODS[name] = _product(FUNCTIONS[name], BY_NAME["mm"])
    FUNCTIONS["linear"] = _linear(FUNCTIONS["linear"], BY_NAME["linear"])
    FUNCTIONS["cross_entropy"] = _cross_entropy(FUNCTIONS["cross_entropy"], BY_NAME["cross_entropy"])
    FUNCTIONS["mse_loss"] = _distance(FUNCTIONS["mse_loss"], BY_NAME["mse_loss"])
    FUNCTIONS["cat"] = _joining(FUNCTIONS["cat"], BY_NAME["cat"])
