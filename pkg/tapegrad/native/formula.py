"""Marks a function as a formula: its float literals take the compute type.

`return g * y * (1.0 - y)` on float32 values would be float64 under Numba's rules. Compiled as a
formula with `T` bound to float32, the literal is a float32 and so is every intermediate. What the
author of a formula must know:

- only float literals are allowed: a Python int is an int64, and float32 with int64 is float64;
  a formula that widens float32 to float64 is refused when it is compiled;
- a literal must be exact in an integer compute type: 0.5 in a formula over int64 is refused;
- `where`, `maximum` and `minimum` give the common type of their arguments, so pass values of the
  compute type; comparisons and `isnan` give a truth value, to be used in `where`;
- arithmetic on int32 and uint8 is done in 64 bits and wraps when it is stored. That is the same
  number for +, - and *; before a division, shift or comparison of such an intermediate, wrap
  it yourself with `T(...)`. Truth values add up as integers and are stored as "not zero".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Formula"]


class Formula:
    """A plain function whose float literals (and those of the functions it calls) have type `T`.

    >>> from tapegrad.native import Formula
    >>> Formula(lambda x: x * 0.5)(3.0)
    1.5

    `bindings` replaces names inside this formula only, above all its own `T` where formulas of several
    compute types meet in one kernel.
    """

    __slots__ = ("bindings", "function")

    def __init__(self, function: Callable[..., Any], bindings: Mapping[str, Any] | None = None) -> None:
        self.function = function
        self.bindings = bindings

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __repr__(self) -> str:
        return f"Formula({self.function.__qualname__})"
