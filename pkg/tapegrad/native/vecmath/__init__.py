"""Our own exp, log, tanh and their kin: plain formulas that LLVM turns into vector code.

Each is written with the names of `native/symbols.py` alone: no branches, no tables, no calls of libm. A
multiply-add that must round once says `fma`. Bounds are in the docstrings, in units of the last place of the
exact result, for a CPU that has fused multiply-add (without it float64's pow and the trigonometric functions
of large arguments lose digits). Zeros with their sign, infinities, NaN, overflow and denormals come out as
IEEE 754 has them. A float32 formula computes in float32 unless its docstring says otherwise. Constants are
NumPy scalars at module level, so that their type never depends on the formula they are used in.

`IMPLEMENTATIONS[name][dtype name]` is the plain function to compile for a symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import error_function, power
from . import exponentials as e
from . import logarithms as g
from . import trigonometric as t

__all__ = ["IMPLEMENTATIONS"]

Formula = Callable[..., Any]

IMPLEMENTATIONS: dict[str, dict[str, Formula]] = {
    "exp": {"float32": e.exp_f32, "float64": e.exp_f64},
    "expm1": {"float32": e.expm1_f32, "float64": e.expm1_f64},
    "tanh": {"float32": e.tanh_f32, "float64": e.tanh_f64},
    "sigmoid": {"float32": e.sigmoid_f32, "float64": e.sigmoid_f64},
    "log": {"float32": g.log_f32, "float64": g.log_f64},
    "log1p": {"float32": g.log1p_f32, "float64": g.log1p_f64},
    "log2": {"float32": g.log2_f32, "float64": g.log2_f64},
    "log10": {"float32": g.log10_f32, "float64": g.log10_f64},
    "sin": {"float32": t.sin_f32, "float64": t.sin_f64},
    "cos": {"float32": t.cos_f32, "float64": t.cos_f64},
    "tan": {"float32": t.tan_f32, "float64": t.tan_f64},
    "erf": {"float32": error_function.erf_f32, "float64": error_function.erf_f64},
    "normal_cdf": {"float32": error_function.normal_cdf_f32, "float64": error_function.normal_cdf_f64},
    "pow": {"float32": power.pow_f32, "float64": power.pow_f64},
}
