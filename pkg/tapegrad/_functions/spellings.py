"""The names by which arguments are given: PyTorch's, and NumPy's beside them, which PyTorch takes, too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .._spelling import Spelled
from .._structured import Shortcut
from ..ops.registry import BY_NAME
from .base import FUNCTIONS, METHODS

# What else PyTorch calls an argument of this name.
_NUMPY = {"dim": ("axis",), "keepdim": ("keepdims",), "input": ("x", "a", "x1"), "other": ("x2",)}
# PyTorch's names of parameters that are called otherwise where they are defined, beside the first, its `input`.
_PYTORCH = {
    "bmm": {"b": "mat2"},
    "dot": {"b": "tensor"},
    "matmul": {"b": "other"},
    "mm": {"b": "mat2"},
    "mv": {"v": "vec"},
    "result_type": {"a": "tensor1", "b": "other"},
    "swapaxes": {"dim0": "axis0", "dim1": "axis1"},
}
_FIRST = ("x", "a", "self")  # of functions that take a tensor first

# Functions that find their plan at once: see `_structured.Shortcut`.
_SHORT = (
    *("sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "any", "all", "softmax", "log_softmax"),
    *("matmul", "mm", "linear", "cross_entropy", "mse_loss", "cat", "stack"),
)
_OPS = {"matmul": "mm"}  # the op that a function ends in, where that has another name


def _names(name: str, own: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Names for the parameters of a function beside their own, and PyTorch's name for each that has another."""
    others: dict[str, str] = {}
    shown: dict[str, str] = {}
    for k, parameter in enumerate(own):
        usual = "input" if k == 0 and parameter in _FIRST else parameter
        public = _PYTORCH.get(name, {}).get(parameter, usual)
        if public != parameter:
            shown[parameter] = public
        for other in (public, *_NUMPY.get(public, ())):
            if other not in own:
                others[other] = parameter
    return others, shown


def spelled(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its arguments under all their names; itself if they have but one each."""
    code: Any = getattr(function, "__code__", None)
    if code is None:
        return function
    own = code.co_varnames[: code.co_argcount]
    others, shown = _names(name, own + code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    short = Shortcut(function, BY_NAME[_OPS.get(name, name)]) if name in _SHORT else None
    op, tensors_only = getattr(function, "recorded", (-1, False))
    if not others and short is None and op < 0:
        return function
    defaults = getattr(function, "__defaults__", None) or ()
    return functools.update_wrapper(Spelled(function, own, defaults, others, shown, short, op, tensors_only), function)


def _is_called_by_name(function: Callable[..., Any]) -> bool:
    """Whether other names or a shorter way count in a method: its first argument stands before the dot."""
    if not isinstance(function, Spelled):
        return True
    return function.is_short or any(own != function.names[0] for own in function.others.values())


def spell() -> None:
    """Puts functions with all names of their arguments in the place of those with one."""
    made: dict[tuple[str, Callable[..., Any]], Callable[..., Any]] = {}
    for table in (FUNCTIONS, METHODS):
        for name, function in table.items():
            if not name.startswith("__"):
                known = name if name in _PYTORCH else function.__name__
                key = (known, function)
                if key not in made:
                    made[key] = spelled(known, function)
                if table is FUNCTIONS or _is_called_by_name(made[key]):
                    table[name] = made[key]
