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
from llvmlite import ir
from numba.core import compiler as numba_compiler
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError, TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ..dtypes import dtype
from .engine import target_cpu
from .flags import ALLOWED_UNDEFINED, EXACT
from .formula import Formula
from .intrinsics import INTRINSICS, Pointer
from .keys import KernelError, function_digest, implementations
from .objects import StoredObject
from .symbols import Symbol
from .undefined import undefined_symbols

__all__ = ["assembly", "compile_object"]

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
            found = _jit(self.rebuild(function, formula), getattr(function, "outlined", False))
            if formula and self.compute is not None:
                found = _checked(found, function, _type_of(self.compute))
            _helpers[digest] = found
        return found

    def literals(
        self, code: python_types.CodeType, owner: python_types.FunctionType
    ) -> python_types.CodeType:
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
                    f"the formula {owner.__qualname__} has the literal {constant!r}, which "
                    f"{self.compute.name} cannot hold"
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


def _jit(function: python_types.FunctionType, outlined: bool = False) -> Any:
    # Inlined unless marked: a call that stays keeps the loop around it from being vectorised.
    return numba.njit(**EXACT, forceinline=not outlined)(function)


def _call(dispatcher: Any, typing_context: Any, args: tuple) -> tuple[Any, Callable[..., Any]]:
    """Signature of a compiled helper for these argument types, and the code that calls it."""
    kind = types.Dispatcher(dispatcher)
    sig = kind.get_call_type(typing_context, args, {})

    def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_function(kind, sig)(builder, values)  # links the helper's code as well

    return sig, make


def _by_arity(typed: Callable[..., Any], arity: int, name: str) -> Any:
    """An intrinsic with that many arguments; Numba reads the number from the signature."""
    by_arity: dict[int, Any] = {
        1: lambda typing_context, x: typed(typing_context, x),
        2: lambda typing_context, x, y: typed(typing_context, x, y),
        3: lambda typing_context, x, y, z: typed(typing_context, x, y, z),
        4: lambda typing_context, x, y, z, w: typed(typing_context, x, y, z, w),
    }
    by_arity[arity].__name__ = name  # for error messages
    return intrinsic(by_arity[arity])


def _checked(dispatcher: Any, function: python_types.FunctionType, compute: Any) -> Any:
    """A formula that must not give a wider float than it computes in."""
    arity = function.__code__.co_argcount
    if not isinstance(compute, types.Float) or arity == 0 or arity > 4:
        return dispatcher

    def typed(typing_context: Any, *args: Any) -> Any:
        sig, make = _call(dispatcher, typing_context, args)
        result = sig.return_type
        widest = max([compute.bitwidth] + [a.bitwidth for a in args if isinstance(a, types.Float)])
        if isinstance(result, types.Float) and result.bitwidth > widest:
            raise TypingError(
                f"the formula {function.__qualname__} widens {compute} to {result}: write its literals "
                "as floats (2.0, not 2) and cast integers with T(...)"
            )
        return sig, make

    return _by_arity(typed, arity, function.__name__)


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
            kinds = ", ".join(functions)
            raise TypingError(f"{name} takes values of type {kinds}, not {common}; cast them first")
        return _call(_for_type(function, str(common)), typing_context, (common,) * len(args))

    return _by_arity(typed, arity, name)


@cache
def _for_type(function: python_types.FunctionType, type_name: str) -> Any:
    from .. import dtypes

    t = dtypes.bool_ if type_name == "bool" else getattr(dtypes, type_name)
    return _Specialiser({"T": t}).helper(function, False)


def _fallback(name: str) -> python_types.FunctionType:
    """A function of the C library, one call per element, for a symbol without a function of ours."""
    if name == "pow":
        return lambda x, y: math.pow(x, y)
    function = getattr(math, name, None)
    if function is None:
        raise KernelError(f"the symbol {name} has no meaning in CPU kernels")
    return lambda x: function(x)


def _flags() -> Any:
    flags = numba_compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, **EXACT})
    flags.nrt = False  # no objects, no allocation: no symbols of Numba's runtime
    flags.no_compile = True  # its code goes into the entry's library, which is optimised once
    return flags


@global_compiler_lock
def _build(function: python_types.FunctionType, bindings: dict[str, Any], symbol: str) -> Any:
    """Numba's library object with the finished code."""
    plain = _Specialiser(bindings).rebuild(function, False)
    typing_context, context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    context.refresh()
    library = context.codegen().create_library(symbol)
    library.enable_object_caching()
    try:
        result = numba_compiler.compile_extra(
            typing_context, context, plain, _KERNEL.args, _KERNEL.return_type, _flags(), {}, library
        )
    except NumbaError as error:
        raise KernelError(f"{_where(function)} cannot be compiled:\n{error}") from error
    library.add_ir_module(_entry(library, context, result, symbol))
    _keep_only(library, symbol)
    library.finalize()
    return library


def compile_object(function: Any, bindings: dict[str, Any], symbol: str) -> StoredObject:
    """Object code that defines `symbol`; KernelError if the function cannot be a kernel."""
    library = _build(function, bindings, symbol)
    code = library._get_compiled_object()
    undefined = undefined_symbols(code, library._final_module)
    foreign = sorted(set(undefined) - ALLOWED_UNDEFINED)
    if foreign:
        raise KernelError(
            f"{_where(function)} needs {', '.join(foreign)} from outside. A kernel may not raise, allocate, "
            "or call anything but symbols and plain functions"
        )
    return StoredObject(code, symbol, undefined)


def assembly(function: Any, bindings: dict[str, Any]) -> str:
    """The machine code of a kernel as text, to see whether its loops are vector loops."""
    return str(_build(function, bindings, "kernel").get_asm_str())


def _where(function: python_types.FunctionType) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _entry(library: Any, context: Any, result: Any, symbol: str) -> Any:
    """A module with the C function, which calls the compiled one and gives back its status."""
    word = ir.IntType(64)
    module = library.create_ir_module(symbol)
    kind = ir.FunctionType(word, [word.as_pointer(), word, word])
    entry = ir.Function(module, kind, symbol)
    if _wide_vectors():
        set.add(entry.attributes, '"prefer-vector-width"="512"')  # llvmlite knows no attributes of this form
    builder = ir.IRBuilder(entry.append_basic_block())
    convention = context.call_conv
    inner_kind = convention.get_function_type(_KERNEL.return_type, _KERNEL.args)
    inner = ir.Function(module, inner_kind, result.fndesc.llvm_func_name)
    status, value = convention.call_function(builder, inner, _KERNEL.return_type, _KERNEL.args, entry.args)
    builder.ret(builder.select(status.is_error, word(STATUS_RAISED), value))
    return module


def _wide_vectors() -> bool:
    """Whether to ask for 512-bit vectors, which LLVM avoids on many CPUs that have them.

    Measured on one of those: exp 25 % faster, `x * x` the same, at any length. The first
    generation lowers its clock for them, so it keeps LLVM's choice.
    """
    name, features = target_cpu()
    return "+avx512f" in features.split(",") and name not in ("skylake-avx512", "cascadelake", "cooperlake")


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
