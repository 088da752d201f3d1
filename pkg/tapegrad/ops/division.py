"""Quotients rounded down and remainders, of floating types and of integers.

For a = q * b + r with a whole q, r has the sign of b. floor(a / b) can be one too large, where the
division rounds up to a whole number: the remainder, computed with one rounding, then has the wrong
sign and tells.
"""

from __future__ import annotations

import numpy as np

from ..native.symbols import floor, fma, where
from .registry import IDENTITY, NOT_IMPLEMENTED, NUMBERS, pointwise


def infinite(x):
    return (x - x != 0.0) & (x == x)


def whole_quotient(a, b):
    """floor(a / b) for finite a and b: the division may round up to a whole number, the remainder tells."""
    q = floor(a / b)
    r = fma(-q, b, a)
    q = where((r != 0.0) & ((r < 0.0) != (b < 0.0)), q - 1.0, q)
    return where(infinite(b), where((a != 0.0) & ((a < 0.0) != (b < 0.0)), -1.0, 0.0 * a), q)


def floor_divide(a, b):
    return where(b == 0.0, a / b, where(a - a == 0.0, whole_quotient(a, b), a - a))


pointwise(
    "floor_divide",
    floor_divide,
    (NOT_IMPLEMENTED, NOT_IMPLEMENTED),
    method=False,
    domain=(0.5, 3.0),
    reference=np.floor_divide,
    doc="Quotient rounded down, of floating types; not differentiable.",
)


def integer_floor_divide(a, b):
    return a // b


pointwise(
    "integer_floor_divide",
    integer_floor_divide,
    (None, None),
    dtypes=NUMBERS[2:],
    method=False,
    domain=(1.0, 9.0),
    reference=np.floor_divide,
    doc="Quotient rounded down, of integers.",
)


def remainder(a, b):
    # Twice, for quotients that have more digits than the type; then into the divisor's sign.
    r = fma(-floor(a / b), b, a)
    r = fma(-floor(r / b), b, r)
    r = where((r != 0.0) & ((r < 0.0) != (b < 0.0)), r + b, r)
    same = (a == 0.0) | ((a < 0.0) == (b < 0.0))
    return where(infinite(b) & (a - a == 0.0), where(same, a, b), r)


def remainder_b(g, a, b, _y):
    return -g * whole_quotient(a, b)


pointwise(
    "remainder",
    remainder,
    (IDENTITY, remainder_b),
    method=False,
    domain=(0.5, 3.0),
    reference=np.remainder,
    doc="Remainder with the divisor's sign, of floating types.",
)


def integer_remainder(a, b):
    return a % b


pointwise(
    "integer_remainder",
    integer_remainder,
    (None, None),
    dtypes=NUMBERS[2:],
    method=False,
    domain=(1.0, 9.0),
    reference=np.remainder,
    doc="Remainder with the divisor's sign, of integers.",
)
