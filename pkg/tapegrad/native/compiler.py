"""From a plain function to object code: the only file that drives Numba's compiler.

A function is rebuilt with its globals replaced (`specialise.py`), compiled without any wrapper, and
put behind a C function of the kernel ABI. The result is a few KB of object code that needs nothing
of Numba.
"""

from __future__ import annotations

import types as python_types
from typing import Any

from llvmlite import ir
from numba.core import compiler as numba_compiler
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target

from .engine import target_cpu
from .flags import ALLOWED_UNDEFINED, EXACT
from .intrinsics import Pointer
from .keys import KernelError
from .objects import StoredObject
from .specialise import Specialiser
from .undefined import undefined_symbols

__all__ = ["assembly", "compile_object"]

_KERNEL = types.int64(Pointer(types.int64), types.int64, types.int64)
# What a kernel returns if an exception was raised inside, which no kernel should do.
STATUS_RAISED = -1


def _flags() -> Any:
    flags = numba_compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, **EXACT})
    flags.nrt = False  # no objects, no allocation: no symbols of Numba's runtime
    flags.no_compile = True  # its code goes into the entry's library, which is optimised once
    return flags


@global_compiler_lock
def _build(function: python_types.FunctionType, bindings: dict[str, Any], symbol: str) -> Any:
    """Numba's library object with the finished code."""
    plain = Specialiser(bindings).rebuild(function, False)
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
