"""Every public tensor function in one namespace, and the wiring of the floors below.

Importing this module registers the ops with the tape, gives the Tensor class its methods and tells
the recorders whom to ask for kernels, indexing, printing and products.
"""

from __future__ import annotations

from typing import Any

from . import _functions, _indexing, _random, _tensor, _views, autograd, native
from ._device import device
from ._factories import *  # noqa: F403
from ._factories import get_default_dtype, legacy_constructor, typed_constructor
from ._generator import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from ._modes import *  # noqa: F403
from ._random import bernoulli, normal, rand, rand_like, randint, randint_like, randn, randn_like, randperm
from ._runtime import _multi_tensor_update, empty_cache, get_num_threads, memory_stats, set_num_threads, show_config, tape_stats
from ._size import Size
from ._tensor import Tensor
from ._tensor_str import format_tensor, set_printoptions
from .autograd import _engine
from .dtypes import DTYPES, bool_, dtype, float32, float64, int32, int64, promote_types, uint8
from .ops import arithmetic, comparison, exponential, optimizer, views  # noqa: F401
from .ops.comparison import CASTS
from .ops.registry import BY_NAME, OPS, Op, kernel, kernel_error
from .tape import _tape
from .tape.sweep import sweep


def _register_ops() -> None:
    for op in OPS:
        for word, value in op.row():
            _tape.set_op(op.id, word, value)
        if op.rule is not None:
            op.run = _tensor.Runner(op)
    _tensor.set_op_names([op.name for op in OPS])


def _kernel(op: int, role: int, layout: int, dt: int) -> int:
    address = kernel(op, role, layout, dt)
    if OPS[op].blas:
        _tensor.set_hook("blas_table", native.blas_table(DTYPES[dt]))
    return address


def _load_sweep() -> int:
    address: int = native.compile_kernel(sweep, {}, "sweep")
    return address


def _connect() -> None:
    set_hook = _tensor.set_hook
    set_hook("compile_kernel", _kernel)
    set_hook("kernel_error", kernel_error)
    set_hook("run_parallel", native.run_parallel)
    native.threads.when_changed(lambda n: set_hook("n_threads", n))
    set_hook("index_get", _indexing.get)
    set_hook("index_set", _indexing.set_)
    set_hook("matrix_product", _functions.FUNCTIONS["matmul"])
    set_hook("legacy_constructor", legacy_constructor)
    set_hook("view", BY_NAME["view"].id)
    set_hook("copy_slices", BY_NAME["copy_slices"].id)
    set_hook("neg", BY_NAME["neg"].id)
    set_hook("abs", BY_NAME["abs"].id)
    set_hook("invert", _functions.invert)
    set_hook("format_tensor", _format)
    for t, op in zip(DTYPES, CASTS, strict=True):
        _tensor.set_cast(t.index, op.id)
    operators = ("add", "sub", "mul", "div", None, None, None, "bitwise_and", "bitwise_or", "bitwise_xor",
                 "lt", "le", "eq", "ne", "gt", "ge")
    for which, name in enumerate(operators):
        if name is not None:
            _tensor.set_operator(which, BY_NAME[name].id)
    _tensor.set_operator(4, -1, _functions.floor_divide)
    _tensor.set_operator(5, -1, _functions.remainder)
    _tensor.set_operator(6, -1, _functions.pow)
    _engine.set_sweep(_load_sweep, BY_NAME["add"].id, [op.name for op in OPS])


def _format(t: Tensor) -> str:
    node = t.grad_fn
    return format_tensor(
        t.detach().numpy(),
        t.dtype.name,
        t.requires_grad,
        None if node is None else node.name(),
        default_dtype_name=get_default_dtype().name,
    )


def _install() -> None:
    for table in (_functions.METHODS, _random.METHODS, autograd.METHODS):
        for name, function in table.items():
            if not name.startswith("_register"):
                _tensor.install(name, function)
    _tensor.install("T", property(_functions.reverse_transpose, doc="All dimensions in reverse order, as a view."))
    _tensor.install("mT", property(_functions.matrix_transpose, doc="The last two dimensions exchanged, as a view."))
    _tensor.install("unbind", _functions.unbind)
    for name in ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"):
        _tensor.install(name, _new_like(name))
    for flag in ("is_cuda", "is_sparse", "is_quantized", "is_meta", "is_mps"):
        _tensor.install(flag, property(lambda self: False, doc="False: tensors live on the CPU, dense."))


def _new_like(name: str) -> Any:
    make = globals()[name.removeprefix("new_")]

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.setdefault("dtype", self.dtype)
        made: Tensor = make(*args, **kwargs)
        return made

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name.removeprefix('new_')}` with this tensor's dtype by default."
    return method


_functions.build([op for op in OPS if op in OPS and op.kind == BY_NAME["add"].kind])
_register_ops()
_connect()
_install()
_functions.attach_symbols()

float = float32  # noqa: A001
double = float64
long = int64
int = int32  # noqa: A001
bool = bool_  # noqa: A001
inf, nan, pi, e = (_functions.inf_and_nan()[k] for k in ("inf", "nan", "pi", "e"))
FloatTensor = typed_constructor(float32, "FloatTensor")
DoubleTensor = typed_constructor(float64, "DoubleTensor")
LongTensor = typed_constructor(int64, "LongTensor")
IntTensor = typed_constructor(int32, "IntTensor")
ByteTensor = typed_constructor(uint8, "ByteTensor")
BoolTensor = typed_constructor(bool_, "BoolTensor")
globals().update({k: f for k, f in _functions.FUNCTIONS.items() if not k.startswith("_")})
_ = (_multi_tensor_update, empty_cache, get_num_threads, memory_stats, set_num_threads, show_config, tape_stats, Op, Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state, bernoulli, normal, rand, rand_like,
     randint, randint_like, randn, randn_like, randperm, Size, set_printoptions, dtype, promote_types, device, _views)
