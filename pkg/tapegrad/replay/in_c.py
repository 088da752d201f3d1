"""Objects whose state is in C, where nothing can be compared: another library's tables, contexts, trees."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from .libraries import LIBRARY, of_library_type
from .named import slots_of

__all__ = ["context_of", "hides_state", "is_function", "kind_of_state"]

WORD = tuple.__itemsize__
# Modules of the standard library whose objects in C have no state, or one that is known to be left out: files, locks.
WITHOUT_STATE = frozenset((
    "builtins", "_io", "io", "_thread", "re", "_sre", "_struct", "operator", "_operator", "functools", "_functools",
    "zoneinfo", "weakref", "_weakref", "_weakrefset", "_abc", "collections", "_collections", "types", "typing",
    "_ctypes", "ctypes",
    "datetime", "uuid", "enum", "array", "random", "_random",
))  # fmt: skip
DECIMAL = "decimal"


@functools.cache
def in_c(kind: Any) -> bool:
    """Whether objects of a class hold something beside their attributes, as the size of their memory tells."""
    if any(c.__module__.partition(".")[0] == LIBRARY for c in kind.__mro__):
        return False
    for c in kind.__mro__[:-1]:
        base = c.__base__ or object
        words = len(slots_of(c)) + (c.__dictoffset__ != base.__dictoffset__)
        words += c.__weakrefoffset__ != base.__weakrefoffset__
        if c.__module__ not in WITHOUT_STATE and c.__basicsize__ - base.__basicsize__ > words * WORD:
            return True
    return False


def hides_state(kind: type) -> bool:
    """Whether objects of a class have state that nothing tells of.

    Not those that are equal by what they are and have a hash, which cannot change, and no functions.
    """
    if not in_c(kind) or is_function(kind):
        return False
    usual: tuple[Any, Any] = (object.__eq__, object.__hash__)
    return kind.__hash__ is None or kind.__eq__ is usual[0] or kind.__hash__ is usual[1]


def is_function(kind: type) -> bool:
    """Whether objects of a library's class in C are called, or make methods: code is constant, with what it holds."""
    names = {name for c in kind.__mro__ for name in ("__call__", "__get__") if name in vars(c)}
    return bool(names) and of_library_type(kind) and in_c(kind)


def kind_of_state(o: Any) -> str:
    return f"{type(o).__module__}.{type(o).__qualname__}"


def context_of(o: Any) -> Callable[[], Any] | None:
    """What computing with decimal numbers depends on, where an object is one of them, their class or module."""
    module = sys.modules.get(DECIMAL)
    if module is None or (o is not module and getattr(o, "__module__", None) != DECIMAL):
        return None
    return lambda: settings_of(module.getcontext())


def settings_of(context: Any) -> tuple[Any, ...]:
    return (
        context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp,
        *context.traps.items(),
    )  # fmt: skip
