"""From a plain function to object code: the only file that drives Numba's compiler.

A function is rebuilt with its globals replaced (dtypes by Numba's types, symbols by intrinsics,
plain functions by inlined helpers), compiled without any wrapper, and put behind a C function
of the kernel ABI. The result is a few KB of object code that needs nothing of Numba.
"""

from __future__ import annotations

import math
import types as python_types
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import compiler as numba_compiler
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError, TypingError
from numba.core.options import TargetOptions
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ..dtypes import dtype
from .flags import ALLOWED_UNDEFINED, EXACT
from .formula import Formula
from .intrinsics import INTRINSICS, Pointer
from .keys import KernelError, function_digest, implementations
from .objects import StoredObject
from .symbols import Symbol
from .undefined import undefined_symbols

__all__ = ["compile_object"]

_KERNEL = types.int64(Pointer(types.int64), types.int64, types.int64)
# What a kernel returns if an exception was raised inside, which no kernel should do.
STATUS_RAISED = -1


def _type_of(t: dtype) -> Any:
    return types.boolean if t.name == "bool" else getattr(types, t.name)


class _Specialiser:
    """Rebuilds functions for one set of bindings."""

    def __init__(self, bindings: dict[str, Any]) -> None:
        self.bindings = bindings
        self.compute = bindings.get("T")
        self.active: list[Any] = []

    def rebuild(self, function: python_types.FunctionType, formula: bool) -> python_types.FunctionType:
        """The function with every global and closure cell replaced by its compiled meaning."""
        if function in self.active:
            raise KernelError(f"{function.__qualname__} calls itself; compiled code may not be recursive")
        self.active.append(function)
        code = self.literals(function.__code__, function) if formula else function.__code__
        space: dict[str, Any] = {"__builtins__": __builtins__, "__name__": function.__module__}
        for name in _names(code):
            if name in self.bindings:
                space[name] = self.meaning(self.bindings[name], formula)
            elif name in function.__globals__:
                space[name] = self.meaning(function.__globals__[name], formula)
        cells = tuple(
            python_types.CellType(self.meaning(self.bindings.get(name, cell.cell_contents), formula))
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
        )
        defaults = function.__defaults__ and tuple(self.meaning(v, formula) for v in function.__defaults__)
        self.active.pop()
        return python_types.FunctionType(code, space, function.__name__, defaults, cells)

    def meaning(self, value: Any, formula: bool) -> Any:
        if isinstance(value, dtype):
            return _type_of(value)
        if isinstance(value, Symbol):
            return _symbol(value.name)
        if isinstance(value, Formula):
            return self.helper(value.function, True)
        if isinstance(value, python_types.FunctionType):
            return self.helper(value, formula)
        if isinstance(value, tuple):
            return tuple(self.meaning(item, formula) for item in value)
        return value

    def helper(self, function: python_types.FunctionType, formula: bool) -> Any:
        digest = function_digest(function, self.bindings, formula)
        found = _helpers.get(digest)
        if found is None:
            found = _jit(self.rebuild(function, formula))
            if formula and self.compute is not None:
                found = _checked(found, function, _type_of(self.compute))
            _helpers[digest] = found
        return found

    def literals(self, code: python_types.CodeType, owner: python_types.FunctionType) -> python_types.CodeType:
        """The code with float literals turned into values of the compute type."""
        if self.compute is None:
            raise KernelError(f"the formula {owner.__qualname__} is compiled without a dtype bound to T")

        def typed(constant: Any) -> Any:
            if isinstance(constant, python_types.CodeType):
                return self.literals(constant, owner)
            if isinstance(constant, tuple):
                return tuple(typed(item) for item in constant)
            if not isinstance(constant, float):
                return constant
            value = self.compute.numpy.type(constant)
            if not self.compute.is_floating_point and float(value) != constant:
                raise KernelError(
                    f"the formula {owner.__qualname__} has the literal {constant!r}, which {self.compute.name} "
                    "cannot hold"
                )
            return value

        return code.replace(co_consts=tuple(typed(constant) for constant in code.co_consts))


_helpers: dict[bytes, Any] = {}


def _names(code: python_types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, python_types.CodeType):
            names |= _names(constant)
    return names


def _jit(function: python_types.FunctionType) -> Any:
    # Always inlined: a call that stays keeps the loop around it from being vectorised.
    return numba.njit(**EXACT, forceinline=True)(function)


def _call(dispatcher: Any, typing_context: Any, args: tuple) -> tuple[Any, Callable[..., Any]]:
    """Signature of a compiled helper for these argument types, and the code that calls it."""
    kind = types.Dispatcher(dispatcher)
    sig = kind.get_call_type(typing_context, args, {})

    def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_function(kind, sig)(builder, values)  # links the helper's code as well

    return sig, make


def _by_arity(typed: Callable[..., Any], arity: int) -> Any:
    """An intrinsic with that many arguments; Numba reads the number from the signature."""
    if arity == 1:
        return intrinsic(lambda typing_context, x: typed(typing_context, x))
    if arity == 2:
        return intrinsic(lambda typing_context, x, y: typed(typing_context, x, y))
    if arity == 3:
        return intrinsic(lambda typing_context, x, y, z: typed(typing_context, x, y, z))
    if arity == 4:
        return intrinsic(lambda typing_context, x, y, z, w: typed(typing_context, x, y, z, w))
    raise KernelError(f"a formula takes one to four values, not {arity}")


