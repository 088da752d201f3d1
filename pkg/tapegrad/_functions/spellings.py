"""The names by which arguments are given: PyTorch's, and NumPy's beside them, which PyTorch takes, too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .._spelling import Spelled
from .._structured import Shortcut
from .._tensor import Tensor
from ..ops.registry import BY_NAME
from .base import FUNCTIONS, METHODS

# What else PyTorch calls an argument of this name.
_NUMPY = {"dim": ("axis",), "keepdim": ("keepdims",), "input": ("x", "a", "x1"), "other": ("x2",)}
_NUMPY |= {"split_size_or_sections": ("split_size",)}  # of the method
# PyTorch's names of parameters that are called otherwise where they are defined, beside the first, its `input`.
_PYTORCH = {
    "bmm": {"b": "mat2"},
    "dot": {"b": "tensor"},
    "matmul": {"b": "other"},
    "mm": {"b": "mat2"},
    "mv": {"v": "vec"},
    "result_type": {"a": "tensor1", "b": "other"},
    "repeat": {"sizes": "repeats"},
    "swapaxes": {"dim0": "axis0", "dim1": "axis1"},
}
_STARS = ("size", "sizes", "shape", "dims")
# Methods called too often to look for a name that hardly anybody gives.
_WITHOUT_NAMES = ("view", "reshape", "add_", "sub_", "div_")
# Which arguments are tensors, where a call failed for what was given; and which are dimensions.
_TENSORS = ("input", "self", "tensor", "other", "mat2", "vec", "tensor1", "tensor2", "index", "src", "mask", "target")
_DIMS = ("dim", "dim0", "dim1", "start", "length", "start_dim", "end_dim", "source", "destination")
_FIRST = ("x", "a", "self")  # of functions that take a tensor first

# Functions that find their plan at once: see `_structured.Shortcut`.
_SHORT = (
    *("sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "any", "all", "softmax", "log_softmax"),
    *("logsumexp", "index_select", "matmul", "mm", "linear", "cross_entropy", "mse_loss", "cat", "stack"),
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
    star = _star(name, code)
    if not others and short is None and op < 0 and star is None:
        return function
    defaults = getattr(function, "__defaults__", None) or ()
    made = Spelled(function, own, defaults, others, shown, short, op, tensors_only, star, _check)
    functools.update_wrapper(made, function)
    if FUNCTIONS.get(function.__name__) is function:
        made.__module__ = "tapegrad"  # where it is found by its name, to be pickled
    return made


def _star(name: str, code: Any) -> str | None:
    """The name of sizes or dimensions that are given one by one."""
    if not code.co_flags & inspect.CO_VARARGS or name in _WITHOUT_NAMES:
        return None
    own: str = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
    return _PYTORCH.get(name, {}).get(own, own) if own in _STARS else None


def _check(function: str, name: str, place: int, value: Any) -> None:
    """TypeError for an argument of the wrong kind, of a call that failed for any reason."""
    if name in _TENSORS and not isinstance(value, Tensor):
        raise TypeError(
            f"{function}(): argument '{name}' (position {place}) must be Tensor, not {type(value).__name__}"
        )
    if name in _DIMS and isinstance(value, (float, str, dict)):
        raise TypeError(f"{function}(): argument '{name}' (position {place}) must be int, not {type(value).__name__}")


def _is_called_by_name(function: Callable[..., Any]) -> bool:
    """Whether other names or a shorter way count in a method: its first argument stands before the dot."""
    if not isinstance(function, Spelled):
        return True
    by_name = any(own != function.names[0] for own in function.others.values())
    return by_name or function.is_short or function.star is not None


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
