"""Products by panels: the same numbers however the result is cut, next to BLAS's."""

from __future__ import annotations

import numpy as np
import pytest
import tapegrad as torch

SHAPES = [(128, 512, 512), (130, 97, 300), (600, 100, 64), (17, 1000, 70), (1000, 10, 257), (64, 33, 700)]


def _operands(m: int, n: int, k: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(m + n + k)
    return torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_layouts_against_numpy(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    a, b = _operands(*shape, dtype)
    expected = a.numpy().astype(np.float64) @ b.numpy().astype(np.float64)
    bound = 8 * np.finfo(a.numpy().dtype).eps * (np.abs(a.numpy()) @ np.abs(b.numpy()))
    for left in (a, a.t().contiguous().t()):
        for right in (b, b.t().contiguous().t()):
            assert (np.abs((left @ right).numpy() - expected) <= bound).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_threads_or_batch(shape: tuple[int, int, int]) -> None:
    a, b = _operands(*shape, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append((a @ b).numpy())
            results.append(torch.bmm(a.expand(2, *a.shape), b.expand(2, *b.shape))[1].numpy())
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert (results[0] == other).all()


def test_a_gradient_is_added_after_the_product() -> None:
    x = torch.randn(128, 300)
    w = torch.nn.Parameter(torch.randn(200, 300))
    start = torch.randn(200, 300)
    g = torch.randn(128, 200)
    (alone,) = torch.autograd.grad(torch.nn.functional.linear(x, w), w, g)
    w.grad = start.clone()
    torch.nn.functional.linear(x, w).backward(g)
    assert (w.grad == start + alone).all()
