"""Products of matrices: `linear`, `mm`, `bmm`, and `matmul` built from them.

    mm:      y = a b            da = g b^T        db = a^T g
    linear:  y = x w^T + bias   dx = g w          dw = g^T x        dbias = sum of g over rows

How the work is cut and what goes to BLAS is in `product_kernels`. Vectors, leading dimensions and
broadcasting batches are views around these primitives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..dtypes import bool_, float32, float64, int32, int64, uint8
from . import product_kernels as kernels
from .registry import Plan, structured
from .shapes import broadcast_shapes, numel

__all__ = ["bmm", "dot", "linear", "matmul", "mm", "mv"]

_C_NAMES = {
    "float32": "float",
    "float64": "double",
    "int64": "long int",
    "int32": "int",
    "uint8": "unsigned char",
    "bool": "bool",
}
_SCALAR_NAMES = {
    "float32": "Float",
    "float64": "Double",
    "int64": "Long",
    "int32": "Int",
    "uint8": "Byte",
    "bool": "Bool",
}


def _matrix_layout(rows: int, columns: int, stride: tuple[int, ...]) -> tuple[int, int] | None:
    """(stored transposed?, leading dimension) if BLAS can read the matrix where it lies."""
    across, along = stride
    if (columns == 1 or along == 1) and (rows <= 1 or across >= columns):
        return 0, max(1, across if rows > 1 else columns)
    if (rows == 1 or across == 1) and (columns <= 1 or along >= rows):
        return 1, max(1, along if columns > 1 else rows)
    return None


def _operands(a: Any, b: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layout words of the last two dimensions of both, and which inputs must be copied first."""
    words: list[int] = []
    copies = []
    for position, x in enumerate((a, b)):
        rows, columns = x.shape[-2:]
        layout = _matrix_layout(rows, columns, tuple(x.stride())[-2:])
        if 0 in x.shape:  # nothing to read: any strides will do
            layout = (0, max(1, columns))
        if layout is None:
            copies.append(position)
            layout = (0, max(1, columns))
        words += layout
    return tuple(words), tuple(copies)


def _same_dtype(a: Any, b: Any) -> None:
    if a.dtype is not b.dtype:
        names = f"{_C_NAMES[a.dtype.name]} != {_C_NAMES[b.dtype.name]}"
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {names}")


def _same_dtype_to_add(a: Any, b: Any) -> None:
    """The same of a product that a bias is added to, in other words."""
    if a.dtype is not b.dtype:
        names = (_SCALAR_NAMES[a.dtype.name], _SCALAR_NAMES[b.dtype.name])
        raise RuntimeError("mat1 and mat2 must have the same dtype, but got {} and {}".format(*names))


def _check_mm(a: Any, b: Any) -> tuple[int, int, int]:
    if a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if b.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    if a.shape[1] != b.shape[0]:
        shapes = f"{a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]}"
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({shapes})")
    _same_dtype(a, b)
    return a.shape[0], b.shape[1], a.shape[1]


def mm_rule(a: Any, b: Any) -> Plan:
    m, n, k = _check_mm(a, b)
    words, copies = _operands(a, b)
    return Plan((m, n), a.dtype, words=(m, n, k, a.dtype.itemsize, *words), make_contiguous=copies)


