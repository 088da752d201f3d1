"""Vector code of the matrix product: the tile that stays in registers, and a transposition.

LLVM does not keep a tile of a product in registers when it vectorises plain loops, so these are
written in its vectors. A tile is ROWS rows by one to three vectors of the result; its loop over the
inner size reads one element per row and one vector per column and multiplies each with each.
Imports Numba: only `intrinsics.py` may import this.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .engine import target_cpu

__all__ = ["TILE_INTRINSICS"]

ROWS = 8
_I1 = ir.IntType(1)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)


def lanes_of(real: Any) -> int:
    """Elements of a vector where tiles are worth using, or 0: they want multiply-adds and 32 registers."""
    features = target_cpu()[1].split(",")
    if "+avx512f" in features and "+avx512vl" in features:
        return 512 // int(real.bitwidth)
    return 0


def _real(dtype: Any) -> Any:
    real = getattr(dtype, "instance_type", None)
    if not isinstance(real, types.Float):
        raise TypingError(f"tiles are made of floating point numbers, not {dtype}")
    return real


@intrinsic
def vector_lanes(typing_context, dtype):  # type: ignore[no-untyped-def]
    lanes = lanes_of(_real(dtype))
    return types.int64(dtype), lambda context, builder, sig, args: _I64(lanes)


def _declare(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


class _Vectors:
    """Loads, stores and arithmetic on vectors of one type."""

    def __init__(self, builder: Any, real: Any, scalar: Any) -> None:
        self.builder = builder
        self.lanes = lanes_of(real) or 4
        self.size = real.bitwidth // 8
        self.scalar = scalar
        self.type = ir.VectorType(scalar, self.lanes)
        self.mask_type = ir.VectorType(_I1, self.lanes)
        self.suffix = f"v{self.lanes}f{real.bitwidth}"

    def offset(self, address: Any, elements: Any) -> Any:
        return self.builder.add(address, self.builder.mul(elements, _I64(self.size)))

    def pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, self.type.as_pointer())

    def mask(self, count: Any) -> Any:
        """The lanes below count."""
        wide = ir.VectorType(_I64, self.lanes)
        one = self.builder.insert_element(ir.Constant(wide, ir.Undefined), count, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        counts = self.builder.shuffle_vector(one, ir.Constant(wide, ir.Undefined), zeros)
        return self.builder.icmp_signed("<", ir.Constant(wide, list(range(self.lanes))), counts)

    def load(self, address: Any, mask: Any = None) -> Any:
        if mask is None:
            return self.builder.load(self.pointer(address), align=self.size)
        kind = [self.type.as_pointer(), _I32, self.mask_type, self.type]
        load = _declare(self.builder, f"llvm.masked.load.{self.suffix}.p0", self.type, kind)
        zero = ir.Constant(self.type, [0.0] * self.lanes)
        return self.builder.call(load, [self.pointer(address), _I32(self.size), mask, zero])

    def store(self, value: Any, address: Any, mask: Any = None) -> None:
        if mask is None:
            self.builder.store(value, self.pointer(address), align=self.size)
            return
        kind = [self.type, self.type.as_pointer(), _I32, self.mask_type]
        store = _declare(self.builder, f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), kind)
        self.builder.call(store, [value, self.pointer(address), _I32(self.size), mask])

    def fetch(self, address: Any, write: bool) -> None:
        """A hint to have the line at this address at hand; any address will do."""
        byte = ir.IntType(8).as_pointer()
        fetch = _declare(self.builder, "llvm.prefetch.p0", ir.VoidType(), [byte, _I32, _I32, _I32])
        how = [_I32(int(write)), _I32(3 if write else 2), _I32(1)]
        self.builder.call(fetch, [self.builder.inttoptr(address, byte), *how])

    def splat(self, address: Any) -> Any:
        value = self.builder.load(self.builder.inttoptr(address, self.scalar.as_pointer()))
        one = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), value, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(self.type, ir.Undefined), zeros)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        fma = _declare(self.builder, f"llvm.fma.{self.suffix}", self.type, [self.type] * 3)
        return self.builder.call(fma, [a, b, c])


@intrinsic(prefer_literal=True)
def product_tile(  # type: ignore[no-untyped-def]
    typing_context,
    dtype,
    vectors,
    k,
    a,
    row_step,
    step,
    b,
    b_step,
    c,
    ldc,
    rows,
    columns,
    acc,
    bias,
    ahead,
    ahead_step,
):
    """c (rows <= ROWS, columns) = or += a b, then + bias; all addresses, all steps in elements.

    b has whole vectors of columns: a masked load in the loop costs 6 %. The line at `ahead`, which moves
    on by ahead_step bytes, is fetched at each step for later."""
    real = _real(dtype)
    if not isinstance(vectors, types.IntegerLiteral):
        raise TypingError("the width of a tile is a constant")
    count = vectors.literal_value

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _, _, k, a, row_step, step, b, b_step, c, ldc, rows, columns, acc, bias, ahead, ahead_step = args
        v = _Vectors(builder, real, context.get_value_type(real))
        mask = v.mask(builder.sub(columns, _I64((count - 1) * v.lanes)))
        masks = [None] * (count - 1) + [mask]
        last = builder.sub(rows, _I64(1))
        row = []
        for i in range(ROWS):  # rows that are not there repeat the last one
            inside = builder.icmp_signed("<", _I64(i), last)
            row.append(v.offset(a, builder.mul(builder.select(inside, _I64(i), last), row_step)))
        a_bytes = builder.mul(step, _I64(v.size))
        b_bytes = builder.mul(b_step, _I64(v.size))
        zero = ir.Constant(v.type, [0.0] * v.lanes)
        state = [_I64(0), b, ahead] + [zero] * (ROWS * count)

        def step_on(at: Any, place: Any, ahead: Any, total: list[Any]) -> tuple[Any, Any, Any, list[Any]]:
            v.fetch(ahead, False)
            right = [v.load(builder.add(place, _I64(j * v.lanes * v.size))) for j in range(count)]
            new = []
            for i in range(ROWS):
                left = v.splat(builder.add(row[i], at))
                new += [v.fma(left, right[j], total[i * count + j]) for j in range(count)]
            return builder.add(at, a_bytes), builder.add(place, b_bytes), builder.add(ahead, ahead_step), new

        def loop(turns: Any, state: list[Any]) -> list[Any]:
            """`turns` > 0 steps; the values after them. Unrolling it gains nothing."""
            before = builder.block
            body = builder.append_basic_block("inner")
            after = builder.append_basic_block("after")
            builder.branch(body)
            builder.position_at_end(body)
            remaining = builder.phi(_I64)
            phis = [builder.phi(value.type) for value in state]
            at, place, further, total = step_on(phis[0], phis[1], phis[2], phis[3:])
            new = [at, place, further, *total]
            left = builder.sub(remaining, _I64(1))
            for phi, start, value in zip([remaining, *phis], [turns, *state], [left, *new], strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(value, body)
            builder.cbranch(builder.icmp_signed(">", left, _I64(0)), body, after)
            builder.position_at_end(after)
            return new

        total = loop(k, state)[3:]
        adds = builder.icmp_signed("!=", acc, _I64(0))
        biased = builder.icmp_signed("!=", bias, _I64(0))

        def finish(general: bool) -> None:
            end = builder.append_basic_block("end")
            shift = [zero] * count
            old_masks = list(masks)
            if general:
                whole = ir.Constant(v.mask_type, [1] * v.lanes)
                nothing = ir.Constant(v.mask_type, [0] * v.lanes)
                for j in range(count):
                    own = mask if j == count - 1 else whole
                    at = builder.add(bias, _I64(j * v.lanes * v.size))
                    shift[j] = v.load(at, builder.select(biased, own, nothing))
                    old_masks[j] = builder.select(adds, own, nothing)
            for i in range(ROWS):
                for j in range(count):
                    place = builder.add(v.offset(c, builder.mul(_I64(i), ldc)), _I64(j * v.lanes * v.size))
                    value = total[i * count + j]
                    if general:
                        value = builder.fadd(builder.fadd(v.load(place, old_masks[j]), value), shift[j])
                    v.store(value, place, masks[j])
                if i + 1 < ROWS:
                    following = builder.append_basic_block("row")
                    builder.cbranch(builder.icmp_signed("<", _I64(i + 1), rows), following, end)
                    builder.position_at_end(following)
            builder.branch(end)
            builder.position_at_end(end)

        with builder.if_else(builder.or_(adds, biased)) as (yes, no):
            with yes:
                finish(True)
            with no:
                finish(False)
        return context.get_dummy_value()

    i = types.int64
    return types.none(dtype, vectors, i, i, i, i, i, i, i, i, i, i, i, i, i, i), make


@intrinsic
def transpose_tile(typing_context, dtype, target, ldt, source, lds, rows, columns):  # type: ignore[no-untyped-def]
    """The first rows x columns of source, transposed; whatever fills up the square of vectors is written too.

    Addresses, leading dimensions in elements; rows and columns may exceed the square.
    """
    real = _real(dtype)

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _, target, ldt, source, lds, rows, columns = args
        v = _Vectors(builder, real, context.get_value_type(real))
        mask = v.mask(columns)
        last = builder.sub(rows, _I64(1))
        row = []
        for i in range(v.lanes):
            inside = builder.icmp_signed("<", _I64(i), last)
            place = builder.mul(builder.select(inside, _I64(i), last), lds)
            row.append(v.load(v.offset(source, place), mask))
        index = ir.VectorType(_I32, v.lanes)
        half = v.lanes // 2
        while half:  # exchange the off-diagonal blocks of half x half
            low = ir.Constant(index, [j if not j & half else v.lanes + j - half for j in range(v.lanes)])
            high = ir.Constant(index, [j + half if not j & half else v.lanes + j for j in range(v.lanes)])
            for i in range(v.lanes):
                if not i & half:
                    x, y = row[i], row[i + half]
                    row[i] = builder.shuffle_vector(x, y, low)
                    row[i + half] = builder.shuffle_vector(x, y, high)
            half //= 2
        for i in range(v.lanes):
            v.store(row[i], v.offset(target, builder.mul(_I64(i), ldt)))
        return context.get_dummy_value()

    i = types.int64
    return types.none(dtype, i, i, i, i, i, i), make


TILE_INTRINSICS: dict[str, Any] = {
    "vector_lanes": vector_lanes,
    "product_tile": product_tile,
    "transpose_tile": transpose_tile,
}
