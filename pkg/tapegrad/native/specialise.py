"""A plain function rebuilt for one compilation: every name it uses gets its compiled meaning.

dtypes become Numba's types, symbols intrinsics, plain functions inlined helpers, and the float
literals of formulas values of the compute type. Imports Numba: only `compiler.py` may import this.
"""

from __future__ import annotations

import math
import types as python_types
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.core import compiler, types
from numba.core.dispatcher import _FunctionCompiler  # type: ignore[attr-defined]
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ..dtypes import dtype
from .flags import EXACT
from .formula import Formula
from .intrinsics import INTRINSICS
from .keys import KernelError, function_digest, implementations
from .symbols import Symbol

__all__ = ["Specialiser"]


def _type_of(t: dtype) -> Any:
    return types.boolean if t.name == "bool" else getattr(types, t.name)


class Specialiser:
    """Rebuilds functions for one set of bindings."""

    def __init__(self, bindings: dict[str, Any], active: list[Any] | None = None) -> None:
        self.bindings = bindings
        self.compute: Any = bindings.get("T")
        self.active: list[Any] = [] if active is None else active

    def rebuild(self, function: python_types.FunctionType, formula: bool) -> python_types.FunctionType:
        """The function with every global and closure cell replaced by its compiled meaning."""
        if function in self.active:
            raise KernelError(f"{function.__qualname__} calls itself; compiled code may not be recursive")
        self.active.append(function)
        code = self.literals(function.__code__, function) if formula else function.__code__
        space: dict[str, Any] = {"__builtins__": __builtins__, "__name__": function.__module__}
        for name in _names(code):
            if name in self.bindings:
                space[name] = self.bound(name, formula)
            elif name in function.__globals__:
                space[name] = self.meaning(function.__globals__[name], formula)
        cells = tuple(
            python_types.CellType(
                self.bound(name, formula)
                if name in self.bindings
                else self.meaning(cell.cell_contents, formula)
            )
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
        )
        defaults = function.__defaults__ and tuple(self.meaning(v, formula) for v in function.__defaults__)
        self.active.pop()
        return python_types.FunctionType(code, space, function.__name__, defaults, cells)

    def bound(self, name: str, formula: bool) -> Any:
        """The meaning of a bound name. Inside it that name means what it means there, not itself."""
        value = self.bindings[name]
        if not isinstance(value, (python_types.FunctionType, Formula)):
            return self.meaning(value, formula)
        others = {n: v for n, v in self.bindings.items() if n != name}
        return Specialiser(others, self.active).meaning(value, formula)

    def meaning(self, value: Any, formula: bool) -> Any:
        if isinstance(value, dtype):
            return _type_of(value)
        if isinstance(value, Symbol):
            return _symbol(value.name)
        if isinstance(value, Formula):
            inside = self
            if value.bindings is not None:
                inside = Specialiser({**self.bindings, **value.bindings}, self.active)
            return inside.helper(value.function, True)
        if isinstance(value, python_types.FunctionType):
            return self.helper(value, formula)
        if isinstance(value, tuple):
            return tuple(self.meaning(item, formula) for item in value)
        return value

    def helper(self, function: Any, formula: bool) -> Any:
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


def _jit(function: python_types.FunctionType, outlined: bool) -> Any:
    # Inlined unless marked: a call that stays keeps the loop around it from being vectorised.
    dispatcher = numba.njit(**EXACT, forceinline=not outlined)(function)
    plain = dispatcher._compiler
    dispatcher._compiler = _HelperCompiler(
        plain.py_func, plain.targetdescr, plain.targetoptions, plain.locals, plain.pipeline_class
    )
    template = dispatcher.get_call_template

    def without_literals(args: Any, kws: Any) -> Any:
        # A version per constant argument would be compiled otherwise; LLVM knows constants by itself.
        return template(tuple(types.unliteral(a) for a in args), kws)  # type: ignore[attr-defined]

    dispatcher.get_call_template = without_literals
    return dispatcher


class _HelperCompiler(_FunctionCompiler):
    """Compiles a helper up to LLVM's language and no further.

    Nobody calls a helper from outside, so machine code for it would be wasted (half of a kernel's time in
    LLVM), and it is optimised with the kernel that takes it in.
    """

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        flags = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_compile = True
        context = self.targetdescr.target_context
        library = context.codegen().create_library(self.py_func.__qualname__)
        library._optimize_final_module = lambda: None
        library._finalize_final_module = lambda: setattr(library, "_finalized", True)
        result = compiler.compile_extra(
            self.targetdescr.typing_context,
            context,
            self.py_func,
            args,
            return_type,
            flags,
            self.locals,
            library,
            self.pipeline_class,
        )
        # Numba looks a helper up by what would call it: a builtin function that is like no other.
        entry: Any = [].append
        context.insert_user_function(entry, result.fndesc, [library])
        return result._replace(entry_point=entry)


def _call(dispatcher: Any, typing_context: Any, args: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
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
        5: lambda typing_context, x, y, z, w, v: typed(typing_context, x, y, z, w, v),
        6: lambda typing_context, x, y, z, w, v, u: typed(typing_context, x, y, z, w, v, u),
    }
    by_arity[arity].__name__ = name  # for error messages
    return intrinsic(by_arity[arity])


def _checked(dispatcher: Any, function: python_types.FunctionType, compute: Any) -> Any:
    """A formula that must not give a wider float than it computes in."""
    arity = function.__code__.co_argcount
    if not isinstance(compute, types.Float) or arity == 0 or arity > 6:
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
    return Specialiser({"T": t}).helper(function, False)


def _fallback(name: str) -> Any:
    """A function of the C library, one call per element, for a symbol without a function of ours."""
    if name == "pow":
        return lambda x, y: math.pow(x, y)
    function = getattr(math, name, None)
    if function is None:
        raise KernelError(f"the symbol {name} has no meaning in CPU kernels")
    return lambda x: function(x)
