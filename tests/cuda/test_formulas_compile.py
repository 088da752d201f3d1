"""Every formula becomes a CUDA kernel that spills nothing, compiled for sm_90 with no GPU at hand."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

import pytest
from tapegrad.cuda.formulas import compile_formula
from tapegrad.dtypes import bool_, float32, float64, int64
from tapegrad.native.symbols import (
    ceil,
    cos,
    erf,
    exp,
    expm1,
    fabs,
    floor,
    fma,
    isnan,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    pow,
    rint,
    sigmoid,
    sin,
    sqrt,
    tan,
    tanh,
    trunc,
    where,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed"
)


def gelu(x):
    return x * 0.5 * (1.0 + erf(x * 0.7071067811865476))


def clipped(x, low, high):
    return minimum(maximum(x, low), high)


def scaled_gelu_dx(g, x):
    return g * (gelu(x) + fma(x, x, 1.0))


def smooth_l1_dx(g, x, t):
    d = x - t
    return where(fabs(d) < 1.0, g * d, where(d > 0.0, g, -g))


SAMPLES = [
    (lambda x: exp(x) + expm1(x) - log(x) * log1p(x), "exponentials", 1),
    (lambda x: log2(x) + log10(x) + sqrt(x), "logarithms", 1),
    (lambda x: tanh(x) * sigmoid(x), "saturating", 1),
    (lambda x: floor(x) + ceil(x) - trunc(x) * rint(x), "rounding", 1),
    (lambda x: where(isnan(x), 0.0, x), "isnan", 1),
    (gelu, "gelu", 1),
    (scaled_gelu_dx, "helper", 2),
    (clipped, "clipped", 3),
    (smooth_l1_dx, "smooth_l1_dx", 3),
    (lambda x, y: pow(x, y), "pow", 2),
    (lambda x, y: x < y, "less", 2),
]


CASES = [pytest.param(f, n, id=i) for f, i, n in SAMPLES]


@pytest.mark.parametrize("dtype", [float32, float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("formula", "n_args"), CASES)
def test_sample_formulas(formula, n_args, dtype):
    report = compile_formula(formula, dtype, n_args)
    assert report.cubin[:4] == b"\x7fELF"
    assert 0 < report.registers <= 64
    assert report.spills == 0
    assert (report.wide > 0) == (dtype is float64)  # a float32 formula must not have become float64


@pytest.mark.parametrize("symbol", [sin, cos, tan], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [float32, float64], ids=["float32", "float64"])
def test_trigonometric_functions(symbol, dtype):
    """libdevice reduces huge arguments in local memory, and in float64, so only spills are counted."""
    assert compile_formula(lambda x: symbol(x), dtype, 1).spills == 0


@pytest.mark.parametrize("dtype", [int64, bool_], ids=["int64", "bool"])
def test_integers_and_truth_values(dtype):
    assert compile_formula(lambda x, y: where(x > y, x, y), dtype, 2).wide == 0
    assert compile_formula(lambda x, y: x == y, dtype, 2).registers > 0


def test_other_architectures():
    for cc in ((7, 5), (8, 0)):
        assert compile_formula(gelu, float32, 1, cc=cc).spills == 0


def test_what_has_no_meaning_is_refused():
    from tapegrad.native.symbols import pointer

    with pytest.raises(TypeError, match="pointer has no meaning in CUDA kernels"):
        compile_formula(lambda x: pointer(x, float32), float32, 1)
    with pytest.raises(TypeError, match="1 to 5 element arguments"):
        compile_formula(gelu, float32, 0)


def test_other_types_and_parameters():
    report = compile_formula(
        lambda c, a, p: where(c, a, a * p[0]), float32, 2, arg_dtypes=(bool_, None), params=True
    )
    assert report.spills == 0
    assert report.wide == 0
    assert compile_formula(lambda x: x, float32, 1, result=int64).spills == 0


def test_a_literal_that_an_integer_cannot_hold_is_refused():
    with pytest.raises(TypeError, match="which int64 cannot hold"):
        compile_formula(lambda x: x * 0.5, int64, 1)


def _registered():
    """One case per formula of each pointwise operation and each type it is compiled for."""
    if importlib.util.find_spec("tapegrad.ops.registry") is None:
        return []
    for family in pkgutil.iter_modules(importlib.import_module("tapegrad.ops").__path__):
        importlib.import_module(f"tapegrad.ops.{family.name}")  # declares its operations
    from tapegrad.ops import registry

    found = []
    for op in registry.pointwise_ops():
        inputs = [op.input_dtypes[k] if k < len(op.input_dtypes) else None for k in range(len(op.inputs))]
        for t in op.dtypes:
            found.append(
                pytest.param(
                    op.forward, t, inputs, op.result, bool(op.params), id=f"{op.name}-forward-{t.name}"
                )
            )
            if not t.is_floating_point:
                continue  # gradients flow through floating point inputs only
            for k, d in enumerate(op.derivatives):
                if callable(d):
                    types = [op.result, *inputs, op.result]  # incoming gradient, inputs, result
                    label = f"{op.name}-derivative{k}-{t.name}"
                    found.append(pytest.param(d, t, types, None, bool(op.params), id=label))
    return found


@pytest.mark.parametrize(("formula", "dtype", "inputs", "result", "params"), _registered())
def test_registered_formulas(formula, dtype, inputs, result, params):
    report = compile_formula(formula, dtype, len(inputs), arg_dtypes=inputs, result=result, params=params)
    assert report.cubin[:4] == b"\x7fELF"
    assert report.spills == 0