def _checked(dispatcher: Any, function: python_types.FunctionType, compute: Any) -> Any:
    """A formula that must not give a wider float than it computes in."""
    arity = function.__code__.co_argcount
    if not isinstance(compute, types.Float) or arity == 0 or arity > 4:
        return dispatcher

    def typed(typing_context: Any, *args: Any) -> Any:
        sig, make = _call(dispatcher, typing_context, args)
        widest = max((a.bitwidth for a in args if isinstance(a, types.Float)), default=0)
        if isinstance(sig.return_type, types.Float) and sig.return_type.bitwidth > max(compute.bitwidth, widest):
            raise TypingError(
                f"the formula {function.__qualname__} widens {compute} to {sig.return_type}: write its literals as "
                "floats (2.0, not 2) and cast integers with T(...)"
            )
        return sig, make

    return _by_arity(typed, arity)


@cache
def _symbol(name: str) -> Any:
    """The compiled meaning of a symbol: an intrinsic, or a function chosen by argument type."""
    if name in INTRINSICS:
        return INTRINSICS[name]
    functions = implementations().get(name)
    if functions is None:
        plain = _fallback(name)
        functions = {"float32": plain, "float64": plain}
    arity = next(iter(functions.values())).__code__.co_argcount

    def typed(typing_context: Any, *args: Any) -> Any:
        common = args[0]
        for other in args[1:]:
            common = typing_context.unify_types(common, other)
        function = functions.get("bool" if common == types.boolean else str(common))
        if function is None:
            raise TypingError(f"{name} takes values of type {', '.join(functions)}, not {args}; cast them first")
        return _call(_for_type(function, str(common)), typing_context, (common,) * len(args))

    return _by_arity(typed, arity)


@cache
def _for_type(function: python_types.FunctionType, type_name: str) -> Any:
    from .. import dtypes

    t = dtypes.bool_ if type_name == "bool" else getattr(dtypes, type_name)
    return _Specialiser({"T": t}).helper(function, False)


def _fallback(name: str) -> python_types.FunctionType:
    """Functions of the C library, one call per element, for symbols without a function of ours."""
    if name == "sigmoid":

        def sigmoid(x):  # type: ignore[no-untyped-def]
            one = x * 0 + 1
            return type(x)(one / (one + math.exp(-x)))

        return sigmoid
    if name == "pow":
        return lambda x, y: math.pow(x, y)
    function = getattr(math, name, None)
    if function is None:
        raise KernelError(f"the symbol {name} has no meaning in CPU kernels")
    return lambda x: function(x)


def _flags() -> Any:
    flags = numba_compiler.Flags()
    options: dict[str, Any] = {"nopython": True, **EXACT}

    class Options(cpu_target.options):  # type: ignore[misc,name-defined]
        pass

    assert issubclass(Options, TargetOptions)
    Options.parse_as_flags(flags, options)
    flags.nrt = False  # no objects, no allocation: no symbols of Numba's runtime
    return flags


@global_compiler_lock
def compile_object(function: python_types.FunctionType, bindings: dict[str, Any], symbol: str) -> StoredObject:
    """Object code that defines `symbol`; KernelError if the function cannot be a kernel."""
    plain = _Specialiser(bindings).rebuild(function, False)
    typing_context, context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    context.refresh()
    try:
        result = numba_compiler.compile_extra(
            typing_context, context, plain, _KERNEL.args, _KERNEL.return_type, _flags(), {}
        )
    except NumbaError as error:
        raise KernelError(f"{function.__module__}.{function.__qualname__} cannot be compiled:\n{error}") from error
    library = context.codegen().create_library(symbol)
    library.enable_object_caching()
    library.add_ir_module(_entry(library, context, result, symbol))
    library.add_linking_library(result.library)
    _keep_only(library, symbol)
    library.finalize()
    code = library._get_compiled_object()
    undefined = undefined_symbols(code, library._final_module)
    foreign = sorted(set(undefined) - ALLOWED_UNDEFINED)
    if foreign:
        raise KernelError(
            f"{function.__module__}.{function.__qualname__} needs {', '.join(foreign)} from outside. A kernel may not "
            "raise, allocate, or call anything but symbols and plain functions"
        )
    return StoredObject(code, symbol, undefined)


def _entry(library: Any, context: Any, result: Any, symbol: str) -> Any:
    """A module with the C function, which calls the compiled one and gives back its status."""
    word = ir.IntType(64)
    module = library.create_ir_module(symbol)
    kind = ir.FunctionType(word, [word.as_pointer(), word, word])
    entry = ir.Function(module, kind, symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    convention = context.call_conv
    inner_kind = convention.get_function_type(_KERNEL.return_type, _KERNEL.args)
    inner = ir.Function(module, inner_kind, result.fndesc.llvm_func_name)
    status, value = convention.call_function(builder, inner, _KERNEL.return_type, _KERNEL.args, entry.args)
    builder.ret(builder.select(status.is_error, word(STATUS_RAISED), value))
    return module


def _keep_only(library: Any, symbol: str) -> None:
    """Make all names but the entry's private before the library is optimised.

    Numba's names are unique in one process only. Objects of several processes end up in one
    engine, which would take the first of two equal weak names for both. It also lets LLVM drop what
    it has inlined.
    """
    optimise = library._optimize_final_module

    def private_then_optimise() -> None:
        module = library._final_module
        for item in (*module.functions, *module.global_variables):
            if not item.is_declaration and item.name != symbol:
                item.linkage = "internal"
        optimise()

    library._optimize_final_module = private_then_optimise
