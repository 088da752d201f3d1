"""Plain functions as kernels: meaning of symbols, types of literals, vector code, clear refusals."""

import math
import threading

import numpy as np
import pytest
import sample
from sample import apply, binary, square, unary
from tapegrad import dtypes, native
from tapegrad._layout import FRAME_IN, FRAME_OUT
from tapegrad.dtypes import bool_, float32, float64, int32, int64, uint8
from tapegrad.dtypes import float32 as T
from tapegrad.native import Formula, KernelError, engine, flags, symbols
from tapegrad.native.symbols import (
    address_of,
    bitcast,
    call_kernel,
    exp,
    fabs,
    fma,
    isnan,
    maximum,
    minimum,
    pointer,
    pow,
    where,
)

FLOATS = (float32, float64)
SPECIAL = [0.0, -0.0, 1.5, -1.5, 2.5, -2.5, 1e30, -1e30, math.inf, -math.inf, math.nan]


def special(t: dtypes.dtype) -> np.ndarray:
    return np.array(SPECIAL if t.is_floating_point else [0, 1, 2, 3, 250, 7, 1, 0], t.numpy)


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal in every bit that matters: NaN equals NaN, -0.0 differs from 0.0."""
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        keep = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual[keep]), np.signbit(expected[keep]))


@pytest.mark.parametrize("t", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "rint", "fabs"])
def test_rounding_symbols_are_numpys(t, name):
    symbol = getattr(symbols, name)
    x = special(t)
    same(apply(unary, {"T": t, "formula": symbol}, np.empty_like(x), x), symbol.reference(x).astype(t.numpy))


@pytest.mark.parametrize("name", ["floor", "rint", "fabs"])
def test_rounding_leaves_integers_alone(name):
    x = np.array([-3, 0, 5], np.int32)
    expected = np.abs(x) if name == "fabs" else x
    same(apply(unary, {"T": int32, "formula": getattr(symbols, name)}, np.empty_like(x), x), expected)


@pytest.mark.parametrize("t", dtypes.DTYPES, ids=str)
@pytest.mark.parametrize("symbol", [maximum, minimum], ids=str)
def test_maximum_and_minimum(t, symbol):
    a = np.repeat(special(t), len(special(t)))
    b = np.tile(special(t), len(special(t)))
    y = apply(binary, {"T": t, "formula": symbol}, np.empty_like(a), a, b)
    np.testing.assert_array_equal(y, symbol.reference(a, b))
    zeros = (a == 0) & (b == 0)
    if t.is_floating_point:  # IEEE 754: -0.0 is less than 0.0, whatever the order
        signs = np.signbit(a[zeros]), np.signbit(b[zeros])
        expected = signs[0] & signs[1] if symbol is maximum else signs[0] | signs[1]
        np.testing.assert_array_equal(np.signbit(y[zeros]), expected)


def is_nan(x):
    return where(isnan(x), 1.0, 0.0)


def test_isnan():
    x = special(float32)
    same(
        apply(unary, {"T": float32, "formula": Formula(is_nan)}, np.empty_like(x), x),
        np.isnan(x) * np.float32(1),
    )


def fused(x):
    return fma(x, x, -1.0)


def test_fma_rounds_once_where_the_cpu_can():
    x = np.array([1 + 2.0**-12], np.float32)
    y = apply(unary, {"T": float32, "formula": Formula(fused)}, np.empty_like(x), x)
    exact = np.float32(np.float64(x[0]) ** 2 - 1)
    if "fma" in engine.host_features() or "neon" in engine.host_features():
        assert y[0] == exact != np.float32(x[0] * x[0]) - np.float32(1)
    else:
        assert y[0] == np.float32(x[0] * x[0]) - np.float32(1)


def next_up(x):
    return bitcast(int32(bitcast(x, int32) + int32(1)), T)


def test_bitcast():
    x = np.array([1.0, 3.5], np.float32)
    same(
        apply(unary, {"T": float32, "formula": next_up}, np.empty_like(x), x), np.nextafter(x, np.float32(9))
    )


@pytest.mark.parametrize("t", FLOATS, ids=str)
def test_math_symbols_follow_the_type_of_the_argument(t):
    x = np.linspace(-3, 3, 50).astype(t.numpy)
    y = apply(unary, {"T": t, "formula": exp}, np.empty_like(x), x)
    np.testing.assert_allclose(y, np.exp(x), rtol=4 * np.finfo(t.numpy).eps)


def exp_in_double(x):
    return T(exp(float64(x)))


def test_math_symbols_do_not_depend_on_the_compute_type():
    x = np.linspace(-3, 3, 50).astype(np.float32)
    y = apply(unary, {"T": float32, "formula": exp_in_double}, np.empty_like(x), x)
    same(y, np.exp(x.astype(np.float64)).astype(np.float32))


def test_pow():
    a, b = np.array([2.0, 9.0, -2.0, 0.0]), np.array([3.0, 0.5, 3.0, 0.0])
    np.testing.assert_allclose(
        apply(binary, {"T": float64, "formula": pow}, np.empty_like(a), a, b), a**b, rtol=1e-15
    )


def literals(x):
    return where(x > 0.0, 1.0 - x * 0.1, half(x))


def half(x):
    return x * 0.5


@pytest.mark.parametrize("t", FLOATS, ids=str)
def test_literals_of_a_formula_and_of_what_it_calls_have_the_compute_type(t):
    x = np.linspace(-2, 2, 41).astype(t.numpy)
    c = t.numpy.type
    expected = np.where(x > 0, c(1) - x * c(0.1), x * c(0.5))
    same(apply(unary, {"T": t, "formula": Formula(literals)}, np.empty_like(x), x), expected)


def twice(x):
    return x * 2.0 + 1.0


@pytest.mark.parametrize("t", [int64, int32, uint8], ids=str)
def test_literals_in_integer_formulas(t):
    x = np.array([0, 1, 100, 200], np.uint8).astype(t.numpy)
    same(
        apply(unary, {"T": t, "formula": Formula(twice)}, np.empty_like(x), x),
        x * t.numpy.type(2) + t.numpy.type(1),
    )


def one_or(x):
    return where(x, x, 1.0)


def test_truth_values():
    x = np.array([True, False])
    same(apply(unary, {"T": bool_, "formula": Formula(one_or)}, np.empty_like(x), x), np.array([True, True]))
    raw = np.array([0, 1, 2, 255], np.uint8)  # any non-zero byte is true
    same(apply(unary, {"T": bool_, "formula": sample.formula}, np.empty(4, bool), raw), raw != 0)


def widening(x):
    return x * 2


def test_a_formula_that_widens_is_refused():
    with pytest.raises(KernelError, match="widening widens float32 to float64"):
        native.compile_kernel(unary, {"T": float32, "formula": Formula(widening)})


def test_a_literal_that_the_type_cannot_hold_is_refused():
    with pytest.raises(KernelError, match=r"half has the literal 0.5, which int64 cannot hold"):
        native.compile_kernel(unary, {"T": int64, "formula": Formula(half)})


def recursive(x):
    return recursive(x)


def test_recursion_is_refused():
    with pytest.raises(KernelError, match="recursive"):
        native.compile_kernel(unary, {"formula": recursive})


SOME_LIST = [1.0]


def uses_a_list(x):
    return x * SOME_LIST[0]


def test_a_global_without_compiled_meaning_is_refused():
    with pytest.raises(KernelError, match="uses 'SOME_LIST', a list"):
        native.compile_kernel(unary, {"formula": uses_a_list})


def raises(f, lo, hi):
    if lo > 5:
        raise ValueError("no")
    return 0


def allocates(f, lo, hi):
    return len([lo, hi])


@pytest.mark.parametrize("kernel", [raises, allocates])
def test_a_kernel_that_needs_the_runtime_is_refused_or_says_so(kernel):
    try:
        address = native.compile_kernel(kernel)
    except KernelError:
        return
    words = sample.frame(np.zeros(1))
    assert (sample.call(address, words, 0, 1), sample.call(address, words, 6, 7)) in ((0, -1), (2, 2))


SCALE = 3.0


def scaled(x):
    return T(x * SCALE)


def test_numbers_are_constants_and_can_be_bound():
    x = np.arange(4, dtype=np.float32)
    same(apply(unary, {"formula": scaled}, np.empty_like(x), x), x * 3)
    same(apply(unary, {"formula": scaled, "SCALE": 4.0}, np.empty_like(x), x), x * 4)


def power(n):
    def raised(x):
        y = T(1.0)
        for _ in range(n):
            y = y * x
        return y

    return raised


def test_closures():
    x = np.arange(4, dtype=np.float32)
    same(apply(unary, {"formula": power(2)}, np.empty_like(x), x), x**2)
    same(apply(unary, {"formula": power(3)}, np.empty_like(x), x), x**3)


def calls_another(f, lo, hi):
    # f[FRAME_OUT] is the address of a kernel and f[FRAME_IN] that of its frame.
    inner = pointer(f[FRAME_IN], int64)
    return call_kernel(f[FRAME_OUT], address_of(inner), lo, hi)


def test_call_kernel():
    x = np.arange(6, dtype=np.float32)
    y = np.zeros_like(x)
    inner = sample.frame(y, x)
    outer = np.array([native.compile_kernel(unary, {"formula": square}), inner.ctypes.data], np.int64)
    assert sample.call(native.compile_kernel(calls_another), outer, 1, 5) == 0
    same(y, np.array([0, 1, 4, 9, 16, 0], np.float32))


def test_arrays_are_left_alone_beyond_the_range():
    x = np.arange(10, dtype=np.float32)
    y = np.full_like(x, -1)
    sample.call(native.compile_kernel(unary, {"formula": square}), sample.frame(y, x), 3, 6)
    np.testing.assert_array_equal(y, [-1, -1, -1, 9, 16, 25, -1, -1, -1, -1])


def test_the_same_kernel_is_the_same_address():
    a = native.compile_kernel(unary, {"T": float32, "formula": square}, "one")
    before = native.statistics()
    assert native.compile_kernel(unary, {"T": float32, "formula": square}, "two") == a
    after = native.statistics()
    assert (after["compiled"], after["reused"]) == (before["compiled"], before["reused"] + 1)
    assert native.compile_kernel(unary, {"T": float64, "formula": square}) != a


def never_seen_before(x):
    return x * T(12345.0)


def test_threads_that_ask_at_once_compile_once(monkeypatch):
    from tapegrad.native import kernels
    from tapegrad.native.objects import ObjectStore

    monkeypatch.setattr(kernels, "store", ObjectStore("", 0))
    before = native.statistics()["compiled"]
    start = threading.Barrier(8)
    found = []

    def ask():
        start.wait()
        found.append(native.compile_kernel(unary, {"formula": never_seen_before}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert native.statistics()["compiled"] == before + 1


@pytest.mark.parametrize(
    "formula",
    [square, Formula(literals), maximum, fabs, Formula(fused)],
    ids=["square", "where", "maximum", "fabs", "fma"],
)
@pytest.mark.parametrize("t", FLOATS, ids=str)
def test_loops_are_vector_loops(t, formula):
    from tapegrad.native import compiler

    text = compiler.assembly(binary if formula is maximum else unary, {"T": t, "formula": formula})
    features = engine.host_features()
    if "avx2" in features:
        assert "zmm" in text or "ymm" in text
    elif "neon" in features:
        assert ".4s" in text or ".2d" in text
    else:
        pytest.skip("no vector extension that this test knows")


@pytest.mark.parametrize("formula", [square, Formula(literals), maximum])
def test_objects_need_nothing_but_memory_functions(formula):
    from tapegrad.native import compiler

    made = compiler.compile_object(
        binary if formula is maximum else unary, {"T": float32, "formula": formula}, "k"
    )
    assert set(made.undefined) <= flags.MEMORY_SYMBOLS
    assert len(made.code) < 8192


def test_flags_have_no_fast_math():
    from tapegrad.native import compiler

    assert flags.EXACT["fastmath"] is False
    assert not compiler._flags().fastmath
