"""softmax and log_softmax: kernels through frames against torch in float64."""

from __future__ import annotations

import numpy as np
import pytest
from ops.frames import forward
from ops.structured_checks import check_op, raises_like_torch
from tapegrad.ops import softmax

torch = pytest.importorskip("torch")
OPS = {"softmax": softmax.softmax, "log_softmax": softmax.log_softmax}


@pytest.fixture
def rng():
    return np.random.default_rng(21)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((3, 5), 1),
        ((3, 5), 0),
        ((300, 10), 1),
        ((7000, 10), -1),
        ((4, 64), 1),
        ((4, 65), 1),
        ((5, 3000), 1),
        ((2, 7, 130), 1),
        ((40, 100, 3), 1),
        ((2, 3, 4, 5), -3),
        ((7,), 0),
        ((), 0),
        ((0, 3), 1),
        ((3, 0), 1),
        ((3, 1), 1),
    ],
)
def test_values_and_gradients(name, shape, dim, dtype, rng):
    x = np.asarray(3 * rng.standard_normal(shape)).astype(dtype)
    check_op(OPS[name], [x], lambda x: getattr(torch, name)(x, dim), rng, dim=dim)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("inner", [1, 2])
def test_special_values_are_torch_s(name, n, inner):
    inf, nan = np.inf, np.nan
    for head in ([-inf, 1, 2], [inf, 1, 2], [nan, 1, 2], [1, nan, 2], [1e30, -1e30, 0], [-inf] * 3):
        row = np.array(head + head[:1] * (n - 3), dtype=np.float32)
        x = np.repeat(row[:, None], inner, axis=1)[None]
        want = getattr(torch, name)(torch.from_numpy(x), 1).numpy()
        np.testing.assert_allclose(forward(OPS[name], x, dim=1).y, want, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize(
    ("shape", "dim", "dtype"),
    [((2, 3), 2, "f4"), ((2, 3), -3, "f4"), ((), 1, "f4"), ((2, 3), 1, "i8"), ((2, 3), 0, "i8")],
)
def test_errors(name, shape, dim, dtype):
    raises_like_torch(name, OPS[name].rule, np.zeros(shape, dtype), dim=dim)
