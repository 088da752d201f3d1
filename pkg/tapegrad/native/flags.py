"""The one place that says how kernels are compiled.

No fast-math flag of any kind: with `contract` a fused chain of formulas rounds differently from
the separate ops, `nsz` loses -0.0, `reassoc` depends on what was inlined, and results here must
not depend on such things. A multiply-add is written `fma`. The NumPy error model has no branch for
division by zero, which would keep loops from vectorising; kernels have no bounds to check.
"""

from __future__ import annotations

EXACT: dict[str, object] = {
    "error_model": "numpy",
    "fastmath": False,
    "boundscheck": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

# Symbols that an object may leave to the process: LLVM makes calls of these by itself.
MEMORY_SYMBOLS = frozenset({"memcpy", "memset", "memmove", "bzero", "__bzero"})
LIBM_SYMBOLS = """
    acos asin atan atan2 cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs floor fma fmax fmin fmod
    frexp hypot ldexp lgamma log log10 log1p log2 logb nearbyint pow remainder rint round scalbn sin sincos
    sinh sqrt tan tanh tgamma trunc
"""
_libm = frozenset(LIBM_SYMBOLS.split())
ALLOWED_UNDEFINED = MEMORY_SYMBOLS | _libm | frozenset(name + "f" for name in _libm)
