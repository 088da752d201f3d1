"""What a kernel is, as a digest: two kernels with the same digest are the same machine code.

The digest covers the byte code, constants and used globals of the function and of everything it
calls, the bindings, the meaning of symbols, the words of a frame, the versions, the CPU and the
flags. It is computed in every process, so it needs neither Numba nor the sources of kernels.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
import math
import os
import sys
import types
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np

from .. import _layout
from ..dtypes import dtype
from .engine import cpu_words, version_file
from .flags import EXACT
from .formula import Formula
from .symbols import Symbol

__all__ = ["KernelError", "file_key", "function_digest", "implementations", "kernel_key"]

# These files decide what symbols and flags mean; editing one must not leave old code in use.
_MEANING_FILES = ("compiler.py", "flags.py", "intrinsics.py", "specialise.py", "tiles.py")
# Environment variables of Numba that change the code it makes.
_NUMBA_VARIABLES = (
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_OPT",
    "NUMBA_LOOP_VECTORIZE",
    "NUMBA_SLP_VECTORIZE",
    "NUMBA_ENABLE_AVX",
    "NUMBA_DEBUGINFO",
    "NUMBA_USE_LLVMLITE_MEMORY_MANAGER",
)
_MODULES = (math, np, builtins)
_LIBRARY_TYPES = (type, types.BuiltinFunctionType, np.ufunc)


class KernelError(TypeError):
    """A kernel or formula that cannot be compiled as it is written; the text says what to change."""


@cache
def implementations() -> dict[str, dict[str, Callable[..., Any]]]:
    """`vecmath.IMPLEMENTATIONS`: symbol name -> dtype name -> plain function."""
    try:
        from . import vecmath
    except ImportError:
        return {}
    return vecmath.IMPLEMENTATIONS


def _global_loads(code: types.CodeType) -> set[str]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_loads(constant)
    return names


@lru_cache(1024)  # helpers come up in many kernels; chains of compiled functions bring new code again and again
def _code_tokens(code: types.CodeType) -> tuple[tuple[bytes, ...], dict[str, None]]:
    """What the code does, and the names it uses, those of the functions inside included."""
    names = dict.fromkeys(code.co_names)
    constants: list[object] = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner, used = _code_tokens(constant)
            constants.append(inner)
            names.update(used)
        else:
            constants.append((type(constant).__name__, constant))
    facts = (
        *(code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_names, code.co_varnames),
        *(code.co_freevars, code.co_cellvars, constants),
    )
    return (code.co_code, code.co_exceptiontable, repr(facts).encode()), names


class _Description:
    """Collects tokens that describe a function; `digest()` hashes them."""

    def __init__(self, bindings: Mapping[str, Any]) -> None:
        self.bindings = bindings
        self.tokens: list[bytes] = []
        self.seen: dict[tuple[int, bool, int], int] = {}
        self.masked: dict[str, Mapping[str, Any]] = {}

    def digest(self) -> bytes:
        # Lengths go in first: without them "ab","c" and "a","bc" would be the same.
        hasher = hashlib.blake2b(digest_size=20)
        hasher.update(b",".join(b"%d" % len(t) for t in self.tokens))
        hasher.update(b"".join(self.tokens))
        return hasher.digest()

    def text(self, *parts: object) -> None:
        self.tokens.append(" ".join(map(str, parts)).encode())

    def function(self, function: Any, formula: bool) -> None:
        mark = (id(function), formula, id(self.bindings))
        if mark in self.seen:
            self.text("again", self.seen[mark])
            return
        self.seen[mark] = len(self.seen)
        compute = getattr(self.bindings.get("T"), "name", "-")  # decides the literals of a formula
        kind = f"formula in {compute}" if formula else "function"
        self.text(kind, function.__name__, getattr(function, "outlined", False))
        code = function.__code__
        names: dict[str, None] = {}
        self.code(code, names)
        self.value("defaults", function.__defaults__, formula, function)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name in self.bindings:
                self.bound(name, formula, function)
            else:
                self.value(name, cell.cell_contents, formula, function)
        for name in names:
            if name in self.bindings:
                self.bound(name, formula, function)
            elif name in function.__globals__:
                self.value(name, function.__globals__[name], formula, function)
            # What remains is a builtin or the name of an attribute: the name in the code says it.

    def bound(self, name: str, formula: bool, owner: types.FunctionType) -> None:
        """What a name is bound to. Inside it that name means what it means there, not itself."""
        outer = self.bindings
        value = outer[name]
        if isinstance(value, (types.FunctionType, Formula)):
            self.bindings = self.masked.setdefault(
                f"{id(outer)} {name}", {n: v for n, v in outer.items() if n != name}
            )
        self.value(name, value, formula, owner)
        self.bindings = outer

    def code(self, code: types.CodeType, names: dict[str, None]) -> None:
        tokens, used = _code_tokens(code)
        self.tokens += tokens
        names.update(used)

    def value(self, name: str, value: Any, formula: bool, owner: types.FunctionType) -> None:
        """One global, closure cell or default; the order of tests is that of frequency."""
        if isinstance(value, types.FunctionType):
            self.text("call", name)
            self.function(value, formula)
        elif isinstance(value, Symbol):
            self.tokens.append(f"symbol {name} {value.name}".encode())
            if not _meaning()[1]:
                self.tokens.append(_symbol_digest(value.name))
        elif value is None or isinstance(value, (bool, int, float, str)):
            self.tokens.append(f"constant {name} {type(value).__name__} {value!r}".encode())
        elif isinstance(value, dtype):
            self.text("dtype", name, value.name)
        elif isinstance(value, Formula):
            self.text("call", name)
            outer = self.bindings
            if value.bindings is not None:
                marks = [f"{n} {getattr(v, 'name', v)}" for n, v in value.bindings.items()]
                self.text("bindings", *marks)
                self.bindings = self.masked.setdefault(
                    f"{id(outer)} + {marks}", {**outer, **value.bindings}
                )
            self.function(value.function, True)
            self.bindings = outer
        elif isinstance(value, tuple):
            self.text("tuple", name, len(value))
            for item in value:
                self.value("item", item, formula, owner)
        elif isinstance(value, np.generic):
            self.text("constant", name, value.dtype, repr(value.item()))
        elif any(value is module for module in _MODULES) or (
            isinstance(value, _LIBRARY_TYPES)
            and getattr(value, "__module__", "numpy") in ("math", "numpy", "builtins")
        ):
            self.text("library", name, value.__name__)
        elif name in _global_loads(owner.__code__) or name in ("item", "defaults"):
            raise KernelError(
                f"{owner.__qualname__} uses {name!r}, a {type(value).__name__}, which has no meaning in "
                "compiled code; use numbers, dtypes, symbols and plain functions, imported by name"
            )


@cache
def _symbol_digest(name: str) -> bytes:
    """What a symbol means where the sources of its vectorised functions are not there to say it."""
    description = _Description({})
    for type_name, function in implementations().get(name, {}).items():
        description.text(type_name)
        description.function(function, False)
    return description.digest()


def function_digest(function: types.FunctionType, bindings: Mapping[str, Any], formula: bool) -> bytes:
    """Digest of a function under bindings, without what is the same for all of a process."""
    description = _Description(bindings)
    description.function(function, formula)
    return description.digest()


def kernel_key(function: types.FunctionType, bindings: Mapping[str, Any]) -> str:
    """The name under which the object code of a kernel is kept, 40 hexadecimal digits."""
    digest = function_digest(function, bindings, False)
    return hashlib.blake2b(_environment() + digest, digest_size=20).hexdigest()


def file_key(path: str) -> str:
    """The key of what is compiled from a whole file of ours rather than from a kernel."""
    return hashlib.blake2b(_environment() + _read(path), digest_size=20).hexdigest()


@cache
def _environment() -> bytes:
    hasher = hashlib.blake2b(digest_size=20)
    for part in (
        *sys.version_info,
        sys.platform,
        sys.implementation.cache_tag,
        cpu_words(),
        *(os.environ.get(name) for name in _NUMBA_VARIABLES),
        sorted(EXACT.items()),
        sorted((n, v) for n, v in vars(_layout).items() if isinstance(v, int)),
    ):
        hasher.update(repr(part).encode() + b"\0")
    for package in ("numba", "llvmlite"):
        hasher.update(version_file(package))
    hasher.update(_meaning()[0])
    return hasher.digest()


@cache
def _meaning() -> tuple[bytes, bool]:
    """Digest of the sources that decide what symbols and flags mean, and whether those of `vecmath` are all there.

    Reading them is faster than importing them (0.3 ms in place of 8).
    """
    here = os.path.dirname(__file__)
    functions = os.path.join(here, "vecmath")
    try:
        files = sorted(name for name in os.listdir(functions) if name.endswith(".py"))
    except OSError:
        files = []
    hasher = hashlib.blake2b(digest_size=20)
    for name in _MEANING_FILES:
        hasher.update(_read(os.path.join(here, name)) + b"\0")
    texts = [_read(os.path.join(functions, name)) for name in files]
    for text in texts:
        hasher.update(text + b"\0")
    return hasher.digest(), "__init__.py" in files and all(texts)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # installed without sources; the versions must do
        return b""
