"""Which argument makes the form of a call another than that of the call before, and what to do about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor

__all__ = ["changed_argument"]

MODES = "grad mode, inference mode or the default dtype"


def changed_argument(fn: Callable[..., Any], before: Any, now: Any, args: Any, kwargs: Any) -> str:
    """A reason: the first of the arguments whose form is not what it was before, and of what kind it is."""
    (_, *old), (_, *new) = before[0], now[0]
    names = names_of_positions(fn, len(new))
    for name, a, b, value in zip(names, [*old, *[None] * len(new)], new, args, strict=False):
        if a != b:
            return described(*differing(name, a, b, value))
    (_, *old), (_, *new) = before[1], now[1]
    for (name, value), a, b in zip(kwargs.items(), [*old, *[None] * len(new)], new, strict=True):
        if a != b:
            return described(*differing(name, a and a[1], b[1], value))
    if before[2] != now[2]:
        return f"{MODES} is another at each call"
    return "the number of its arguments is another at each call"


def names_of_positions(fn: Callable[..., Any], n: int) -> list[str]:
    """What the parameters are called that are given by position."""
    names: list[str] = []
    try:
        for p in inspect.signature(fn).parameters.values():
            if p.kind is p.VAR_POSITIONAL:
                names += [f"{p.name}[{k}]" for k in range(n - len(names))]
            elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(p.name)
    except (TypeError, ValueError):
        pass
    return [*names, *[f"number {k + 1}" for k in range(len(names), n)]][:n]


def differing(name: str, a: Any, b: Any, value: Any) -> tuple[str, Any, bool]:
    """The innermost part of an argument in which two forms differ, its value, and whether it was of one class."""
    same_kind = isinstance(a, tuple) and isinstance(b, tuple) and a[:1] == b[:1]
    if same_kind and type(value) in (list, tuple) and len(a) == len(b):
        for k, (x, y, part) in enumerate(zip(a[1:], b[1:], value, strict=False)):
            if x != y:
                return differing(f"{name}[{k}]", x, y, part)
    if same_kind and type(value) is dict and len(a) == len(b):
        for x, y, (key, part) in zip(a[1:], b[1:], value.items(), strict=False):
            if x != y and x[0] == y[0]:
                return differing(f"{name}[{key!r}]" if isinstance(key, (str, int)) else name, x[1], y[1], part)
    return name, value, same_kind


def described(name: str, value: Any, same_kind: bool) -> str:
    """The reason; `advice.py` tells by its words what helps."""
    kind = type(value)
    if isinstance(value, Tensor):
        what = "a tensor of another shape, dtype or layout at each call"
        what = what if same_kind else "a tensor or something else, in turn"
    elif isinstance(value, (int, float, complex)) and kind is not bool:
        what = "another number at each call"
    elif isinstance(value, (str, bytes)):
        what = "another text at each call"
    elif kind in (list, tuple, dict):
        what = f"a {kind.__name__} of other things at each call"
    elif inspect.isfunction(value) or inspect.ismethod(value):
        what = "another function at each call"
    elif kind is bool or value is None:
        what = f"{value!r} or something else, in turn"
    else:
        what = f"another object at each call ({kind.__name__})"
    return f"its argument {name} is {what}"
