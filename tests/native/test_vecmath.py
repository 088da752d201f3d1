"""Accuracy and special values of the vectorised formulas.

float32 is held against NumPy in float64, float64 against the x86 long double or mpmath. Errors are in
units of the last place of the exact result (of the smallest denormal, at the bottom).
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapegrad.dtypes import dtype
from tapegrad.native.symbols import Symbol
from tapegrad.native.vecmath import IMPLEMENTATIONS

sys.path.insert(0, str(Path(__file__).parent))

UNARY = [name for name in IMPLEMENTATIONS if name not in ("pow", "normal_cdf")]  # these have tests of their own
PERIODIC = ("sin", "cos", "tan")
EXTENDED = np.finfo(np.longdouble).nmant >= 63
HAS_MPMATH = importlib.util.find_spec("mpmath") is not None
LARGEST = 2.0**50  # beyond, sin, cos and tan promise a bounded result only
INF, NAN = math.inf, math.nan

# What the docstrings promise: float32, float64.
BOUNDS = {
    "exp": (1.2, 1.1),
    "expm1": (2.0, 2.0),
    "log": (1.0, 1.0),
    "log1p": (2.0, 2.0),
    "log2": (1.2, 1.2),
    "log10": (1.0, 1.0),
    "tanh": (2.0, 2.0),
    "sigmoid": (2.0, 2.0),
    "sin": (2.0, 1.0),
    "cos": (2.0, 1.0),
    "tan": (1.0, 2.0),
    "erf": (1.5, 1.5),
    "pow": (1.2, 1.2),
}


@cache
def array_function(name: str, dtype_name: str) -> Callable[..., np.ndarray]:
    if importlib.util.find_spec("tapegrad.native.kernels"):
        from _compiled import array_function as make
    else:
        from _harness import array_function as make
    return make(name, dtype_name)


def sigmoid(x: Any) -> Any:
    e = np.exp(-abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def exact(name: str, *arrays: np.ndarray) -> np.ndarray:
    """The result to more bits than the type of the arguments has; itself good to a small part of one ulp."""
    with np.errstate(all="ignore"):
        if arrays[0].dtype == np.float32:
            wide = [a.astype(np.float64) for a in arrays]
        elif EXTENDED and name != "erf":
            wide = [a.astype(np.longdouble) for a in arrays]
        else:
            return _by_mpmath(name, *arrays)
        if name == "sigmoid":
            return sigmoid(wide[0])
        if name == "erf":
            return np.array([math.erf(v) for v in wide[0]])
        return getattr(np, {"pow": "power"}.get(name, name))(*wide)


def _by_mpmath(name: str, *arrays: np.ndarray) -> np.ndarray:
    mpmath = pytest.importorskip("mpmath")
    mp = mpmath.mp.clone()
    mp.prec = 250
    functions = {
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "log2": lambda x: mp.log(x, 2),
        "log10": lambda x: mp.log(x, 10),
        "pow": lambda x, y: x**y,
    }
    f = functions.get(name) or getattr(mp, name)
    wide = np.longdouble if EXTENDED else np.float64
    out = []
    for values in zip(*(a.tolist() for a in arrays), strict=True):
        if all(map(math.isfinite, values)) and any(values):
            y = f(*map(mp.mpf, values))
            real = isinstance(y, mp.mpf)
            out.append(wide(mp.nstr(y, 24)) if real else wide(NAN))
        else:
            plain = [np.float64(v) for v in values]
            y = math.erf(plain[0]) if name == "erf" else exact_plain(name, *plain)
            out.append(wide(y))
    return np.array(out)


def exact_plain(name: str, *values: np.float64) -> Any:
    with np.errstate(all="ignore"):
        return (
            sigmoid(values[0])
            if name == "sigmoid"
            else getattr(np, {"pow": "power"}.get(name, name))(*values)
        )


def ulps(got: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """Error in units of the last place of the reference; inf where NaN, infinity or sign of zero differ."""
    info = np.finfo(got.dtype)
    bits = info.nmant + 1
    wide = ref.dtype.type
    with np.errstate(all="ignore"):
        overflows = abs(ref) >= np.ldexp(wide(1) - wide(2) ** -(bits + 1), int(info.maxexp))
        ref = np.where(overflows, np.copysign(wide(INF), ref), ref)
        _, exponent = np.frexp(ref)
        unit = np.ldexp(np.ones_like(ref), np.maximum(exponent - bits, info.minexp - info.nmant))
        error = abs(got.astype(wide) - ref) / unit
        error = np.where(np.isfinite(got) & np.isfinite(ref), error, INF)
        same = (got == ref) | (np.isnan(got) & np.isnan(ref))
        error = np.where(same, 0, error)
        return np.where((got == 0) & (ref == 0) & (np.signbit(got) != np.signbit(ref)), INF, error)


def check(name: str, bound: float, *arrays: np.ndarray) -> None:
    got = array_function(name, arrays[0].dtype.name)(*arrays)
    ref = exact(name, *arrays)
    error = ulps(got, ref)
    i = int(error.argmax())
    where = ", ".join(repr(a[i]) for a in arrays)
    assert error[i] <= bound, f"{name}({where}) is {got[i]!r}, not {ref[i]!r}: {error[i]:.3f} ulp"


def domain(name: str, rng: np.random.Generator, n: int) -> np.ndarray:
    """Arguments where the function does something, in float64."""
    size = np.exp(rng.uniform(-745, 709, n))
    if name == "log1p":
        return np.concatenate([size, -np.exp(rng.uniform(-60, 0, n)), rng.uniform(-1, 2, n)])
    if name.startswith("log"):
        return np.concatenate([size, rng.uniform(0.4, 2.5, n), 1 + rng.normal(0, 1e-6, n)])
    if name in PERIODIC:
        near = np.rint(10 ** rng.uniform(0, 14.5, n)) * (np.pi / 2)
        wide = np.concatenate([rng.uniform(-20, 20, n), rng.uniform(-1e6, 1e6, n), near, size])
        return wide[abs(wide) <= LARGEST]
    ends = rng.uniform(-750, 715, n) if name in ("exp", "expm1", "sigmoid") else rng.uniform(-8, 8, n)
    small = size[size < 1]
    return np.concatenate([ends, ends / 8, rng.uniform(-2, 2, n), small, -small])


@pytest.mark.parametrize("name", UNARY)
def test_float32_over_all_bit_patterns(name):
    """Every 4099th float32 there is, and the domain of interest more densely."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    if name in PERIODIC:
        x = x[~(abs(x) > LARGEST)]
    with np.errstate(over="ignore"):
        dense = domain(name, np.random.default_rng(5), 60000).astype(np.float32)
    check(name, BOUNDS[name][0], np.concatenate([x, dense]))


