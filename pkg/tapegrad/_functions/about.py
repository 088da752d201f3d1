"""What a tensor, a dtype or an object says about itself."""

from __future__ import annotations

from typing import Any

from .. import _views
from .._formats import strided
from .._tensor import Tensor
from .base import tensor_argument
from .conversion import type_
from .shapes import matrix_transpose


def is_complex(input: Tensor) -> bool:
    """False: there are no complex element types."""
    tensor_argument("is_complex", input)
    return False


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element of a tensor is not 0; RuntimeError for any other number of elements."""
    tensor_argument("is_nonzero", input)
    return bool(input)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """True if both have the same shape."""
    tensor_argument("is_same_size", input)
    tensor_argument("is_same_size", other, 2, "other")
    return tuple(input.shape) == tuple(other.shape)


def is_inference(input: Tensor) -> bool:
    """True if made in inference mode."""
    tensor_argument("is_inference", input)
    return input.is_inference()


def can_cast(from_: Any, to: Any) -> bool:
    """Whether arithmetic lets a dtype become another: from bools to integers to floats, not back."""
    return bool(from_.category <= to.category)


def typename(obj: Any) -> str:
    """The name of an object's type, of a tensor with its dtype: "torch.FloatTensor"."""
    if isinstance(obj, Tensor):
        return str(type_(obj))
    described = obj if hasattr(obj, "__qualname__") else type(obj)
    module = described.__module__
    name: str = described.__qualname__
    return name if module in ("", "builtins") else f"{module}.{name}".replace("tapegrad", "torch")


def get_device(self: Tensor) -> int:
    """-1: the number of the CPU."""
    return -1


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """False: there is no GPU to pin memory for."""
    return False


def _adjoint(self: Tensor) -> Tensor:
    if self.ndim != 2:
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.")
    return _views.transpose(self, 0, 1)


def _no_imaginary_part(self: Tensor) -> Tensor:
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


PROPERTIES = {
    "nbytes": property(lambda self: self.numel() * self.dtype.itemsize, doc="Bytes of all elements."),
    "itemsize": property(lambda self: self.dtype.itemsize, doc="Bytes of one element."),
    "layout": property(lambda self: strided, doc="`torch.strided`: dense memory."),
    "real": property(lambda self: self, doc="The tensor itself: there are no complex ones."),
    "imag": property(_no_imaginary_part, doc="RuntimeError: there are no complex tensors."),
    "H": property(_adjoint, doc="A matrix transposed, as a view."),
    "mH": property(matrix_transpose, doc="The last two dimensions exchanged, as a view."),
}
