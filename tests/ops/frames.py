"""Runs the kernels of a structured op on NumPy arrays, with nothing of the tape or of Tensor.

`forward` and `backward` do what the core does: ask the rule, fill a frame, make the planning call, run the
phases. The chunks are run as one call, or grain by grain from the last to the first (`scattered=True`), which
must give the same bits. `Array` is the little tensor that rules and composites see.
"""

from __future__ import annotations

import ctypes
import inspect
from typing import Any

import numpy as np
from tapegrad import _layout as layout
from tapegrad import dtypes
from tapegrad.native import blas_table, compile_kernel

KERNEL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_compiled: dict[Any, Any] = {}


def kernel(function: Any, element: dtypes.dtype) -> Any:
    key = (function, element)
    if key not in _compiled:
        name = f"{function.__module__}.{function.__qualname__}.{element.name}"
        _compiled[key] = KERNEL(compile_kernel(function, {"T": element}, name))
    return _compiled[key]


class KernelError(Exception):
    """A status that the op's table of errors does not name."""


class Array:
    """As much of a tensor as rules and composites ask for, over a NumPy array."""

    def __init__(self, data: Any) -> None:
        self.data = np.asarray(data)
        self.shape = self.data.shape
        self.ndim = self.data.ndim
        self.dtype = dtypes.from_numpy_dtype(self.data.dtype)
        self.requires_grad = False

    def stride(self, dim: int | None = None) -> Any:
        strides = tuple(s // self.data.itemsize for s in self.data.strides)
        return strides if dim is None else strides[dim]

    def is_contiguous(self) -> bool:
        return bool(self.data.flags.c_contiguous)

    def size(self, dim: int) -> int:
        return self.shape[dim]

    def numel(self) -> int:
        return int(self.data.size)

    def reshape(self, *shape: Any) -> Array:
        given = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Array(self.data.reshape(given))

    def expand(self, *shape: int) -> Array:
        lead = len(shape) - self.ndim
        full = tuple(self.shape[i - lead] if s == -1 else s for i, s in enumerate(shape))
        return Array(np.broadcast_to(self.data, full))

    def squeeze(self, dim: int) -> Array:
        return Array(self.data.squeeze(dim)) if self.shape[dim] == 1 else self

    def unsqueeze(self, dim: int) -> Array:
        return Array(np.expand_dims(self.data, dim))

    def permute(self, *dims: int) -> Array:
        return Array(self.data.transpose(dims))

    def transpose(self, a: int, b: int) -> Array:
        return Array(self.data.swapaxes(a, b))

    def t(self) -> Array:
        return Array(self.data.T)

    def contiguous(self) -> Array:
        return Array(np.ascontiguousarray(self.data))

    def to(self, element: dtypes.dtype) -> Array:
        return Array(self.data.astype(element.numpy))

    def sum(self, dim: int | None = None) -> Array:
        return Array(self.data.sum(dim))

    def exp(self) -> Array:
        return Array(np.exp(self.data))

    def log(self) -> Array:
        with np.errstate(divide="ignore"):
            return Array(np.log(self.data))

    def sqrt(self) -> Array:
        return Array(np.sqrt(self.data))

    def abs(self) -> Array:
        return Array(np.abs(self.data))

    def detach(self) -> Array:
        return self

    def __eq__(self, other: Any) -> Any:
        return Array(self.data == getattr(other, "data", other))

    def masked_fill(self, mask: Array, value: float) -> Array:
        return Array(np.where(mask.data, np.asarray(value, self.data.dtype), self.data))

    def __getitem__(self, index: Array) -> Array:
        return Array(self.data[index.data])

    def __ne__(self, other: Any) -> Any:
        return Array(self.data != getattr(other, "data", other))

    __hash__ = None  # type: ignore[assignment]

    def __invert__(self) -> Array:
        return Array(~self.data)

    def __add__(self, other: Any) -> Array:
        return Array(self.data + getattr(other, "data", other))

    def __sub__(self, other: Any) -> Array:
        return Array(self.data - getattr(other, "data", other))

    def __mul__(self, other: Any) -> Array:
        return Array(self.data * getattr(other, "data", other))

    def __truediv__(self, other: Any) -> Array:
        return Array(self.data / getattr(other, "data", other))

    def __neg__(self) -> Array:
        return Array(-self.data)


class Done:
    """What a forward run leaves for backward."""

    def __init__(self, op: Any, plan: Any, inputs: list[Any], y: Any, aux: Any, element: Any) -> None:
        self.op, self.plan, self.inputs, self.y, self.aux, self.element = op, plan, inputs, y, aux, element


def _words(values: Any) -> np.ndarray:
    return np.array(list(values) or [0], dtype=np.int64)


def launch(function: Any, element: Any, frame: np.ndarray, op: Any, scattered: bool) -> None:
    code = kernel(function, element)
    address = frame.ctypes.data
    items = code(address, -1, -1)
    scratch = np.full(int(frame[layout.FRAME_SCRATCH_BYTES]) + 128, 0xA5, dtype=np.uint8)
    frame[layout.FRAME_SCRATCH] = (scratch.ctypes.data + 63) // 64 * 64
    grain = int(frame[layout.FRAME_GRAIN])
    assert grain >= 1
    assert frame[layout.FRAME_PHASES] >= 1
    for phase in range(frame[layout.FRAME_PHASES]):
        frame[layout.FRAME_PHASE] = phase
        chunks = [(0, items)] if items > 0 else []
        if scattered:
            chunks = [(lo, min(items, lo + grain)) for lo in range(0, items, grain)][::-1]
        for lo, hi in chunks:
            status = code(address, lo, hi)
            if status:
                details = int(frame[layout.FRAME_ERROR]), int(frame[layout.FRAME_ERROR + 1])
                raise op.errors[status](*details) if op.errors else KernelError(status)


def forward(op: Any, *inputs: Any, scattered: bool = False, **options: Any) -> Done:
    """Run the op on arrays (or a list of arrays for a variadic op; None for a missing input)."""
    variadic = bool(inputs) and isinstance(inputs[0], list)
    arrays = list(inputs[0]) if variadic else list(inputs)
    seen = [None if x is None else Array(x) for x in arrays]
    plan = op.rule(seen, **options) if variadic else op.rule(*seen, **options)
    kept = []
    for i, x in enumerate(arrays):
        copy = x is not None and (op.contiguous or i in plan.make_contiguous)
        kept.append(np.ascontiguousarray(x).reshape(np.shape(x)) if copy else x)
    element = seen[0].dtype if seen else plan.dtype
    frame = np.zeros(layout.FRAME_WORDS, dtype=np.int64)
    y = _filled(plan.shape, plan.dtype)
    aux = None if plan.aux is None else _filled(*plan.aux)
    addresses = _words(0 if x is None else x.ctypes.data for x in kept)
    if variadic:
        frame[layout.FRAME_IN] = addresses.ctypes.data
    else:
        frame[layout.FRAME_IN : layout.FRAME_IN + len(kept)] = addresses[: len(kept)]
    words = _words(plan.words)
    params = np.frombuffer(bytes(plan.params) or bytes(8), np.uint8)
    frame[layout.FRAME_PARAMS] = params.ctypes.data
    frame[layout.FRAME_OUT] = y.ctypes.data
    frame[layout.FRAME_N] = y.size
    frame[layout.FRAME_EXT] = words.ctypes.data
    frame[layout.FRAME_AUX] = 0 if aux is None else aux.ctypes.data
    frame[layout.FRAME_BLAS] = blas_table(element)
    launch(op.forward, element, frame, op, scattered)
    return Done(op, plan, kept, y, aux, element)


def _filled(shape: Any, element: Any) -> np.ndarray:
    """An array of rubbish, so that an element a kernel forgets is seen."""
    y = np.empty(shape, dtype=element.numpy)
    y.view(np.uint8 if y.ndim else y.dtype).fill(0x5B) if y.size else None
    return y


def backward(done: Done, name: str, g: Any, start: Any = None, scattered: bool = False) -> np.ndarray:
    """The gradient of input `name` (an index for a variadic op), added to `start` if that is given."""
    op = done.op
    position = name if isinstance(name, int) else op.inputs.index(name)
    function, needs = op.backward[op.inputs[0] if isinstance(name, int) else name]
    x = done.inputs[position]
    g = np.ascontiguousarray(g, dtype=done.plan.dtype.numpy).reshape(done.plan.shape)
    if start is None:
        gx = _filled(x.shape, dtypes.from_numpy_dtype(x.dtype))
    else:
        gx = np.array(start, dtype=x.dtype)
    frame = np.zeros(layout.FRAME_WORDS, dtype=np.int64)
    word = layout.FRAME_IN
    for need in needs:
        if need == "y":
            frame[layout.FRAME_Y] = done.y.ctypes.data
        elif need == "aux":
            frame[layout.FRAME_AUX] = done.aux.ctypes.data
        else:
            saved = done.inputs[op.inputs.index(need)]
            frame[word] = 0 if saved is None else saved.ctypes.data
            word += 1
    if isinstance(name, int):
        frame[layout.FRAME_IN] = name
    words = _words(done.plan.words)
    frame[layout.FRAME_OUT] = g.ctypes.data
    frame[layout.FRAME_N] = g.size
    frame[layout.FRAME_EXT] = words.ctypes.data
    frame[layout.FRAME_GX] = gx.ctypes.data
    frame[layout.FRAME_ACC] = int(start is not None)
    frame[layout.FRAME_BLAS] = blas_table(done.element)
    launch(function, done.element, frame, op, scattered)
    return gx


def run(op: Any) -> Any:
    """The op as a function of `Array`s, to stand in for it inside composites."""

    def call(*inputs: Any, **options: Any) -> Array:
        if not op.variadic and op.rule is not None:  # what follows the tensors is given by place
            names = list(inspect.signature(op.rule).parameters)[len(op.inputs) :]
            options = {**dict(zip(names, inputs[len(op.inputs) :], strict=False)), **options}
            inputs = inputs[: len(op.inputs)]
        if inputs and isinstance(inputs[0], list | tuple):
            return Array(forward(op, [x.data for x in inputs[0]], **options).y)
        tensors = [x.data if isinstance(x, Array) else x for x in inputs[: len(op.inputs)]]
        names = list(inspect.signature(op.rule).parameters)[len(op.inputs) :]
        options |= dict(zip(names, inputs[len(op.inputs) :], strict=False))
        return Array(forward(op, *tensors, **options).y)

    return call
