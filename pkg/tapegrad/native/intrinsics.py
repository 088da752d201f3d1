"""What the symbols mean in compiled CPU code: LLVM instructions, calls, and our own functions.

Imports Numba, so only the compiler may import this, when something has to be compiled. The math
symbols are in `specialise.py`, since they compile further functions.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

from .engine import target_cpu
from .tiles import TILE_INTRINSICS

__all__ = ["INTRINSICS", "Pointer"]

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)


class Pointer(types.Type):
    """Address of elements of one type. Numba's CPointer reads truth values wrongly, hence our own."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Pointer({dtype})")


@register_model(Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pointer: Pointer) -> None:
        super().__init__(manager, pointer, manager.lookup(pointer.dtype).get_data_type().as_pointer())


@infer_global(operator.getitem)
class _Read(AbstractTemplate):
    def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        pointer, index = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(pointer.dtype, pointer, types.intp)
        return None


@infer_global(operator.setitem)
class _Write(AbstractTemplate):
    def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        pointer, index, _ = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(types.none, pointer, types.intp, pointer.dtype)
        return None


@lower_builtin(operator.getitem, Pointer, types.Integer)
def _read(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = builder.load(builder.gep(args[0], [args[1]], inbounds=True))
    if sig.return_type == types.boolean:
        return builder.icmp_unsigned("!=", value, value.type(0))
    return value


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
def _write(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    value = context.get_value_as_data(builder, sig.args[2], args[2])
    builder.store(value, builder.gep(args[0], [args[1]], inbounds=True))


def _common(typing_context: Any, a: Any, b: Any, name: str) -> Any:
    common = typing_context.unify_types(a, b) if _is_number(a) and _is_number(b) else None
    if common is None:
        raise TypingError(f"{name} takes two values of one type, not {a} and {b}")
    return common


def _is_number(t: Any) -> bool:
    return isinstance(t, (types.Number, types.Boolean)) and not isinstance(t, types.Complex)


def _dtype_of(t: Any, name: str) -> Any:
    if not isinstance(t, types.NumberClass):
        raise TypingError(f"the last argument of {name} is a dtype, not {t}")
    return t.instance_type


@intrinsic
def pointer(typing_context, address, dtype):  # type: ignore[no-untyped-def]
    result = Pointer(_dtype_of(dtype, "pointer"))

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, dtype), make


@intrinsic
def address_of(typing_context, pointer):  # type: ignore[no-untyped-def]
    if not isinstance(pointer, Pointer):
        raise TypingError(f"address_of takes a pointer, not {pointer}")
    return types.int64(pointer), lambda context, builder, sig, args: builder.ptrtoint(args[0], _I64)


def _prefetch(write: int) -> Any:
    def typed(typing_context, address):  # type: ignore[no-untyped-def]
        def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
            place = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [place.type, _I32, _I32, _I32])
            fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(fetch, [place, _I32(write), _I32(3), _I32(1)])
            return context.get_dummy_value()

        return types.none(types.int64), make

    return intrinsic(typed)


@intrinsic
def bitcast(typing_context, value, dtype):  # type: ignore[no-untyped-def]
    result = _dtype_of(dtype, "bitcast")
    if not _is_number(value) or getattr(value, "bitwidth", -1) != getattr(result, "bitwidth", 0):
        raise TypingError(f"bitcast keeps the size: {value} cannot become {result}")

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(result))

    return result(value, dtype), make


@intrinsic
def where(typing_context, condition, a, b):  # type: ignore[no-untyped-def]
    common = _common(typing_context, a, b, "where")
    return common(types.boolean, common, common), lambda context, builder, sig, args: builder.select(*args)


def _has_fma() -> bool:
    """Whether one instruction multiplies and adds; without it llvm.fma is a slow call per element."""
    import platform

    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686", "x86"):
        return "+fma" in target_cpu()[1].split(",")
    return platform.machine().lower() in ("aarch64", "arm64", "ppc64le", "s390x")


def _llvm(builder: Any, name: str, *args: Any) -> Any:
    suffix = {ir.FloatType: "f32", ir.DoubleType: "f64"}[type(args[0].type)]
    kind = ir.FunctionType(args[0].type, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix}"), args)


