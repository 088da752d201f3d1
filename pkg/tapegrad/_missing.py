"""Names that PyTorch has and tapegrad has not: their AttributeErrors say so, and what there is instead.

The list is made by `python -m tapegrad.testing.pytorch_names` and read when the first name is missed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

_LIST = os.path.join(os.path.dirname(__file__), "pytorch_names.txt")

# What to write in place of a name.
INSTEAD = {
    "torch.Tensor.addmm": "`bias + a @ b`",
    "torch.Tensor.cov": "NumPy's `np.cov` on `x.numpy()`",
    "torch.Tensor.half": "float32, which is `x.float()`",
    "torch.Tensor.bfloat16": "float32, which is `x.float()`",
    "torch.Tensor.to_sparse": "the dense tensor",
    "torch.addmm": "`bias + a @ b`",
    "torch.baddbmm": "`bias + a @ b`",
    "torch.bfloat16": "`torch.float32`",
    "torch.complex64": "two real tensors",
    "torch.einsum": "`matmul`, `transpose` and `sum`",
    "torch.float16": "`torch.float32`",
    "torch.half": "`torch.float32`",
    "torch.hub": "a file of weights: `torch.load`",
    "torch.int16": "`torch.int32`",
    "torch.int8": "`torch.int32`",
    "torch.jit": "`torch.compile`",
    "torch.nn.DataParallel": "the module itself: kernels use all the cores that `torch.set_num_threads` allows",
    "torch.nn.Softmax2d": "`torch.nn.Softmax(dim=-3)`",
    "torch.outer": "`a[:, None] * b`",
    "torch.profiler": "`torch.compile(f).table()` or Python's profiler",
    "torch.short": "`torch.int32`",
    "torch.utils.checkpoint": "`torch.compile(f, options={'memory_limit': ...})`",
    "torch.utils.tensorboard": "Matplotlib, which draws tensors",
}


@functools.cache
def names() -> dict[str, frozenset[str]]:
    """The public names of PyTorch's namespaces."""
    found: dict[str, frozenset[str]] = {}
    with open(_LIST, encoding="utf-8") as file:
        for section in file.read().split("\n\n")[1:]:
            title, _, rest = section.partition(":\n")
            found[title] = frozenset(rest.split())
    return found


def explain(namespace: str, name: str) -> str | None:
    """What to say of a name that is missed, if PyTorch has it."""
    if name.startswith("_") or name not in names().get(namespace, ()):
        return None
    full = f"{namespace}.{name}"
    instead = f"; use {INSTEAD[full]} instead" if full in INSTEAD else ""
    return f"`{full}` exists in PyTorch; tapegrad does not have it yet{instead}"


def missing_attribute(kind: str, name: str) -> str:
    """The same of an attribute of a tensor, whose class has this name."""
    return explain("torch.Tensor", name) or f"'{kind}' object has no attribute '{name}'"


def names_missing(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module: raises AttributeError, since what is there is found without it."""
    namespace = "torch" + module.removeprefix("tapegrad")

    def __getattr__(name: str) -> Any:
        text = explain(namespace, name) or f"module {module!r} has no attribute {name!r}"
        raise AttributeError(text, name=name)

    return __getattr__
