"""How error messages name the type of an object, as torch.typename does."""

from __future__ import annotations

from ... import api

_TENSOR_TYPES = {
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "int64": "LongTensor",
    "int32": "IntTensor",
    "uint8": "ByteTensor",
    "bool": "BoolTensor",
}


def typename(obj: object) -> str:
    """`torch.FloatTensor` for tensors, `int` for builtins, the dotted name for the rest."""
    if isinstance(obj, api.Tensor):
        name = str(obj.dtype).rpartition(".")[2]
        return "torch." + _TENSOR_TYPES.get(name, "Tensor")
    cls = type(obj)
    if cls.__module__ in ("", "builtins"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