@intrinsic
def fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    common = _common(typing_context, _common(typing_context, a, b, "fma"), c, "fma")
    if not isinstance(common, types.Float):
        raise TypingError(f"fma takes floating point values, not {common}")

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if _has_fma():
            return _llvm(builder, "fma", *args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return common(common, common, common), make


def _rounding(symbol: str, llvm_name: str) -> Any:
    """floor, ceil, ...: integers are what they are already."""

    def typed(typing_context, x):  # type: ignore[no-untyped-def]
        if not _is_number(x):
            raise TypingError(f"{symbol} takes a number, not {x}")

        def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
            return _llvm(builder, llvm_name, args[0]) if isinstance(x, types.Float) else args[0]

        return x(x), make

    return intrinsic(typed)


@intrinsic
def sqrt(typing_context, x):  # type: ignore[no-untyped-def]
    if not isinstance(x, types.Float):
        raise TypingError(f"sqrt takes a floating point value, not {x}; cast it first")
    return x(x), lambda context, builder, sig, args: _llvm(builder, "sqrt", args[0])


@intrinsic
def fabs(typing_context, x):  # type: ignore[no-untyped-def]
    if not _is_number(x):
        raise TypingError(f"fabs takes a number, not {x}")

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if isinstance(x, types.Float):
            return _llvm(builder, "fabs", args[0])
        if not getattr(x, "signed", False):
            return args[0]
        negative = builder.icmp_signed("<", args[0], args[0].type(0))
        return builder.select(negative, builder.neg(args[0]), args[0])

    return x(x), make


@intrinsic
def isnan(typing_context, x):  # type: ignore[no-untyped-def]
    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if isinstance(x, types.Float):
            return builder.fcmp_unordered("uno", args[0], args[0])
        return cgutils.false_bit

    return types.boolean(x), make


def _extremum(symbol: str, comparison: str) -> Any:
    """maximum and minimum: NaN if either is NaN, and -0.0 counts as less than 0.0."""

    def typed(typing_context, a, b):  # type: ignore[no-untyped-def]
        common = _common(typing_context, a, b, symbol)

        def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
            if isinstance(common, types.Float):
                return _llvm(builder, symbol, *args)
            signed = getattr(common, "signed", False)
            compare = builder.icmp_signed if signed else builder.icmp_unsigned
            return builder.select(compare(comparison, *args), *args)

        return common(common, common), make

    return intrinsic(typed)


def _function_at(builder: Any, address: Any, result: Any, arguments: list[Any]) -> Any:
    return builder.inttoptr(address, ir.FunctionType(result, arguments).as_pointer())


@intrinsic
def call_kernel(typing_context, address, frame, lo, hi):  # type: ignore[no-untyped-def]
    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        kernel = _function_at(builder, args[0], _I64, [_I64.as_pointer(), _I64, _I64])
        return builder.call(kernel, [builder.inttoptr(args[1], _I64.as_pointer()), args[2], args[3]])

    return types.int64(types.int64, types.int64, types.int64, types.int64), make


@intrinsic
def call_int(typing_context, address, word):  # type: ignore[no-untyped-def]
    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.call(_function_at(builder, args[0], _I64, [_I64]), [args[1]])

    return types.int64(types.int64, types.int64), make


@intrinsic
def call_words(typing_context, address, lo, hi, words):  # type: ignore[no-untyped-def]
    """Calls a kernel on a frame of these words, which live for the call."""
    if not isinstance(words, types.BaseTuple):
        raise TypingError(f"call_words takes a tuple of integers, not {words}")
    frame = types.UniTuple(types.int64, len(words))

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        place = cgutils.alloca_once(builder, _I64, size=len(words))
        for i in range(len(words)):
            builder.store(builder.extract_value(args[3], i), builder.gep(place, [_I32(i)]))
        kernel = _function_at(builder, args[0], _I64, [_I64.as_pointer(), _I64, _I64])
        return builder.call(kernel, [place, args[1], args[2]])

    i = types.int64
    return i(i, i, i, frame), make


def _call_gemm(symbol: str, real: Any) -> Any:
    """Fortran BLAS: everything by address, 32-bit ints. A transposition is 0 or ord("N") for no."""

    def typed(  # type: ignore[no-untyped-def]
        typing_context, address, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc
    ):
        matrices = [t if isinstance(t, Pointer) else types.int64 for t in (a, b, c)]

        def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
            scalar = context.get_value_type(real)
            byte = ir.IntType(8)

            def by_address(value: Any) -> Any:
                # In the entry block: an alloca inside a loop would grow the stack at each turn.
                slot = cgutils.alloca_once(builder, value.type)
                builder.store(value, slot)
                return slot

            def letter(flag: Any) -> Any:
                no = builder.or_(
                    builder.icmp_signed("==", flag, flag.type(0)),
                    builder.icmp_signed("==", flag, flag.type(ord("N"))),
                )
                return by_address(builder.select(no, byte(ord("N")), byte(ord("T"))))

            def size(value: Any) -> Any:
                return by_address(builder.trunc(value, _I32))

            def matrix(value: Any) -> Any:
                if isinstance(value.type, ir.IntType):
                    return builder.inttoptr(value, scalar.as_pointer())
                return builder.bitcast(value, scalar.as_pointer())

            routine, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = args
            passed = [letter(ta), letter(tb), size(m), size(n), size(k), by_address(alpha)]
            passed += [matrix(a), size(lda), matrix(b), size(ldb), by_address(beta), matrix(c), size(ldc)]
            kind = [value.type for value in passed]
            builder.call(_function_at(builder, routine, ir.VoidType(), kind), passed)
            return context.get_dummy_value()

        i = types.int64
        result = types.none(i, i, i, i, i, i, real, matrices[0], i, matrices[1], i, real, matrices[2], i)
        return result, make

    typed.__name__ = symbol
    return intrinsic(typed)


INTRINSICS: dict[str, Any] = {
    "pointer": pointer,
    "address_of": address_of,
    "bitcast": bitcast,
    "prefetch_read": _prefetch(0),
    "prefetch_write": _prefetch(1),
    "where": where,
    "fma": fma,
    "floor": _rounding("floor", "floor"),
    "ceil": _rounding("ceil", "ceil"),
    "trunc": _rounding("trunc", "trunc"),
    "rint": _rounding("rint", "rint"),
    "sqrt": sqrt,
    "fabs": fabs,
    "isnan": isnan,
    "maximum": _extremum("maximum", ">"),
    "minimum": _extremum("minimum", "<"),
    "call_kernel": call_kernel,
    "call_int": call_int,
    "call_words": call_words,
    "call_sgemm": _call_gemm("call_sgemm", types.float32),
    "call_dgemm": _call_gemm("call_dgemm", types.float64),
    **TILE_INTRINSICS,
}
