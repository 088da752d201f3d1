"""Functions that make tensors from sizes and numbers; `_from_data` has those that take data."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _tensor
from ._default_dtype import check_dtype, get_default_dtype
from ._device import require_cpu
from ._from_data import tensor
from ._sized import sized
from ._tensor import Tensor
from .dtypes import bool_, dtype, int64
from .ops import factory

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]


def _sizes(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given as numbers or as one sequence."""
    if not size:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    for n in size:
        if type(n) is not int:
            break
    else:
        return size
    for i, n in enumerate(size):
        if type(n) is not int and (isinstance(n, (bool, float, str)) or not hasattr(n, "__index__")):
            raise TypeError(
                f"{name}(): argument 'size' (position {i + 1}) must be tuple of ints, not {type(n).__name__}"
            )
    return tuple(n.__index__() for n in size)


def _index(name: str, dtype: dtype | None, like: Tensor | None = None) -> int:
    """The number of a dtype argument; of `like`'s type, or the default one, where there is none."""
    if dtype is not None:
        return check_dtype(name, dtype).index
    return _tensor.get_default_dt() if like is None else like._dt


def _finish(t: Tensor, requires_grad: bool) -> Tensor:
    if requires_grad is False:
        return _tensor.fresh(t)
    if not isinstance(requires_grad, bool):
        raise TypeError(f"argument 'requires_grad' must be bool, not {type(requires_grad).__name__}")
    _tensor.fresh(t)
    return t.requires_grad_(True) if requires_grad else t


@sized
def empty(
    *size: Any,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    layout: Any = None,
    memory_format: Any = None,
) -> Tensor:
    """A tensor of this shape with whatever is in memory.

    >>> import tapegrad as torch
    >>> torch.empty(2, 3).shape
    torch.Size([2, 3])
    """
    require_cpu(device)
    return _finish(_tensor.empty(_sizes("empty", size), _index("empty", dtype)), requires_grad)


@sized
def zeros(
    *size: Any, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Tensor:
    """Zeros.

    >>> import tapegrad as torch
    >>> torch.zeros(2)
    tensor([0., 0.])
    """
    require_cpu(device)
    return _finish(_tensor.zeros(_sizes("zeros", size), _index("zeros", dtype)), requires_grad)


@sized
def ones(
    *size: Any, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Tensor:
    """Ones.

    >>> import tapegrad as torch
    >>> torch.ones(2, dtype=torch.int64)
    tensor([1, 1])
    """
    require_cpu(device)
    t = _tensor.empty(_sizes("ones", size), _index("ones", dtype))
    return _finish(_tensor.copy_(t, 1), requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with one number; its dtype follows the number unless given.

    >>> import tapegrad as torch
    >>> torch.full((2,), 7)
    tensor([7, 7])
    """
    require_cpu(device)
    if dtype is None:
        dtype = _scalar_dtype(fill_value)
    t = _tensor.empty(_sizes("full", (size,)), check_dtype("full", dtype).index)
    return _finish(_tensor.copy_(t, fill_value), requires_grad)


def _scalar_dtype(value: Any) -> dtype:
    if isinstance(value, Tensor):
        found: dtype = value.dtype
        return found
    if isinstance(value, bool):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (float, np.floating, np.bool_)):  # NumPy's bools count as floats, as in PyTorch
        return get_default_dtype()
    raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {type(value).__name__}")


def _like(name: str, t: Any) -> Tensor:
    if not isinstance(t, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(t).__name__}")
    return t


def empty_like(
    input: Tensor,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Uninitialised, in the shape and dtype of another tensor."""
    shape, dt = _like("empty_like", input).shape, _index("empty_like", dtype, input)
    require_cpu(device)
    return _finish(_tensor.empty(shape, dt), requires_grad)


def zeros_like(
    input: Tensor,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Zeros in the shape and dtype of another tensor."""
    shape, dt = _like("zeros_like", input).shape, _index("zeros_like", dtype, input)
    require_cpu(device)
    return _finish(_tensor.zeros(shape, dt), requires_grad)


def ones_like(
    input: Tensor,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Ones in the shape and dtype of another tensor."""
    shape, dt = _like("ones_like", input).shape, _index("ones_like", dtype, input)
    require_cpu(device)
    return _finish(_tensor.copy_(_tensor.empty(shape, dt), 1), requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number in the shape and dtype of another tensor."""
    _like("full_like", input)
    return full(tuple(input.shape), fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def arange(
    *args: Any, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False, **named: Any
) -> Tensor:
    """`arange(end)`, `arange(start, end, step=1)`: numbers from start to before end.

    int64 if all arguments are integers, else the default floating type. RuntimeError for a step of
    0 or one that leads away from the end.

    >>> import tapegrad as torch
    >>> torch.arange(1, 2, 0.5)
    tensor([1.0000, 1.5000])
    """
    require_cpu(device)
    for key in named:
        if key not in ("start", "end", "step"):
            raise TypeError(f"arange() got an unexpected keyword argument '{key}'")
    if len(args) > 3 or (not args and "end" not in named):
        raise TypeError("arange() takes 1 to 3 numbers: (end) or (start, end, step=1)")
    values = [named.get("start", 0), None, named.get("step", 1)]
    if len(args) == 1 and "end" not in named:
        values[1] = args[0]
    else:
        for i, a in enumerate(args):
            values[i] = a
        if "end" in named:
            values[1] = named["end"]
    start, end, step = values
    integers = type(start) is int and type(end) is int and type(step) is int
    if not integers:
        start, end, step = (v.item() if isinstance(v, Tensor) else v for v in values)
        for v in (start, end, step):
            if not isinstance(v, (int, float, np.integer, np.floating)):
                raise TypeError(f"arange(): arguments must be Number, not {type(v).__name__}")
        integers = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    d = check_dtype("arange", dtype, int64 if integers else get_default_dtype())
    made: Tensor = factory.arange_op(d)(start, end, step, d)
    return _finish(made, requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers from start to end, both included, counted from both ends as PyTorch does.

    >>> import tapegrad as torch
    >>> torch.linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    require_cpu(device)
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool):
        raise TypeError(f"linspace(): argument 'steps' must be int, not {type(steps).__name__}")
    d = check_dtype("linspace", dtype)
    made: Tensor = factory.linspace_op(d)(start=float(start), end=float(end), steps=int(steps), dtype=d)
    return _finish(made, requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The identity matrix of n rows and m (n) columns.

    >>> import tapegrad as torch
    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    require_cpu(device)
    made: Tensor = factory.eye_op(n=n, m=n if m is None else m, dtype=check_dtype("eye", dtype))
    return _finish(made, requires_grad)


def legacy_constructor(self: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`torch.Tensor(2, 3)` (sizes) and `torch.Tensor([1, 2])` (data), both float32."""
    for key in kwargs:
        if key != "device":
            raise TypeError(f"new() received an invalid keyword argument '{key}'; use torch.tensor(...)")
    require_cpu(kwargs.get("device"))
    if len(args) == 1 and isinstance(args[0], Tensor):
        source = args[0] if args[0].dtype is get_default_dtype() else _tensor.cast(args[0], _tensor.get_default_dt())
    elif len(args) == 1 and isinstance(args[0], (list, tuple, np.ndarray)) and type(args[0]).__name__ != "Size":
        source = tensor(args[0], dtype=get_default_dtype())
    else:
        source = empty(*args) if args else empty(0)
    _tensor.adopt(self, source.detach())
