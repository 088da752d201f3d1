"""Tensors made of Python numbers, and back: what is quick and what is looked at closely give the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

NUMBERS = [
    *(1.5, 3, True, False, -0.0, 2**62, -(2**63), 1e39, -1e39, 1e-46, math.nan, math.inf),
    *([1.0, 2.0], [1, 2, 3], [True, False], [True, 2], [1, 2.5], [True, 0.5], (1, 2), [(1, 2), [3, 4]], [[1.5], [2]]),
    *([[[1], [2]], [[3], [4.0]]], [[True], [False]], [[True], [2]], [2**24 + 1], [2**62 + 1, 1]),
    *([], [[]], [[], []], [[[[[[[[1.0]]]]]]]]),
]
BAD = [
    *([1, [2]], [[1], 2], [[1, 2], [3]], [[[1, 2]], [[3]]], ["a"], [None], [1, None], [1.0, "a"], [[1], ["a"]]),
    *(2**63, [2**63], [-(2**63) - 1, 1], {1}, "a", None),
]


@pytest.mark.torch
@pytest.mark.parametrize("data", NUMBERS, ids=str)
@pytest.mark.parametrize("dtype", [None, "float32", "float64", "int64", "int32", "uint8", "bool"])
def test_numbers_are_pytorchs(torch, reference, data, dtype):
    found = []
    for t in (torch, reference):
        try:
            made = t.tensor(data, dtype=dtype and getattr(t, dtype))
        except (RuntimeError, ValueError, OverflowError) as error:
            found.append(type(error))
        else:
            assert made.requires_grad is False
            found.append((str(made.dtype).split(".")[-1], tuple(made.shape), repr(made.tolist())))
    assert found[0] == found[1]


@pytest.mark.parametrize("data", BAD, ids=str)
def test_other_contents_are_refused(torch, data):
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        torch.tensor(data)


def test_numbers_follow_the_default_type(torch):
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.tensor([1.0, 2.0]).dtype is torch.float64
        assert torch.tensor(0.1).item() == 0.1
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.tensor(0.1).item() == float(np.float32(0.1))


def test_lists_deeper_than_tensors_are_refused(torch):
    deep = 1.0
    for _ in range(9):
        deep = [deep]
    with pytest.raises(RuntimeError, match="at most 8 dimensions"):
        torch.tensor(deep)
    endless = []
    endless.append(endless)
    with pytest.raises((RuntimeError, ValueError, RecursionError)):
        torch.tensor(endless)


def test_gradients_are_asked_of_numbers(torch):
    assert torch.tensor([1.0], requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1], requires_grad=True)
    with pytest.raises(TypeError, match="dtype"):
        torch.tensor([1.0], dtype="float32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_lists_of_elements(torch, dtype):
    """Of any strides; NumPy makes the same lists of the same elements, with Python's own types in them."""
    for shape in [(), (1,), (0,), (2, 0), (0, 2), (3, 4), (2, 3, 2)]:
        array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
        whole = torch.from_numpy(np.array(array))
        for x in (whole, whole.permute(*reversed(range(whole.ndim))), whole.expand(2, *shape)):
            found, expected = x.tolist(), x.numpy().tolist()
            assert repr(found) == repr(expected)
        if whole.ndim:
            assert repr(whole[::2].tolist()) == repr(array[::2].tolist())


def test_shapes_are_sizes(torch):
    for shape in [(), (0,), (3,), (2, 3), (1,) * 8]:
        found = torch.zeros(shape).shape
        assert type(found) is torch.Size
        assert found == shape
        assert hash(found) == hash(shape)
        assert [*found] == [*shape]
    assert [torch.zeros(2**k).shape[0] for k in range(12)] == [2**k for k in range(12)]


def test_arrays_of_any_strides_share_their_memory(torch):
    whole = np.arange(24.0).reshape(2, 3, 4)
    views = (
        whole,
        whole.T,
        whole[:, 1:2],
        whole[::2],
        whole[:0],
        whole[:, :, ::3],
        whole[1, 2, 3, ...],
        whole[:, None],
    )
    for array in (*views, np.broadcast_to(whole[0], (5, 3, 4)).copy()):
        x = torch.from_numpy(array)
        assert x.tolist() == array.tolist()
        assert tuple(8 * s for s in x.stride()) == array.strides
        assert x.data_ptr() == (array.ctypes.data if array.size else 0)
    for bad, error in ((whole[::-1], ValueError), (whole.astype(">f8"), (ValueError, TypeError)), ([1.0], TypeError)):
        with pytest.raises(error):
            torch.from_numpy(bad)
    odd = np.zeros(3, dtype=[("a", "f8"), ("b", "i4")])["a"]
    with pytest.raises(ValueError, match="multiple of the element byte size"):
        torch.from_numpy(odd)
