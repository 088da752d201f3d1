"""Named tuples of results, and `reversed`."""

from __future__ import annotations

import copy
import pickle

import pytest


@pytest.mark.parametrize("name", ["max", "min"])
def test_results_along_a_dimension(torch, reference, name):
    data = [[1.0, 3.0], [4.0, 2.0]]
    kind = getattr(torch.return_types, name)
    result, other = (getattr(m.tensor(data), name)(1) for m in (torch, reference))
    assert isinstance(result, kind)
    assert isinstance(result, tuple)
    assert repr(result) == repr(other)
    assert str(copy.deepcopy(result)) == str(pickle.loads(pickle.dumps(result))) == str(other)
    assert (type(result).__name__, result.n_fields, len(result)) == (name, 2, 2)
    values, indices = result
    assert values is result.values is result[0]
    assert indices is result.indices is result[1]
    with pytest.raises(AttributeError):
        result.values = 1


def test_results_of_a_compiled_function():
    import tapegrad as torch

    step = torch.compile(lambda x: x.max(1))
    for k in range(4):
        result = step(torch.tensor([[1.0, 3.0], [4.0, 2.0]]) + k)
        assert isinstance(result, torch.return_types.max)
        assert (result.values - k).tolist() == [3.0, 4.0]


def test_reversed_is_a_tensor(torch, reference):
    for data in ([1, 2, 3], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [], 5.0, [True, False]):
        assert repr(reversed(torch.tensor(data))) == repr(reversed(reference.tensor(data)))
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (reversed(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [3.0, 2.0, 1.0]
    assert [v.item() for v in reversed(x)] == [3.0, 2.0, 1.0]