@pytest.mark.parametrize("name", UNARY)
def test_float64_over_the_domain(name):
    slow = not EXTENDED or name == "erf"
    if slow and not HAS_MPMATH:
        pytest.skip("needs a long double of 64 bits or mpmath as the reference")
    check(name, BOUNDS[name][1], domain(name, np.random.default_rng(6), 500 if slow else 60000))


@pytest.mark.skipif(not HAS_MPMATH, reason="needs mpmath as the reference")
@pytest.mark.parametrize("name", PERIODIC)
def test_float64_reduction_against_mpmath(name):
    """Close to multiples of pi / 2 what remains is all rounding error unless pi was long enough."""
    rng = np.random.default_rng(7)
    x = np.rint(10 ** rng.uniform(0, 14.5, 1500)) * (np.pi / 2)
    # The worst case of float64 within range by continued fractions, and its like in float32.
    x = np.concatenate([x, [6381956970095103.0 * 2.0**-3, 16367173.0 * 2.0**20, 1e15, -1e15]])
    got = array_function(name, "float64")(x)
    assert ulps(got, _by_mpmath(name, x)).max() <= BOUNDS[name][1]


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
@pytest.mark.parametrize("name", PERIODIC)
def test_huge_arguments_stay_sane(name, dtype_name):
    largest = float(np.finfo(dtype_name).max)
    x = np.array([1.2e15, 1e20, -1e30, 3e38, largest, -largest], dtype_name)
    y = array_function(name, dtype_name)(x)
    assert np.isfinite(y).all()
    if name != "tan":
        assert (abs(y) <= 1).all()
    assert np.isnan(array_function(name, dtype_name)(np.array([INF, -INF, NAN], dtype_name))).all()


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("exp", [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (800.0, INF), (-800.0, 0.0)]),
        ("expm1", [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (800.0, INF), (-800.0, -1.0)]),
        ("log", [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-INF, NAN), (-1.0, NAN)]),
        ("log1p", [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-INF, NAN), (-1.5, NAN)]),
        ("log2", [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (2.0, 1.0), (INF, INF), (-INF, NAN), (-1.0, NAN)]),
        ("log10", [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (10.0, 1.0), (INF, INF), (-INF, NAN), (-1.0, NAN)]),
        ("tanh", [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (50.0, 1.0), (-50.0, -1.0)]),
        ("sigmoid", [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (800.0, 1.0), (-800.0, 0.0)]),
        ("sin", [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)]),
        ("cos", [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)]),
        ("tan", [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)]),
        ("erf", [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (7.0, 1.0), (-7.0, -1.0)]),
    ],
)
def test_special_values(name, points, dtype_name):
    """Exact values, the sign of zeros included, and NaN for NaN."""
    x = np.array([*(x for x, _ in points), NAN], dtype_name)
    expected = np.array([*(y for _, y in points), NAN], dtype_name)
    got = array_function(name, dtype_name)(x)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[expected == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "sin", "tan"])
