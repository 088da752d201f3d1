"""`torch.FloatTensor` and its kin; devices as contexts and defaults."""

from __future__ import annotations

import numpy as np
import pytest

TYPES = {
    "FloatTensor": "float32",
    "DoubleTensor": "float64",
    "LongTensor": "int64",
    "IntTensor": "int32",
    "ByteTensor": "uint8",
    "BoolTensor": "bool",
}


@pytest.mark.parametrize("name", TYPES)
def test_types_tell_the_dtype(torch, name):
    kind = getattr(torch, name)
    for other, dtype in TYPES.items():
        assert isinstance(torch.zeros(2, dtype=getattr(torch, dtype)), kind) == (other == name)
    assert not isinstance(np.zeros(2, TYPES[name]), kind)
    assert not issubclass(kind, torch.Tensor)
    assert kind.dtype is getattr(torch, TYPES[name])
    assert repr(kind) == f"<class 'torch.{name}'>"


def test_parameters_are_of_their_type(torch):
    p = torch.nn.Parameter(torch.ones(2))
    assert isinstance(p, torch.FloatTensor)
    assert not isinstance(p.data.double(), (torch.FloatTensor, torch.LongTensor))


@pytest.mark.parametrize("name", TYPES)
def test_types_make_tensors(torch, name):
    kind = getattr(torch, name)
    for args, shape in (((2, 3), (2, 3)), ((), (0,)), ((torch.Size([2]),), (2,)), ((np.int64(3),), (3,))):
        made = kind(*args)
        assert (tuple(made.shape), made.dtype) == (shape, kind.dtype)
    assert kind([1, 0]).tolist() == kind((1, 0)).tolist() == kind(np.array([1, 0])).tolist() == [1, 0]


def test_a_type_shows_a_tensor_of_its_own(torch):
    t = torch.ones(2)
    torch.FloatTensor(t)[0] = 5
    assert t.tolist() == [5.0, 1.0]
    with pytest.raises(TypeError, match="expected"):
        torch.LongTensor(t)


def test_conversions_by_type(torch):
    t = torch.ones(2)
    assert t.type(torch.LongTensor).dtype is t.type("torch.LongTensor").dtype is torch.int64
    assert t.type(torch.FloatTensor) is t
    assert t.type() == "torch.FloatTensor"


def test_the_default_by_type(torch):
    try:
        torch.set_default_tensor_type(torch.DoubleTensor)
        assert torch.ones(1).dtype is torch.float64
        torch.set_default_tensor_type("torch.FloatTensor")
        assert torch.ones(1).dtype is torch.float32
        with pytest.raises(TypeError, match="floating"):
            torch.set_default_tensor_type(torch.LongTensor)
        with pytest.raises((TypeError, AttributeError)):
            torch.set_default_tensor_type("torch.Nothing")
    finally:
        torch.set_default_tensor_type("torch.FloatTensor")


def test_the_cpu_as_a_context_and_as_the_default(torch):
    with torch.device("cpu") as d:
        assert torch.ones(1).device == d == torch.device("cpu")
    torch.set_default_device("cpu")
    assert torch.get_default_device() == torch.device("cpu")


def test_other_devices_are_refused():
    import tapegrad as torch

    for use in (torch.set_default_device, lambda d: torch.device(d).__enter__()):
        with pytest.raises(RuntimeError, match="tapegrad has no cuda device"):
            use("cuda")
