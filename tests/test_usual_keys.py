"""`x[key]` for the keys that go a short way, and for their neighbours that do not: PyTorch's values and errors."""

from __future__ import annotations

import numpy as np
import pytest

W = slice(None)


def _positions(*shape, size=3, kind=np.int64):
    return np.random.default_rng(sum(shape)).integers(-size, size, shape).astype(kind)


def _mask(*shape, share=0.5):
    return np.random.default_rng(1).random(shape) < share


KEYS = [
    (_positions(2), _positions(2, size=4)),
    (_positions(2, 2), _positions(2, 2, size=4), _positions(2, 2, size=5)),
    (_positions(2, 1), _positions(2, size=4)),
    (_positions(0), _positions(0)),
    (_positions(1, kind=np.int32), _positions(1)),
    (_positions(2) + 9, _positions(2)),
    (_positions(2), _positions(2) + 9),
    (_positions(2), _positions(3)),
    (_positions(2), W, _positions(2)),
    (_positions(2), W),
    (_positions(2), ...),
    (_positions(2), slice(1, 3)),
    (_positions(2), None),
    (_positions(2), 1),
    (..., _positions(2)),
    (..., _positions(2, 3, size=5)),
    (..., _positions(2), _positions(2)),
    (W, _positions(6, size=4)),
    (W, _positions(6, size=4), W),
    (W, W, _positions(6, size=5)),
    (W, W, W, _positions(2)),
    (W, _mask(4)),
    (_mask(3), W),
    (_mask(3), _positions(1)),
    _mask(3),
    _mask(3, 4),
    _mask(3, 4, 5),
    _mask(3, 4, 5, share=0.0),
    _mask(3, 4, 5, share=1.0),
    _mask(4),
    _mask(3, 5),
    _mask(3, 4, 5, 1),
    np.bool_(True),
    _mask(3).astype(np.uint8),
]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")
@pytest.mark.parametrize("key", KEYS, ids=[str(k) for k in range(len(KEYS))])
@pytest.mark.parametrize("turned", [False, True])
def test_usual_keys(torch, reference, key, turned):
    values = np.random.default_rng(0).random((5, 4, 3) if turned else (3, 4, 5))
    found = []
    for t in (torch, reference):
        leaf = t.from_numpy(values.copy()).requires_grad_()
        x = leaf.permute(2, 1, 0) if turned else leaf
        parts = [
            t.from_numpy(k) if isinstance(k, np.ndarray) else k for k in (key if isinstance(key, tuple) else (key,))
        ]
        if not isinstance(key, tuple):
            parts = [t.tensor(bool(key))] if not isinstance(key, np.ndarray) else parts
        try:
            y = x[tuple(parts) if isinstance(key, tuple) else parts[0]]
        except (IndexError, RuntimeError) as error:
            found.append(type(error))
            continue
        (y * y).sum().backward()
        found.append((tuple(y.shape), y.tolist(), leaf.grad.tolist()))
    assert found[0] == found[1]