def test_denormals_pass_unchanged(name, dtype_name):
    tiny = float(np.finfo(dtype_name).smallest_subnormal)
    x = np.array([tiny, -tiny, 3 * tiny, 1001 * tiny, float(np.finfo(dtype_name).tiny)], dtype_name)
    np.testing.assert_array_equal(array_function(name, dtype_name)(x), x)


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
@pytest.mark.parametrize("name", ["tanh", "sin", "tan", "erf"])
def test_odd_functions_are_odd_to_the_bit(name, dtype_name):
    x = domain(name, np.random.default_rng(8), 5000).astype(dtype_name)
    f = array_function(name, dtype_name)
    np.testing.assert_array_equal(f(-x), -f(x))


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
def test_logarithms_of_powers_are_exact(dtype_name):
    info = np.finfo(dtype_name)
    k = np.arange(int(info.minexp) - int(info.nmant), int(info.maxexp))
    two = np.ldexp(np.ones(1, dtype_name), k)
    np.testing.assert_array_equal(array_function("log2", dtype_name)(two), k.astype(dtype_name))
    ten = np.arange(0, 11 if dtype_name == "float32" else 23)
    np.testing.assert_array_equal(
        array_function("log10", dtype_name)(np.array([10.0**t for t in ten], dtype_name)),
        ten.astype(dtype_name),
    )


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
def test_pow_over_the_domain(dtype_name):
    rng = np.random.default_rng(9)
    n = 100000 if dtype_name == "float32" else 2000
    if dtype_name == "float64" and not HAS_MPMATH:
        pytest.skip("needs mpmath as the reference")
    span = (-100, 88) if dtype_name == "float32" else (-745, 709)
    x = np.concatenate([np.exp(rng.uniform(*span, n)), rng.uniform(0.5, 2, n), 1 + rng.normal(0, 1e-4, n)])
    x = x.astype(dtype_name)
    reach = (-152, 130) if dtype_name == "float32" else (-1080, 1026)
    logs = np.log2(x.astype(np.float64))
    y = (rng.uniform(*reach, 3 * n) / np.where(logs == 0, 1, logs)).astype(dtype_name)
    got = array_function("pow", dtype_name)(x, y)
    ref = exact("pow", x, y) if dtype_name == "float32" else _by_mpmath("pow", x, y)
    assert ulps(got, ref).max() <= BOUNDS["pow"][0]


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
def test_pow_special_values(dtype_name):
    """All pairs of awkward numbers, against the C library by way of NumPy."""
    numbers = [
        0,
        0.5,
        1,
        2,
        2.5,
        3,
        1e-30,
        1e30,
        16777215,
        16777216,
        2.0**53 - 1,
        2.0**53,
        5e-324,
        1e-45,
        INF,
    ]
    s = np.array([*numbers, *(-v for v in numbers), -0.0, NAN]).astype(dtype_name)
    x, y = (a.ravel() for a in np.meshgrid(s, s))
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
    got = array_function("pow", dtype_name)(x, y)
    np.testing.assert_array_max_ulp(got[np.isfinite(expected)], expected[np.isfinite(expected)], 2)
    other = ~np.isfinite(expected)
    np.testing.assert_array_equal(got[other], expected[other])
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@settings(max_examples=60, deadline=None)
@given(x=st.floats(width=32), y=st.floats(width=32))
def test_any_float32(x, y):
    for name in UNARY:
        if not (name in PERIODIC and abs(x) > LARGEST):
            check(name, BOUNDS[name][0], np.array([x], np.float32))
    check("pow", BOUNDS["pow"][0], np.array([x], np.float32), np.array([y], np.float32))


@pytest.mark.skipif(not EXTENDED, reason="needs a long double of 64 bits as the reference")
@settings(max_examples=60, deadline=None)
@given(x=st.floats())
def test_any_float64(x):
    for name in UNARY:
        if name != "erf" and not (name in PERIODIC and abs(x) > LARGEST):
            check(name, BOUNDS[name][1], np.array([x]))


def globals_used(function: FunctionType, seen: dict[str, Any]) -> dict[str, Any]:
    for name in function.__code__.co_names:
        if name in function.__globals__ and name not in seen:
            seen[name] = value = function.__globals__[name]
            if isinstance(value, FunctionType):
                globals_used(value, seen)
    return seen


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
@pytest.mark.parametrize("name", list(IMPLEMENTATIONS))
def test_formulas_use_placeholders_only(name, dtype_name):
    """No libm, no tables, no branches, and no float literal whose type the compiler would have to guess."""
    used = globals_used(IMPLEMENTATIONS[name][dtype_name], {})
    allowed = {"fma", "bitcast", "where", "floor", "rint", "fabs"}
    for key, value in used.items():
        if isinstance(value, Symbol):
            assert value.name in allowed, key
        elif isinstance(value, FunctionType):
            assert not any(isinstance(c, float) for c in value.__code__.co_consts), key
        else:
            assert isinstance(value, (np.generic, dtype)), key


@pytest.mark.parametrize(("dtype_name", "bound"), [("float32", 1e-7), ("float64", 2.3e-16)])
def test_normal_cdf_keeps_its_absolute_error(dtype_name, bound):
    x = np.concatenate([np.linspace(-12, 12, 20001), [0.0, -0.0, 1e-30, INF, -INF]]).astype(dtype_name)
    got = array_function("normal_cdf", dtype_name)(x)
    want = np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x.astype(np.float64)])
    assert np.abs(got.astype(np.float64) - want).max() <= bound
    assert np.isnan(array_function("normal_cdf", dtype_name)(np.array([NAN], dtype_name))).all()
