"""Joins the floors: numbers the ops for the tape, gives Tensor its methods and the recorders their helpers.

It runs once, when it is imported, which `api` does before anything else.
"""

from __future__ import annotations

import functools
from typing import Any

from . import (
    _arrays,
    _default_dtype,
    _exchange,
    _factories,
    _from_data,
    _indexing,
    _pointwise,  # noqa: F401 (gives Tensor its recorder)
    _random,
    _structured,
    _tensor,
    autograd,
    native,
)
from ._functions import about, arithmetic, beside_numpy, shapes, tables
from ._functions.base import FUNCTIONS, METHODS
from ._layout import KIND_POINTWISE
from ._tensor import Tensor
from ._tensor_str import format_tensor
from .autograd import _engine, _nodes
from .dtypes import DTYPES
from .ops import checks, optimizer, pointwise_losses, views  # noqa: F401 (their declarations fill the registry)
from .ops.comparison import CASTS
from .ops.registry import BY_NAME, OPS, kernel, kernel_error, pointwise_ops
from .tape import _execute, _tape
from .tape.sweep import sweep

# The operators in the order of Tensor's table; None where a function chooses the op.
_OPERATORS = (
    *("add", "sub", "mul", "div", None, None, None, "bitwise_and", "bitwise_or", "bitwise_xor"),
    *("lt", "le", "eq", "ne", "gt", "ge"),
)


def _register_ops() -> None:
    for op in OPS:
        for word, value in op.row():
            _tape.set_op(op.id, word, value)
        if op.rule is not None:
            op.run = _structured.Runner(op)
        elif op.kind == KIND_POINTWISE:
            op.run = functools.partial(_tensor.run_pointwise, op.id)
    _tape.set_op_names([op.name for op in OPS])


def _kernel(op: int, role: int, layout: int, dt: int) -> int:
    address = kernel(op, role, layout, dt)
    if OPS[op].blas:
        _execute.set_hook("blas_table", native.blas_table(DTYPES[dt]))
    return address


def _load_sweep() -> int:
    address: int = native.compile_kernel(sweep, {}, "sweep")
    return address


def _format(t: Tensor) -> str:
    node = t.grad_fn
    return format_tensor(
        t.detach().numpy(),
        t.dtype.name,
        t.requires_grad,
        None if node is None else node.name(),
        default_dtype_name=_default_dtype.get_default_dtype().name,
    )


def _connect() -> None:
    give = _execute.set_hook
    give("compile_kernel", _kernel)
    give("kernel_error", kernel_error)
    give("run_parallel", native.run_parallel)
    native.threads.when_changed(lambda n: give("n_threads", n))
    set_hook = _tensor.set_hook
    set_hook("array_of", _arrays.array_of)
    set_hook("make_node", _nodes.node_of_record)
    set_hook("index_get", _indexing.get)
    set_hook("index_set", _indexing.set_)
    set_hook("matrix_product", FUNCTIONS["matmul"])
    set_hook("legacy_constructor", _factories.legacy_constructor)
    set_hook("view", BY_NAME["view"].id)
    set_hook("copy_slices", BY_NAME["copy_slices"].id)
    set_hook("overwritten", BY_NAME["overwritten"].id)
    set_hook("neg", BY_NAME["neg"].id)
    set_hook("abs", BY_NAME["abs"].id)
    set_hook("reciprocal", BY_NAME["reciprocal"].id)
    set_hook("invert", arithmetic.invert)
    set_hook("compare_foreign", beside_numpy.compare_foreign)
    set_hook("format_tensor", _format)
    for t, op in zip(DTYPES, CASTS, strict=True):
        _tensor.set_cast(t.index, op.id)
    for which, name in enumerate(_OPERATORS):
        if name is not None:
            _tensor.set_operator(which, BY_NAME[name].id)
    _tensor.set_operator(4, -1, arithmetic.floor_divide, arithmetic.floor_divide_)
    _tensor.set_operator(5, -1, arithmetic.remainder, arithmetic.remainder_)
    _tensor.set_operator(6, -1, arithmetic.pow, arithmetic.pow_)
    _engine.set_sweep(_load_sweep, BY_NAME["add"].id)


def _new_like(make: Any) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("dtype", self.dtype)
        made: Tensor = make(*args, **kwargs)
        return made

    method.__name__ = method.__qualname__ = f"new_{make.__name__}"
    method.__doc__ = f"`{make.__name__}` with this tensor's dtype by default."
    return method


def installed() -> dict[str, Any]:
    """What Tensor has beside what its class statement gives it: methods and properties by name."""
    found: dict[str, Any] = {**METHODS, **_random.METHODS, **_exchange.METHODS, **autograd.METHODS, **about.PROPERTIES}
    found["T"] = property(shapes.reverse_transpose, doc="All dimensions in reverse order, as a view.")
    found["mT"] = property(shapes.matrix_transpose, doc="The last two dimensions exchanged, as a view.")
    for make in (_factories.zeros, _factories.ones, _factories.empty, _factories.full, _from_data.tensor):
        found[f"new_{make.__name__}"] = _new_like(make)
    for flag in ("is_cuda", "is_sparse", "is_quantized", "is_meta", "is_mps"):
        found[flag] = property(lambda self: False, doc="False: tensors live on the CPU, dense.")
    return found


tables.build(pointwise_ops())
_register_ops()
_connect()
for _name, _value in installed().items():
    _tensor.install(_name, _value)
tables.attach_symbols()
