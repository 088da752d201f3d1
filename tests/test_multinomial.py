"""`torch.multinomial` and the sampler that draws with it: PyTorch's numbers from PyTorch's seeds."""

from __future__ import annotations

import numpy as np
import pytest

SHAPES = ((1,), (7,), (100,), (3, 5), (4, 1000), (10000,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_numbers_are_those_of_pytorch(torch, reference, dtype, shape):
    weights = np.random.default_rng(0).random(shape).astype(dtype)
    if shape[-1] > 2:
        weights[..., ::3] = 0
    positive = int((weights > 0).sum(-1).min())
    for count, replacement in ((1, False), (1, True), (2, True), (100, True), (min(positive, 100), False)):
        for seed in range(3):
            drawn = []
            for m in (torch, reference):
                m.manual_seed(seed)
                places = m.multinomial(m.from_numpy(weights), count, replacement)
                drawn.append((tuple(places.shape), str(places.dtype), places.tolist(), m.rand(1).item()))
            assert drawn[0] == drawn[1], (count, replacement, seed)


def test_forms_of_the_call(torch, reference):
    for call in (
        lambda m, w: m.multinomial(w, 3, True),
        lambda m, w: m.multinomial(input=w, num_samples=3, replacement=True),
        lambda m, w: w.multinomial(np.int64(3), replacement=True, generator=m.Generator().manual_seed(5)),
        lambda m, w: m.multinomial(w.t(), 2, generator=m.Generator().manual_seed(5)),
        lambda m, w: m.multinomial(w.t()[:2], 1),
        lambda m, w: m.multinomial(w[:, 1:], 1),
        lambda m, w: m.multinomial(w.t(), 4, True),
        lambda m, w: m.multinomial(w[:, 0], 2),
        lambda m, w: m.multinomial(w[0].expand(4, 3), 2),
        lambda m, w: m.multinomial(w.requires_grad_(), 1),
        lambda m, w: m.multinomial(m.ones(0, 3), 2),
    ):
        drawn = []
        for m in (torch, reference):
            m.manual_seed(1)
            drawn.append(repr(call(m, m.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))))
        assert drawn[0] == drawn[1]


nan, inf = float("nan"), float("inf")
REFUSED = (
    *(([1.0, 2.0], 0, False), ([1.0, 2.0], -1, True), ([1.0, 2.0], 3, False), ([1, 2], 1, False), (1.0, 1, False)),
    *(([-1.0, 2.0], 1, False), ([-1.0, 2.0], 2, True), ([nan, 2.0], 1, False), ([nan, 2.0], 2, True)),
    *(([inf, 2.0], 1, False), ([inf, 2.0], 2, True), ([0.0, 0.0], 1, False), ([0.0, 0.0], 2, True)),
    *(([[1.0, 2.0], [0.0, 0.0]], 1, False), ([[[1.0]]], 1, False), ([1.0, 2.0], 1.5, False), ([], 2, True)),
)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(torch, reference, case):
    data, count, replacement = case
    errors = []
    for m in (torch, reference):
        m.manual_seed(3)
        with pytest.raises((RuntimeError, TypeError)) as caught:
            m.multinomial(m.tensor(data), count, replacement)
        errors.append((caught.type, str(caught.value).split("\n")[0]))
    assert errors[0] == errors[1]
    after = torch.rand(1)
    torch.manual_seed(3)
    assert after.item() == torch.rand(1).item()  # nothing was drawn


@pytest.mark.parametrize("replacement", [False, True])
def test_the_sampler(torch, reference, replacement):
    drawn = []
    for m in (torch, reference):
        generator = m.Generator().manual_seed(7)
        sampler = m.utils.data.WeightedRandomSampler([0.1, 0.7, 0.2, 0.4], 4, replacement, generator)
        loader = m.utils.data.DataLoader(m.arange(4), batch_size=2, sampler=sampler)
        drawn.append([batch.tolist() for _ in range(3) for batch in loader])
    assert drawn[0] == drawn[1]


def test_single_draws_are_compiled(reference):
    import tapegrad as torch

    w = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    step = torch.compile(lambda w: torch.multinomial(w.softmax(1), 1))
    torch.manual_seed(2)
    reference.manual_seed(2)
    for _ in range(6):
        expected = reference.multinomial(reference.from_numpy(w.numpy()).softmax(1), 1)
        assert step(w).tolist() == expected.tolist()
    assert step.counters.replayed > 0
    with pytest.raises(RuntimeError, match="`inf`, `nan` or element < 0"):
        step(w * nan)
