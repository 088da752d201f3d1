"""The registry: an operation is declared once, here everything about it is looked up.

`pointwise` takes a scalar formula and one derivative formula per input; `structured` takes kernels
written by hand, the rule that plans a call, and the derivative in tensor operations. From a
declaration the floors above derive the tensor method, the function, the in-place form, the tests,
the documentation row and the list of kernels; the compiled kernels are made here at first use.

A derivative formula is called with (g, inputs..., y[, p]): the incoming gradient, the inputs, the
result and the parameters. An argument whose name begins with an underscore is not read, so it is
not saved for the backward either.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, NamedTuple

from .. import native
from .._layout import (
    DERIVATIVE_IDENTITY,
    DERIVATIVE_KERNEL,
    DERIVATIVE_NONE,
    KIND_POINTWISE,
    KIND_STRUCTURED,
    KIND_VIEW,
    MAX_INPUTS,
    OP_DERIVATIVE,
    OP_DTYPES,
    OP_FLAGS,
    OP_INPUT_DTYPE,
    OP_INPUTS,
    OP_KIND,
    OP_NEEDS,
    OP_PROMOTION,
    OP_RESULT,
    OPFLAG_BLAS,
    OPFLAG_BOUNDS,
    OPFLAG_NO_BOOL,
    OPFLAG_VARIADIC,
    PROMOTE_FLOAT,
    PROMOTE_SAME,
)
from ..dtypes import DTYPES, bool_, dtype, float32, float64, int32, int64, uint8
from . import backward_loops, loops

FLOATS = (float32, float64)
INTEGERS = (int64, int32, uint8)
NUMBERS = FLOATS + INTEGERS
ALL = (*NUMBERS, bool_)

IDENTITY = "identity"  # a derivative: the incoming gradient itself
NOT_IMPLEMENTED = "not implemented"  # a derivative: backward raises RuntimeError


def float_bits(value: float) -> int:
    """The bits of a float64 as an integer, to carry it among a plan's words."""
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits


@dataclass
class Plan:
    """What a structured op's rule answers for a call.

    `shape` and `dtype` of the result, the op's own `words`, packed `params`, `aux`: None or the
    (shape, dtype) of a second result kept for the backward; `make_contiguous`: indices of inputs
    that the kernel needs without gaps.
    """

    shape: Sequence[int]
    dtype: dtype
    words: Sequence[int] = ()
    params: Any = b""
    aux: tuple[Sequence[int], Any] | None = None
    make_contiguous: Sequence[int] = ()


