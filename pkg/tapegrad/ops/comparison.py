"""Comparisons, logic, selection and conversions between element types."""

from __future__ import annotations

import numpy as np

from ..dtypes import DTYPES, bool_, int64, uint8
from ..native.symbols import isnan, where
from .registry import ALL, FLOATS, INTEGERS, Op, pointwise


def lt(a, b):
    return a < b


def le(a, b):
    return a <= b


def eq(a, b):
    return a == b


def ne(a, b):
    return a != b


def gt(a, b):
    return a > b


def ge(a, b):
    return a >= b


for _f, _r, _s in (
    (lt, np.less, "<"),
    (le, np.less_equal, "<="),
    (eq, np.equal, "=="),
    (ne, np.not_equal, "!="),
    (gt, np.greater, ">"),
    (ge, np.greater_equal, ">="),
):
    pointwise(
        _f.__name__, _f, (None, None), dtypes=ALL, result=bool_, reference=_r,
        doc=f"`input {_s} other`, as bool.",
    )


def isnan_(x):
    return isnan(x)


def isinf(x):
    return (x - x != 0.0) & (x == x)


def isfinite(x):
    return x - x == 0.0


pointwise("isnan", isnan_, (None,), dtypes=FLOATS, result=bool_, reference=np.isnan, doc="True where not a number.")
pointwise("isinf", isinf, (None,), dtypes=FLOATS, result=bool_, reference=np.isinf, doc="True where infinite.")
pointwise("isfinite", isfinite, (None,), dtypes=FLOATS, result=bool_, reference=np.isfinite, doc="True where finite.")


def bitwise_and(a, b):
    return a & b


def bitwise_or(a, b):
    return a | b


def bitwise_xor(a, b):
    return a ^ b


def bitwise_not(x):
    return ~x


def logical_not(x):
    return not x


_BITS = (*INTEGERS, bool_)
pointwise(
    "bitwise_and", bitwise_and, (None, None), dtypes=_BITS, reference=np.bitwise_and,
    doc="Bitwise and; logical and of bools.",
)
pointwise(
    "bitwise_or", bitwise_or, (None, None), dtypes=_BITS, reference=np.bitwise_or,
    doc="Bitwise or; logical or of bools.",
)
pointwise("bitwise_xor", bitwise_xor, (None, None), dtypes=_BITS, reference=np.bitwise_xor, doc="Bitwise exclusive or.")
pointwise(
    "bitwise_not", bitwise_not, (None,), dtypes=INTEGERS, reference=np.bitwise_not,
    doc="Bitwise complement of integers.",
)
pointwise(
    "logical_not", logical_not, (None,), dtypes=(bool_,), inplace=False, reference=np.logical_not,
    doc="Negation of bools.",
)


def where_(c, a, b):
    return where(c, a, b)


def where_a(g, c, _a, _b, _y):
    return where(c, g, 0.0)


def where_b(g, c, _a, _b, _y):
    return where(c, 0.0, g)


pointwise(
    "where",
    where_,
    (None, where_a, where_b),
    dtypes=ALL,
    input_dtypes=(bool_, None, None),
    method=False,
    inplace=False,
    reference=np.where,
    doc="`input` where the condition holds, `other` elsewhere.",
    bounds=True,
)


def convert(x):
    return x


def convert_whole(x):
    # By way of the widest integer: -1.5 to a byte has no meaning of its own, and loops would differ.
    return int64(x)


def convert_x(g, _x, _y):
    return g


def _convert_reference(x):
    return x


# One op per target type; the source is the compute type. The loops cast the result.
CASTS: tuple[Op, ...] = tuple(
    pointwise(
        f"to_{t.name}",
        convert_whole if t is uint8 else convert,
        (convert_x,),
        dtypes=ALL,
        result=t,
        method=False,
        reference=_convert_reference,
        doc=f"Converted to {t.name}.",
    )
    for t in DTYPES
)
