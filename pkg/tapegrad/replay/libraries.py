"""Whether what code reaches is the user's own or a library's, whose code is taken for constant."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

__all__ = ["HEAP_TYPE", "LIBRARY", "builtin", "library_below", "library_module", "of_library", "of_library_type"]

WITHOUT_CALLS = frozenset(("abc", "builtins", "collections.abc", "enum", "typing"))  # modules of mere base classes
LIBRARY = __name__.split(".")[0]
HEAP_TYPE = 1 << 9  # of a class's `__flags__`: a class statement made it, and its attributes may change


@functools.cache
def library_module(name: Any) -> bool:
    """Whether a module is tapegrad's, or the standard library's or another installed package's."""
    if not isinstance(name, str):  # a metaclass in C may have none
        return name is not None
    top = name.partition(".")[0]
    if top == LIBRARY or top.startswith("_cython_") or (top in sys.stdlib_module_names and top != "__main__"):
        return True
    return "site-packages" in str(getattr(sys.modules.get(name or ""), "__file__", None) or "")


def of_library(f: types.FunctionType) -> bool:
    return library_module(f.__module__) or "site-packages" in f.__code__.co_filename


def builtin(kind: type) -> bool:
    """Whether a class is Python's own: what code defines in a namespace without a name calls itself so too."""
    return kind.__module__ == "builtins" and not kind.__flags__ & HEAP_TYPE


def of_library_type(kind: type) -> bool:
    return builtin(kind) or (kind.__module__ != "builtins" and library_module(kind.__module__))


def library_below(kind: type) -> bool:
    """Whether a class of the user's is derived from one of a library that may call its methods; Module is known."""
    known = {c for m in kind.__mro__ if m.__name__ == "Module" and of_library_type(m) for c in m.__mro__}
    return any(of_library_type(c) and c.__module__ not in WITHOUT_CALLS for c in kind.__mro__ if c not in known)
