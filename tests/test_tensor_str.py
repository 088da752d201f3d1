"""Printing: fixed texts recorded from PyTorch 2.13, and PyTorch itself on random arrays where installed."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tapegrad import _tensor_str as printer
from tapegrad._tensor_str import format_tensor

INF, NAN = math.inf, math.nan


def f4(*values):
    return np.array(values, np.float32)


@pytest.fixture(autouse=True)
def default_options():
    printer.set_printoptions(profile="default")
    yield
    printer.set_printoptions(profile="default")


GOLDEN = [
    (f4(1, 2), "tensor([1., 2.])"),
    (f4(1, 2.5), "tensor([1.0000, 2.5000])"),
    (f4(0.1, 1e-5), "tensor([1.0000e-01, 1.0000e-05])"),
    (f4(1, 1001), "tensor([1.0000e+00, 1.0010e+03])"),
    (f4(1, 1000), "tensor([   1., 1000.])"),
    (f4(2e8), "tensor([2.0000e+08])"),
    (f4(1e8), "tensor([100000000.])"),
    (f4(INF, NAN), "tensor([inf, nan])"),
    (f4(1, INF, -INF, NAN), "tensor([1., inf, -inf, nan])"),
    (f4(0.5, -INF, NAN), "tensor([0.5000,   -inf,    nan])"),
    (f4(0, -0.0), "tensor([0., -0.])"),
    (f4(-1, 0.25), "tensor([-1.0000,  0.2500])"),
    (np.array(3.14159, np.float32), "tensor(3.1416)"),
    (np.array(7), "tensor(7)"),
    (np.array(True), "tensor(True)"),
    (np.array([True, False]), "tensor([ True, False])"),
    (np.array([1, -10, 100]), "tensor([  1, -10, 100])"),
    (np.array([1, 2], np.int32), "tensor([1, 2], dtype=torch.int32)"),
    (np.array([200], np.uint8), "tensor([200], dtype=torch.uint8)"),
    (np.array([1.5], np.float64), "tensor([1.5000], dtype=torch.float64)"),
    (np.zeros(0, np.float32), "tensor([])"),
    (np.zeros(0, np.int64), "tensor([], dtype=torch.int64)"),
    (np.zeros((0, 3), np.float32), "tensor([], size=(0, 3))"),
    (np.zeros((2, 0), bool), "tensor([], size=(2, 0), dtype=torch.bool)"),
    (np.arange(4, dtype=np.float32).reshape(2, 2), "tensor([[0., 1.],\n        [2., 3.]])"),
    (
        np.arange(8).reshape(2, 2, 2),
        "tensor([[[0, 1],\n         [2, 3]],\n\n        [[4, 5],\n         [6, 7]]])",
    ),
    (np.arange(1001), "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    (
        np.arange(30),
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])",
    ),
    (
        np.arange(1200, dtype=np.float32).reshape(40, 30),
        "tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 2.7000e+01, 2.8000e+01,\n"
        "         2.9000e+01],\n"
        "        [3.0000e+01, 3.1000e+01, 3.2000e+01,  ..., 5.7000e+01, 5.8000e+01,\n"
        "         5.9000e+01],\n"
        "        [6.0000e+01, 6.1000e+01, 6.2000e+01,  ..., 8.7000e+01, 8.8000e+01,\n"
        "         8.9000e+01],\n"
        "        ...,\n"
        "        [1.1100e+03, 1.1110e+03, 1.1120e+03,  ..., 1.1370e+03, 1.1380e+03,\n"
        "         1.1390e+03],\n"
        "        [1.1400e+03, 1.1410e+03, 1.1420e+03,  ..., 1.1670e+03, 1.1680e+03,\n"
        "         1.1690e+03],\n"
        "        [1.1700e+03, 1.1710e+03, 1.1720e+03,  ..., 1.1970e+03, 1.1980e+03,\n"
        "         1.1990e+03]])",
    ),
]


@pytest.mark.parametrize(("array", "text"), GOLDEN, ids=range(len(GOLDEN)))
def test_recorded_texts(array, text):
    assert format_tensor(array, array.dtype.name) == text


@pytest.mark.parametrize(("array", "text"), GOLDEN, ids=range(len(GOLDEN)))
def test_the_recorded_texts_are_pytorchs(array, text, reference):
    assert repr(reference.from_numpy(array.copy())) == text


def test_gradient_suffixes():
    x = f4(1, 2)
    assert format_tensor(x, "float32", True) == "tensor([1., 2.], requires_grad=True)"
    assert format_tensor(x, "float32", True, "MulBackward0") == "tensor([1., 2.], grad_fn=<MulBackward0>)"
    text = format_tensor(x, "float32", True, parameter=True)
    assert text == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    assert format_tensor(x, "float32", False, None, "Mine(") == "Mine([1., 2.])"


def test_default_type_decides_the_suffix():
    x = np.array([1.0])
    assert format_tensor(x, "float64", default_dtype_name="float64") == "tensor([1.])"
    text = format_tensor(f4(1), "float32", default_dtype_name="float64")
    assert text == "tensor([1.], dtype=torch.float32)"


def test_suffix_that_does_not_fit_moves_down():
    text = format_tensor(np.full(6, 0.125), "float64", True, "MulBackward0")
    assert text == (
        "tensor([0.1250, 0.1250, 0.1250, 0.1250, 0.1250, 0.1250], dtype=torch.float64,\n"
        "       grad_fn=<MulBackward0>)"
    )


def test_suffixes_at_every_width(reference):
    for n in range(1, 24):
        weight = reference.nn.Parameter(reference.full((n,), 0.125, dtype=reference.float64))
        assert format_tensor(weight.detach().numpy(), "float64", True, parameter=True) == repr(weight)
        product = weight * 1.0
        assert format_tensor(product.detach().numpy(), "float64", True, "MulBackward0") == repr(product)


def test_options_are_put_back():
    before = printer.get_printoptions()
    with printer.printoptions(precision=1, linewidth=10, sci_mode=True):
        assert format_tensor(f4(1, 2), "float32") == "tensor([1.0e+00,\n        2.0e+00])"
    with contextlib.suppress(ValueError), printer.printoptions(precision=1):
        raise ValueError
    assert printer.get_printoptions() == before


def test_profiles():
    printer.set_printoptions(profile="short")
    assert format_tensor(f4(0.123), "float32") == "tensor([0.12])"
    printer.set_printoptions(profile="full")
    assert "..." not in format_tensor(np.arange(2000), "int64")
    printer.set_printoptions(profile="short", precision=3)
    assert format_tensor(f4(0.1239), "float32") == "tensor([0.124])"
    printer.set_printoptions(profile="no such profile")
    assert format_tensor(f4(0.1239), "float32") == "tensor([0.124])"


def test_sci_mode_goes_back_to_automatic():
    printer.set_printoptions(sci_mode=False)
    assert format_tensor(f4(1e-6), "float32") == "tensor([0.0000])"
    printer.set_printoptions(precision=4)
    assert format_tensor(f4(1e-6), "float32") == "tensor([1.0000e-06])"


@pytest.fixture
def torch_options(reference):
    yield reference.set_printoptions
    reference.set_printoptions(profile="default")


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
DTYPES = st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_])
SHARED_FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=200, deadline=None, suppress_health_check=SHARED_FIXTURES)
@given(data=st.data())
def test_random_arrays(data, reference):
    array = data.draw(hnp.arrays(data.draw(DTYPES), data.draw(SHAPES)))
    assert format_tensor(array, array.dtype.name) == repr(reference.from_numpy(array.copy()))


OPTIONS = st.fixed_dictionaries(
    {
        "precision": st.integers(0, 8),
        "threshold": st.sampled_from([0, 5, 40, 1000, math.inf]),
        "edgeitems": st.integers(0, 4),
        "linewidth": st.integers(8, 120),
        "sci_mode": st.sampled_from([None, None, True, False]),
    }
)


@settings(max_examples=200, deadline=None, suppress_health_check=SHARED_FIXTURES)
@given(
    scale=st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 30.0, 1e4, 1e9]),
    shape=SHAPES,
    seed=st.integers(0, 2**31),
    whole=st.booleans(),
    options=OPTIONS,
    grad_fn=st.sampled_from([None, "", "MulBackward0"]),
)
def test_random_options(scale, shape, seed, whole, options, grad_fn, reference, torch_options):
    array = np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, np.float32)
    if whole:
        array = np.asarray(np.round(array))
    tensor = reference.from_numpy(array.copy()).requires_grad_(grad_fn is not None)
    if grad_fn:
        tensor = tensor * 1.0
    printer.set_printoptions(**options)
    torch_options(**options)
    assert format_tensor(array, "float32", grad_fn is not None, grad_fn or None) == repr(tensor)


def test_views_print_like_copies():
    a = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    for view in (a.T, a[::2, ::-1], np.broadcast_to(a[:1], (3, 6))):
        assert format_tensor(view, "float32") == format_tensor(view.copy(), "float32")
