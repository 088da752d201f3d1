"""Names that PyTorch has and tapegrad has not: what their errors say, and that the list of them is current."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
import tapegrad as torch
from tapegrad import _missing
from tapegrad.testing import pytorch_names


def has(place, name):
    """Whether a module or a tensor has a name; of a tensor the class is asked, since some attributes raise."""
    return hasattr(type(place) if isinstance(place, torch.Tensor) else place, name)


MODULES = [name for name in pytorch_names.NAMESPACES if name != "torch.Tensor"]


def namespace(name):
    if name == "torch.Tensor":
        return torch.ones(1, 1)
    return importlib.import_module("tapegrad" + name.removeprefix("torch"))


@pytest.mark.parametrize("name", pytorch_names.NAMESPACES)
def test_missing_names_say_that_pytorch_has_them(name):
    """In every namespace, and `hasattr` tells the truth."""
    place = namespace(name)
    missing = [key for key in sorted(_missing.names()[name]) if not has(place, key)]
    for key in missing[:3] + missing[-3:]:
        text = f"`{name}.{key}` exists in PyTorch; tapegrad does not have it yet"
        with pytest.raises(AttributeError, match=re.escape(text)):
            getattr(place, key)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        place.no_such_name
    assert getattr(place, "no_such_name", 3) == 3
    assert not hasattr(place, "__no_such_name__")


def test_examples():
    with pytest.raises(AttributeError, match=r"`torch.jit` exists in PyTorch.*; use `torch.compile` instead"):
        torch.jit
    with pytest.raises(ImportError, match="cannot import name 'SparseAdam'"):
        from tapegrad.optim import SparseAdam  # noqa: F401
    with pytest.raises(AttributeError, match="'Parameter' object has no attribute 'no_such_name'"):
        torch.nn.Parameter(torch.ones(1)).no_such_name


def test_what_to_use_instead_is_said_of_names_that_pytorch_has():
    for full in _missing.INSTEAD:
        place, _, name = full.rpartition(".")
        assert name in _missing.names()[place], full


def test_every_public_module_explains_its_names():
    for name in MODULES:
        assert hasattr(namespace(name), "__getattr__"), name


def test_the_list_is_current(reference):
    version = pytorch_names.PATH.read_text(encoding="utf-8").splitlines()[0].split()[4].rstrip(",")
    if reference.__version__.split("+")[0] != version:
        pytest.skip(f"the list is of PyTorch {version}")
    code = "from tapegrad.testing import pytorch_names; print(pytorch_names.text(), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == pytorch_names.PATH.read_text(encoding="utf-8")


def test_the_list_is_not_read_by_an_import():
    code = (
        "import tapegrad as torch; from tapegrad import _missing\n"
        "torch.nn.Linear(1, 1)(torch.ones(1)); assert _missing.names.cache_info().currsize == 0\n"
        "hasattr(torch, 'jit'); assert _missing.names.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
