"""What `compile` itself is given."""

from __future__ import annotations

import pytest
import tapegrad as torch


def double(x):
    return x * 2


@pytest.mark.parametrize("kind", ["function", "decorator", "decorator with arguments"])
def test_ways_to_compile(kind):
    if kind == "function":
        f = torch.compile(double, mode="reduce-overhead", dynamic=True, backend="inductor")
    elif kind == "decorator":

        @torch.compile
        def f(x):
            return double(x)
    else:

        @torch.compile(fullgraph=True, options={"triton.cudagraphs": True})
        def f(x):
            return double(x)

    assert [f(torch.ones(2)).tolist() for _ in range(4)] == [[2.0, 2.0]] * 4
    assert f.counters.replayed == 2


def test_disable_gives_back_what_it_was_given():
    assert torch.compile(double, disable=True) is double
    assert torch.compile(disable=True)(double) is double


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what PyTorch imports
@pytest.mark.parametrize("mode", [None, "default", "lite", "reduce-overhead", "max-autotune", "fast", 3, ""])
def test_modes_are_pytorchs(mode):
    reference = pytest.importorskip("torch", reason="PyTorch is not installed")
    found = []
    for library in (torch, reference):
        try:
            library.compile(double, mode=mode)
            found.append(None)
        except RuntimeError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_a_mode_that_does_not_exist():
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast, should be one of: default"):
        torch.compile(double, mode="fast")
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast"):
        torch.compile(mode="fast")(double)


@pytest.mark.parametrize("limit", [-1, 1.5, "1 MiB", True])
def test_memory_limits_are_numbers_of_bytes(limit):
    with pytest.raises(ValueError, match="memory_limit is a number of bytes, not"):
        torch.compile(double, options={"memory_limit": limit})


@pytest.mark.parametrize("options", [3, "memory_limit", ["memory_limit"]])
def test_options_are_a_dict(options):
    with pytest.raises(TypeError, match="options is a dict of names and values, not"):
        torch.compile(double, options=options)


@pytest.mark.parametrize("what", [3, "double", torch.ones(2)])
def test_what_cannot_be_called(what):
    with pytest.raises(TypeError, match="takes a function or a module"):
        torch.compile(what)