def _constants(sample: Callable[[int, int, int], Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    """What brings the sizes at which products change their way to a number; `sample` of rows, columns, inner size."""
    return {
        "WORTH_CUTTING": lambda c: sample(128, 128, c // 16384),
        "LONG": lambda c: sample(c, 90, 100),
        "BLOCK": lambda c: sample(c, 70, c),
        "SQUARE": lambda c: sample(c, 130, 260),
        "PACKED_ROWS": lambda c: sample(c, 30, 20),
        "PACKED_ELEMENTS": lambda c: sample(40, 64, c // 64),
        "PACKED_WORK": lambda c: sample(100, c // 10000, 100),
        "FEW_ROWS": lambda c: sample(c, 12, 20),
        "FEW_COLUMNS": lambda c: sample(40, c, 20),
        "PANELS": None,  # a place in a table
        **more,
    }


_mm = structured(
    "mm",
    inputs=("a", "b"),
    rule=mm_rule,
    forward=kernels.mm_kernel,
    backward={"a": (kernels.mm_da_kernel, ("b",)), "b": (kernels.mm_db_kernel, ("a",))},
    derivative={"a": lambda c, g: g @ c.b.mT, "b": lambda c, g: c.a.mT @ g},
    dtypes=(float32, float64),
    contiguous=False,
    blas=True,
    doc="Product of two matrices, `(m, k)` by `(k, n)`; transposed views are read where they lie.",
    samples=[
        ((2, 3), (3, 4)),
        ((1, 5), (5, 1)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((200, 30), (30, 220)),
    ],
    constants=_constants(lambda m, n, k: ((m, k), (k, n)), {}),
)


def _check_bmm(a: Any, b: Any) -> tuple[int, int, int, int]:
    if a.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if b.ndim != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    if b.shape[0] != a.shape[0] or b.shape[1] != a.shape[2]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{a.shape[0]}, {a.shape[2]}] but got: [{b.shape[0]}, {b.shape[1]}]."
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected scalar type {_SCALAR_NAMES[a.dtype.name]} but found {_SCALAR_NAMES[b.dtype.name]}"
        )
    return a.shape[0], a.shape[1], b.shape[2], a.shape[2]


def bmm_rule(a: Any, b: Any) -> Plan:
    batch, m, n, k = _check_bmm(a, b)
    (ta, lda, tb, ldb), copies = _operands(a, b)
    sa = m * k if 0 in copies else a.stride()[0]
    sb = k * n if 1 in copies else b.stride()[0]
    words = (batch, m, n, k, a.dtype.itemsize, ta, lda, sa, tb, ldb, sb)
    return Plan((batch, m, n), a.dtype, words=words, make_contiguous=copies)


_bmm = structured(
    "bmm",
    inputs=("a", "b"),
    rule=bmm_rule,
    forward=kernels.bmm_kernel,
    backward={"a": (kernels.bmm_da_kernel, ("b",)), "b": (kernels.bmm_db_kernel, ("a",))},
    derivative={"a": lambda c, g: g @ c.b.mT, "b": lambda c, g: c.a.mT @ g},
    dtypes=(float32, float64),
    contiguous=False,
    blas=True,
    doc="Products of the matrices of two batches, `(b, m, k)` by `(b, k, n)`; expanded ones are not copied.",
    samples=[
        ((2, 3, 4), (2, 4, 5)),
        ((1, 1, 2), (1, 2, 1)),
        ((0, 2, 3), (0, 3, 4)),
        ((2, 2, 0), (2, 0, 3)),
        ((5, 100, 20), (5, 20, 100)),
    ],
    constants=_constants(
        lambda m, n, k: ((2, m, k), (2, k, n)), {"SMALL_BATCH": lambda c: ((3, 64, c // 8192), (3, c // 8192, 128))}
    ),
)


def integer_product_rule(a: Any, b: Any) -> Plan:
    batch, m, n, k = _check_bmm(a, b)
    if a.dtype is bool_:
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    return Plan((batch, m, n), a.dtype, words=(batch, m, n, k))


_integer_product = structured(
    "integer_product",
    inputs=("a", "b"),
    rule=integer_product_rule,
    forward=kernels.integer_product_kernel,
    backward={},
    derivative={},
    dtypes=(int64, int32, uint8),
    contiguous=True,
    doc="`bmm` for whole numbers; overflow wraps.",
    samples=[((2, 3, 4), (2, 4, 5)), ((1, 2, 0), (1, 0, 3)), ((5, 100, 20), (5, 20, 100))],
    constants={"INTEGER_WORK": lambda c: ((2, 5, 256), (2, 256, c // 256))},
)


def linear_rule(x: Any, w: Any, b: Any = None) -> Plan:
    if x.ndim == 0 or w.ndim == 0:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {x.ndim}D and {w.ndim}D"
        )
    if w.ndim != 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {w.ndim}D")
    m = numel(x.shape[:-1])
    n, k = w.shape
    if x.shape[-1] != k:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{x.shape[-1]} and {k}x{n})")
    if b is None:
        _same_dtype(x, w)
    else:
        _same_dtype_to_add(x, w)
        if b.dtype is not x.dtype:
            names = (_SCALAR_NAMES[b.dtype.name], _SCALAR_NAMES[x.dtype.name])
            raise RuntimeError("self and mat2 must have the same dtype, but got {} and {}".format(*names))
        if tuple(b.shape) != (n,):
            sizes = ", ".join(str(s) for s in b.shape)
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size "
                f"({b.shape[-1] if b.ndim else 1}) at non-singleton dimension 1.  "
                f"Target sizes: [{m}, {n}].  Tensor sizes: [{sizes}]"
            )
    words = (m, n, k, x.dtype.itemsize, int(b is not None))
    return Plan((*x.shape[:-1], n), x.dtype, words=words)


def _linear_dw(c: Any, g: Any) -> Any:
    m, n, k = c.words[:3]
    return g.reshape(m, n).mT @ c.x.reshape(m, k)


def _linear_db(c: Any, g: Any) -> Any:
    return g.sum(tuple(range(g.ndim - 1))) if g.ndim > 1 else g


_linear = structured(
    "linear",
    inputs=("x", "w", "b"),  # b may be None
    rule=linear_rule,
    forward=kernels.linear_kernel,
    backward={
        "x": (kernels.linear_dx_kernel, ("w",)),
        "w": (kernels.linear_dw_kernel, ("x",)),
        "b": (kernels.linear_db_kernel, ()),
    },
    derivative={"x": lambda c, g: g @ c.w, "w": _linear_dw, "b": _linear_db},
    dtypes=(float32, float64),
    contiguous=True,
    blas=True,
    doc="`x w^T + b` for x `(*, k)`, w `(n, k)` and b `(n,)` or None; the result is `(*, n)`.",
    samples=[
        ((2, 3), (4, 3), (4,)),
        ((2, 3), (4, 3), None),
        ((3,), (2, 3), (2,)),
        ((2, 2, 3), (1, 3), (1,)),
        ((0, 3), (2, 3), (2,)),
        ((2, 0), (3, 0), (3,)),
        ((200, 30), (220, 30), (220,)),
    ],
    constants=_constants(
        lambda m, n, k: ((m, k), (n, k), (n,)),
        {"BAND": lambda c: ((c, 5), (7, 5), (7,)), "SUMMED": lambda c: ((c // 256, 5), (300, 5), (300,))},
    ),
)


# ---- public functions ---------------------------------------------------------------------------


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """`x weight^T + bias`: x `(*, k)`, weight `(n, k)` or `(k,)`, bias `(n,)` or None; result `(*, n)`.

    Sizes or dtypes that do not fit raise RuntimeError.

    >>> import tapegrad as torch
    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1))
    tensor([[4.],
            [4.]])
    """
    try:
        unusual = weight.ndim == 1 or not x.dtype.is_floating_point
        if bias is not None and bias.numel() == 1:  # one bias for all columns, unless there is just one column
            unusual = unusual or bias.ndim != 1 or weight.shape[0] != 1
    except AttributeError:
        for place, (name, t) in enumerate((("input", x), ("weight", weight), ("bias", bias))):
            if not hasattr(t, "numel") and not (name == "bias" and t is None):
                raise TypeError(
                    f"linear(): argument '{name}' (position {place + 1}) must be Tensor, not {type(t).__name__}"
                ) from None
        raise
    if unusual and x.ndim > 0 and 0 < weight.ndim <= 2:
        if bias is not None and weight.ndim == 2:
            _same_dtype_to_add(x, weight)
        y = matmul(x, weight.t() if weight.ndim == 2 else weight)
        return y if bias is None else y + bias
    return _linear(x, weight, bias)


def mm(a: Any, b: Any) -> Any:
    """Product of two matrices: `(m, k)` by `(k, n)` gives `(m, n)`.

    Anything but two matrices of one dtype with matching inner sizes raises RuntimeError.

    >>> import tapegrad as torch
    >>> torch.mm(torch.tensor([[1., 2.]]), torch.tensor([[3.], [4.]]))
    tensor([[11.]])
    """
    if a.dtype.is_floating_point or a.dtype is not b.dtype:
        return _mm(a, b)
    _check_mm(a, b)
    return _integer_product(a.unsqueeze(0), b.unsqueeze(0)).squeeze(0)


def bmm(a: Any, b: Any) -> Any:
    """Products of two batches of matrices: `(b, m, k)` by `(b, k, n)` gives `(b, m, n)`.

    The batches must be equal (`matmul` broadcasts them); RuntimeError otherwise.

    >>> import tapegrad as torch
    >>> torch.bmm(torch.ones(2, 1, 3), torch.ones(2, 3, 1)).shape
    torch.Size([2, 1, 1])
    """
    if a.dtype.is_floating_point or a.dtype is not b.dtype:
        return _bmm(a, b)
    return _integer_product(a, b)


def mv(a: Any, v: Any) -> Any:
    """Product of a matrix `(m, k)` and a vector `(k,)`: `(m,)`.

    >>> import tapegrad as torch
    >>> torch.mv(torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1., 1.]))
    tensor([3., 7.])
    """
    if a.ndim != 2 or v.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {v.ndim}")
    return _matrix_vector(a, v)


def dot(a: Any, b: Any) -> Any:
    """Sum of the products of two vectors of one length, as a tensor without dimensions.

    >>> import tapegrad as torch
    >>> torch.dot(torch.tensor([1., 2.]), torch.tensor([3., 4.]))
    tensor(11.)
    """
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype is not b.dtype:
        names = f"{_SCALAR_NAMES[a.dtype.name]} and {_SCALAR_NAMES[b.dtype.name]}"
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {names}")
    n, m = a.shape[0], b.shape[0]
    if n != m:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{n}] and src [{m}] to have the same number of "
            f"elements, but got {n} and {m} elements respectively"
        )
    return mm(a.unsqueeze(0), b.unsqueeze(1)).reshape(())


def _matrix_vector(a: Any, v: Any) -> Any:
    rows, columns = a.shape
    if columns != v.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({rows}), mat ({rows}x{columns}), vec ({v.shape[0]})")
    if a.dtype is not v.dtype:
        vector, matrix = _SCALAR_NAMES[v.dtype.name], _SCALAR_NAMES[a.dtype.name]
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {vector}, {matrix}, and {vector}"
        )
    return mm(a, v.unsqueeze(1)).squeeze(1)


def _batched(x: Any, batch: tuple[int, ...], count: int) -> Any:
    """x with its batch dimensions broadcast and folded into one."""
    matrix = tuple(x.shape[-2:])
    if tuple(x.shape[:-2]) != batch:
        if count == 1 or x.ndim == 2 or all(s == 1 for s in x.shape[:-2]):
            return x.reshape(1, *matrix).expand(count, *matrix)  # one matrix for all: stays uncopied
        x = x.expand(*batch, *matrix)
    return x if x.ndim == 3 else x.reshape(count, *matrix)


def matmul(a: Any, b: Any) -> Any:
    """The product `a @ b` with PyTorch's rules for vectors, matrices and batches.

    Two vectors give a number, a vector counts as a row on the left and as a column on the right, and
    leading dimensions broadcast. RuntimeError if sizes or dtypes do not fit.

    >>> import tapegrad as torch
    >>> torch.matmul(torch.ones(5, 1, 2, 3), torch.ones(4, 3, 2)).shape
    torch.Size([5, 4, 2, 2])
    """
    left, right = a.ndim, b.ndim
    if left == 2 and right == 2:
        return mm(a, b)
    if left == 0 or right == 0:
        ranks = f"{left}D and {right}D"
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {ranks}")
    if left == 1 and right == 1:
        return dot(a, b)
    if left == 2 and right == 1:
        return _matrix_vector(a, b)
    if left == 1:
        return matmul(a.unsqueeze(0), b).squeeze(-2)
    if right <= 2:  # left > 2: all leading dimensions are rows of one product
        lead = tuple(a.shape[:-1])
        flat = a.reshape(numel(lead), a.shape[-1])
        if right == 1:
            return _matrix_vector(flat, b).reshape(lead)
        return mm(flat, b).reshape(*lead, b.shape[1])
    batch = broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    count = numel(batch)
    product = bmm(_batched(a, batch, count), _batched(b, batch, count))
    if len(batch) == 1:
        return product
    return product.reshape(*batch, a.shape[-2], b.shape[-1])
