"""Element types and the rules by which they combine.

The six types are those of PyTorch under the same names. `promote` follows PyTorch's three
categories (bool < integer < floating point) with tensors that have dimensions outranking
zero-dimensional tensors, and those outranking Python numbers.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "DTYPES",
    "bool_",
    "dtype",
    "float32",
    "float64",
    "from_numpy_dtype",
    "int32",
    "int64",
    "promote_types",
    "uint8",
]


class dtype:
    """An element type; compare with `is` or `==`.

    Attributes: `name`, `index` (its row in the kernel tables), `itemsize` (bytes),
    `is_floating_point`, `numpy` (the matching NumPy type).
    """

    __slots__ = ("category", "index", "is_floating_point", "itemsize", "name", "numpy")
    is_complex = False

    def __init__(self, name: str, index: int, category: int, numpy_type: type) -> None:
        self.name = name
        self.index = index
        self.category = category  # 0 bool, 1 integer, 2 floating point
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = category == 2

    def __repr__(self) -> str:
        return "torch." + self.name  # as PyTorch prints it, so that printed tensors agree

    @property
    def is_signed(self) -> bool:
        return self.name not in ("uint8", "bool")

    def __reduce__(self) -> tuple[object, ...]:
        return (_by_name, (self.name,))


def _by_name(name: str) -> dtype:
    return _NAMES[name]


float32 = dtype("float32", 0, 2, np.float32)
float64 = dtype("float64", 1, 2, np.float64)
int64 = dtype("int64", 2, 1, np.int64)
int32 = dtype("int32", 3, 1, np.int32)
uint8 = dtype("uint8", 4, 1, np.uint8)
bool_ = dtype("bool", 5, 0, np.bool_)

DTYPES = (float32, float64, int64, int32, uint8, bool_)
_NAMES = {t.name: t for t in DTYPES}
_FROM_NUMPY = {t.numpy: t for t in DTYPES}


def from_numpy_dtype(numpy_dtype: object) -> dtype:
    """The element type for a NumPy one; TypeError where there is none."""
    try:
        return _FROM_NUMPY[np.dtype(numpy_dtype)]  # type: ignore[call-overload]
    except (KeyError, TypeError):
        names = ", ".join(t.name for t in DTYPES)
        raise TypeError(
            f"can't convert np.ndarray of type {numpy_dtype}. The only supported types are: {names}."
        ) from None


# Rows and columns in the order of DTYPES.
_PROMOTE = (
    (float32, float64, float32, float32, float32, float32),
    (float64, float64, float64, float64, float64, float64),
    (float32, float64, int64, int64, int64, int64),
    (float32, float64, int64, int32, int32, int32),
    (float32, float64, int64, int32, uint8, uint8),
    (float32, float64, int64, int32, uint8, bool_),
)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both, as PyTorch chooses it."""
    return _PROMOTE[a.index][b.index]