def _no_tensors(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("the floor that has tensors is not loaded, or this op is not called like that")


class Index(NamedTuple):
    """An input of a sample: random whole numbers in [low, high), int64."""

    shape: tuple[int, ...]
    high: int
    low: int = 0


class Given(NamedTuple):
    """An input of a sample, written out: nested lists of numbers of this type, or of the op's for None."""

    values: Any
    dtype: dtype | None = None


@dataclass
class Op:
    """One operation; see `pointwise` and `structured` for the fields."""

    name: str
    kind: int
    inputs: tuple[str, ...]
    forward: Callable[..., Any]
    derivatives: tuple[Any, ...]
    dtypes: tuple[dtype, ...]
    doc: str
    params: tuple[str, ...] = ()
    result: dtype | None = None
    promotion: int = PROMOTE_SAME
    input_dtypes: tuple[dtype | None, ...] = ()
    reference: Callable[..., Any] | None = None
    domain: tuple[float, float] = (-3.0, 3.0)
    method: bool = True
    function: bool = True
    special: tuple[float, ...] = ()
    inplace: bool = False
    rule: Callable[..., Plan] | None = None
    backward: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = field(default_factory=dict)
    derivative: dict[str, Callable[..., Any]] = field(default_factory=dict)
    contiguous: bool = True
    variadic: bool = False
    blas: bool = False
    returns_aux: bool = False
    bounds: bool = False
    no_bool: bool = False
    errors: Mapping[int, Callable[[int, int], Exception]] = field(default_factory=dict)
    samples: Sequence[Any] = ()
    constants: Mapping[str, Callable[[int], Any] | None] = field(default_factory=dict)
    id: int = -1
    run: Callable[..., Any] = _no_tensors  # set by the floor that has Tensors

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    def needs(self, k: int) -> int:
        """What the derivative for input k reads: bits 0..2 inputs, 3 the result, 4 aux."""
        bits = 0
        if self.kind != KIND_POINTWISE:
            names: Sequence[str] = self.backward[self.inputs[k]][1] if self.inputs[k] in self.backward else ()
            for name in names:
                bits |= 8 if name == "y" else 16 if name == "aux" else 1 << self.inputs.index(name)
            return bits
        for d in (self.derivatives[k], self.derivative.get(self.inputs[k])):
            if callable(d):
                read = [not name.startswith("_") for name in d.__code__.co_varnames[1 : d.__code__.co_argcount]]
                bits |= sum(1 << i for i in range(len(self.inputs)) if read[i]) | (8 if read[len(self.inputs)] else 0)
        return bits

    def row(self) -> Iterator[tuple[int, int]]:
        """The op's numbers for the op table, as (word, value)."""
        yield OP_KIND, self.kind
        yield OP_INPUTS, len(self.inputs)
        flags = (
            *((self.blas, OPFLAG_BLAS), (self.variadic, OPFLAG_VARIADIC), (self.bounds, OPFLAG_BOUNDS)),
            (self.no_bool, OPFLAG_NO_BOOL),
        )
        yield OP_FLAGS, sum(bit for given, bit in flags if given)
        yield OP_DTYPES, sum(1 << t.index for t in self.dtypes)
        yield OP_RESULT, -1 if self.result is None else self.result.index
        yield OP_PROMOTION, self.promotion
        for k in range(MAX_INPUTS):
            fixed = self.input_dtypes[k] if k < len(self.input_dtypes) else None
            yield OP_INPUT_DTYPE + k, -1 if fixed is None else fixed.index
            if k < len(self.inputs):
                yield OP_NEEDS + k, self.needs(k)
                yield OP_DERIVATIVE + k, self.derivative_kind(k)

    def derivative_kind(self, k: int) -> int:
        if self.kind == KIND_STRUCTURED:
            return DERIVATIVE_KERNEL if self.inputs[k] in self.backward else DERIVATIVE_NONE
        if self.kind == KIND_VIEW:
            return DERIVATIVE_KERNEL
        d = self.derivatives[k]
        return DERIVATIVE_NONE if d is None else DERIVATIVE_IDENTITY if d == IDENTITY else DERIVATIVE_KERNEL


OPS: list[Op] = []
BY_NAME: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Adds an op under the next number; ValueError if the name is taken."""
    if op.name in BY_NAME:
        raise ValueError(f"there is an op named {op.name} already")
    op.id = len(OPS)
    OPS.append(op)
    BY_NAME[op.name] = op
    return op


def pointwise_ops() -> list[Op]:
    """The pointwise ops, in the order of their numbers."""
    return [op for op in OPS if op.kind == KIND_POINTWISE]


def structured_ops() -> list[Op]:
    """The structured ops, in the order of their numbers."""
    return [op for op in OPS if op.kind == KIND_STRUCTURED]


def pointwise(
    name: str,
    forward: Callable[..., Any],
    derivatives: Sequence[Any],
    *,
    doc: str,
    reference: Callable[..., Any],
    dtypes: tuple[dtype, ...] = FLOATS,
    result: dtype | None = None,
    promote: str = "same",
    input_dtypes: tuple[dtype | None, ...] = (),
    params: tuple[str, ...] = (),
    domain: tuple[float, float] = (-3.0, 3.0),
    method: bool = True,
    inplace: bool = True,
    bounds: bool = False,
    no_bool: bool = False,
    on_tensors: Mapping[str, Callable[..., Any]] | None = None,
    function: bool = True,
    special: tuple[float, ...] = (),
) -> Op:
    """Declares an element-wise op of one to three inputs.

    `derivatives` holds per input a formula, IDENTITY, None where no gradient flows, or NOT_IMPLEMENTED
    where backward raises; `promote`
    is "same" or "float" (integers are computed in the default floating type); `result` fixes the
    result's type; with `bounds` a Python number has to fit the type, else integers wrap around; with
    `no_bool` bools are refused; without `function` it has no public name of its own; `reference` is the same
    function on NumPy float64 arrays; `domain` the interval where the tests sample.

    `special` are points where the op changes its way, beside those where each op is tested (zeros, ties, infinities,
    NaN, denormals, the largest numbers).

    `on_tensors` holds, by the input's name, a derivative in tensor operations that takes the formula's arguments. It is
    for where the formula itself would give a derivative without the history that PyTorch's has, or one
    that is wrong at the ends.
    """
    code = forward.__code__
    count = code.co_argcount - (1 if params else 0)
    return register(
        Op(
            name,
            KIND_POINTWISE,
            tuple(code.co_varnames[:count]),
            forward,
            tuple(derivatives),
            dtypes,
            doc,
            params,
            result,
            PROMOTE_FLOAT if promote == "float" else PROMOTE_SAME,
            input_dtypes,
            reference,
            domain,
            method=method,
            inplace=inplace and result is None,
            derivative=dict(on_tensors or {}),
            function=function,
            special=special,
            bounds=bounds,
            no_bool=no_bool,
        )
    )


def structured(
    name: str,
    *,
    inputs: tuple[str, ...],
    rule: Callable[..., Plan] | None,
    forward: Callable[..., Any],
    backward: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] | None = None,
    derivative: dict[str, Callable[..., Any]] | None = None,
    dtypes: tuple[dtype, ...] = FLOATS,
    contiguous: bool = True,
    variadic: bool = False,
    blas: bool = False,
    returns_aux: bool = False,
    errors: Mapping[int, Callable[[int, int], Exception]] | None = None,
    doc: str,
    samples: Sequence[Any] = (),
    constants: Mapping[str, Callable[[int], Any] | None] | None = None,
    reference: Callable[..., Any] | None = None,
    method: bool = False,
) -> Op:
    """Declares an op with hand-made kernels; the words of its frames are in `_layout`.

    `rule` is a pure function of its arguments' shapes, strides and dtypes: its plans are kept.
    `returns_aux` says that the second result belongs to the caller too.

    `samples` are the calls that the tests make. A sample is a tuple of one entry per input (of a
    variadic op: per tensor), followed by a dict of the rule's other arguments if there are any. An
    entry is a shape, for random numbers of the op's type; `Index` or `Given`; or None for an input
    that may be missing. An op without inputs gets the argument `dtype` from the tests. An op
    without a rule is called by its own code: its samples are what that code passes, see
    `random.py` and `optimizer.py`.

    `constants` names every size at which the kernels change their way: blocks, bands, room in scratch. It maps the
    constant's name in the kernel's module to a function that makes a sample in which this size is n. The tests call
    it with the constant's value, one less, one more and twice that, and refuse a kernel whose code reads a
    constant that is not named here. None stands for a number that is no size of the data.
    """
    return register(
        Op(
            name,
            KIND_STRUCTURED,
            inputs,
            forward,
            (),
            dtypes,
            doc,
            rule=rule,
            backward=backward or {},
            derivative=derivative or {},
            contiguous=contiguous,
            variadic=variadic,
            blas=blas,
            returns_aux=returns_aux,
            errors=errors or {},
            samples=samples,
            constants=constants or {},
            reference=reference,
            method=method,
        )
    )


# ---------------------------------------------------------------- kernels


def types_of(op: Op, compute: dtype) -> dict[str, Any]:
    """The type bindings of an op's loops for one compute type."""
    inputs = [
        (op.input_dtypes[k] if k < len(op.input_dtypes) else None) or compute for k in range(MAX_INPUTS)
    ]
    result = op.result or compute
    return {
        "T": compute,
        "TO": result,
        "T0": inputs[0],
        "T1": inputs[1],
        "T2": inputs[2],
        "ST": compute.itemsize,
        "SO": result.itemsize,
        "S0": inputs[0].itemsize,
        "S1": inputs[1].itemsize,
        "S2": inputs[2].itemsize,
    }


def _formula(op: Op, formula: Callable[..., Any], backward: bool) -> Any:
    """The formula as the loops call it: with a last argument for the parameters."""
    if op.params:
        return native.Formula(formula)
    wrapper = loops.WITHOUT_PARAMS[backward][len(op.inputs) - 1]
    bound = FunctionType(
        wrapper.__code__, {**wrapper.__globals__, "plain": native.Formula(formula)}, wrapper.__name__
    )
    return native.Formula(bound)


def kernel(op_id: int, role: int, layout: int, dt: int) -> int:
    """The address of a kernel: role 0 is the forward, role 1 + k the backward for input k.

    Compiles it at its first use ever, or loads it from the object cache.
    """
    op = OPS[op_id]
    compute = DTYPES[dt]
    name = f"{op.name}.{'forward' if role == 0 else f'backward{role - 1}'}.{layout}.{compute.name}"
    if op.kind != KIND_POINTWISE:
        if role == 0:
            func = op.forward
        elif op.variadic:
            func = op.backward[op.inputs[0]][0]
        else:
            func = op.backward[op.inputs[role - 1]][0]
        return native.compile_kernel(func, {"T": compute, "ST": compute.itemsize}, name)
    n = len(op.inputs) - 1
    bindings = types_of(op, compute)
    if role == 0:
        bindings["formula"] = _formula(op, op.forward, False)
        return native.compile_kernel(loops.FORWARD[layout][n], bindings, name)
    derivative = op.derivatives[role - 1]
    if derivative == NOT_IMPLEMENTED:
        raise RuntimeError(f"derivative for {op.name} is not implemented")
    if derivative == IDENTITY:
        bindings["formula"] = native.Formula(backward_loops.PASS_THROUGH[n])
    else:
        bindings["formula"] = _formula(op, derivative, True)
    bindings["TARGET"] = role - 1
    return native.compile_kernel(backward_loops.BACKWARD[layout][n], bindings, name)


def kernel_error(op_id: int, status: int, first: int, second: int) -> Exception:
    """The exception for a kernel's status and its two words of detail."""
    op = OPS[op_id]
    make = op.errors.get(status)
    if make is None:
        return RuntimeError(f"{op.name}: the kernel failed with status {status} ({first}, {second})")
    return make(first, second)
