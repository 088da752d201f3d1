"""Whether what code reaches is the user's own or a library's, whose code is taken for constant.

A module is known by its file, and a function by the file of its code: users have modules named as ones of the standard
library (`profile.py`, `code/train.py`), and copy a library function's name and module to their own (`functools.wraps`).
The package of a function that is compiled is the user's, wherever it lies.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from typing import Any

__all__ = [
    "HEAP_TYPE", "LIBRARY", "builtin", "library_below", "library_module", "note_own", "of_library", "of_library_type",
    "standard",
]  # fmt: skip

WITHOUT_CALLS = frozenset(("abc", "builtins", "collections.abc", "enum", "typing"))  # modules of mere base classes
LIBRARY = __name__.split(".")[0]
EXAMPLES = f"{LIBRARY}.examples"  # programs as users write them
HEAP_TYPE = 1 << 9  # of a class's `__flags__`: a class statement made it, and its attributes may change
STDLIB = tuple({os.path.join(sysconfig.get_paths()[k], "") for k in ("stdlib", "platstdlib")})
INSTALLED = ("site-packages", "dist-packages")

_own: set[str] = set()  # packages of functions that were compiled


def note_own(fn: Any) -> None:
    """The package in which a compiled function, or the class of a compiled object, was made is no library."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    name = fn.__globals__.get("__name__") if isinstance(fn, types.FunctionType) else type(fn).__module__
    top = top_of(name)
    if top not in (LIBRARY, "builtins", "numpy") and not standard(name):
        _own.add(top)


def top_of(name: Any) -> str:
    return name.partition(".")[0] if isinstance(name, str) else ""


def library_module(name: Any) -> bool:
    """Whether a module is tapegrad's, or the standard library's or another installed package's."""
    if not isinstance(name, str):  # a metaclass in C may have none
        return name is not None
    top = top_of(name)
    if top == LIBRARY or top.startswith("_cython_"):
        return not name.startswith(EXAMPLES)
    if top in _own:
        return False
    return standard(name) or installed(str(getattr(sys.modules.get(name), "__file__", None) or ""))


def standard(name: Any) -> bool:
    """Whether a module is the standard library's."""
    top = top_of(name)
    if top not in sys.stdlib_module_names or top == "__main__":
        return False
    module = sys.modules.get(name, sys.modules.get(top))
    file = getattr(module, "__file__", None)
    return file is None or standard_file(str(file))


@functools.cache
def standard_file(file: str) -> bool:
    return not installed(file) and (file.startswith(STDLIB) or os.path.realpath(file).startswith(STDLIB))


def installed(file: str) -> bool:
    """Whether a file was put where packages are installed."""
    return any(folder in file for folder in INSTALLED)


def of_library(f: types.FunctionType) -> bool:
    """Whether a function was made by a library's code."""
    home = f.__globals__.get("__name__")
    if top_of(home) == LIBRARY:
        return library_module(home)
    file = f.__code__.co_filename
    if file.startswith("<"):  # code that was made from a text
        return file.startswith("<frozen") or library_module(home)
    return standard_file(file) or (installed(file) and top_of(home) not in _own)


def builtin(kind: type) -> bool:
    """Whether a class is Python's own: what code defines in a namespace without a name calls itself so too."""
    return kind.__module__ == "builtins" and not kind.__flags__ & HEAP_TYPE


def of_library_type(kind: type) -> bool:
    return builtin(kind) or (kind.__module__ != "builtins" and library_module(kind.__module__))


def library_below(kind: type) -> bool:
    """Whether a class of the user's is derived from one of a library that may call its methods; Module is known."""
    known = {c for m in kind.__mro__ if m.__name__ == "Module" and of_library_type(m) for c in m.__mro__}
    return any(of_library_type(c) and c.__module__ not in WITHOUT_CALLS for c in kind.__mro__ if c not in known)
