"""NumPy's arrays and numbers beside tensors: operators, functions of NumPy, arguments."""

from __future__ import annotations

import operator
import subprocess
import sys
import warnings

import numpy as np
import pytest

OPERATORS = (
    *("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
    *("and_", "or_", "xor"),
)
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor")
TENSORS = {"floats": [1.0, 2.0, 3.0], "ints": [1, 2, 3], "bools": [True, False, True], "number": 2.0, "whole": 3}
ARRAYS = {
    "float64": np.array([1.0, 2.0, 4.0]),
    "float32": np.array([1.0, 2.0, 4.0], np.float32),
    "int64": np.array([1, 2, 4]),
    "uint8": np.array([1, 2, 4], np.uint8),
    "bool": np.array([True, True, False]),
    "0-d": np.array(2.0),
    "words": np.array(["a", "b", "c"]),
}
NUMBERS = (np.float32(2.5), np.float64(2), np.float16(3), np.int64(2), np.int32(2), np.uint8(2), np.bool_(True))
OTHERS = ("a", None, [1, 2, 3], (1.0, 2.0, 3.0), object, {})


def outcome(function, module):
    """What a call does: a type and what is in it; NotImplementedErrors of NumPy's loops are TypeErrors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function()
    except Exception as error:
        return next(kind.__name__ for kind in (TypeError, ValueError, Exception) if isinstance(error, kind))
    if isinstance(result, module.Tensor):
        return "Tensor", str(result.dtype), repr(np.asarray(result.detach()).tolist())
    return type(result).__name__, repr(result)


def both(torch, reference, function, *args):
    """The outcomes here and in PyTorch."""

    def call(module):
        return outcome(lambda: function(*(module.tensor(a.data) if isinstance(a, Data) else a for a in args)), module)

    return call(torch), call(reference)


class Data:
    """Stands for a tensor of one of the two modules."""

    def __init__(self, data):
        self.data = data


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_with_what_is_no_tensor(torch, reference, name):
    """Both orders; `!=` with an array is element by element here, where PyTorch answers a single True."""
    operate = getattr(operator, name)
    for data in TENSORS.values():
        for other in (*ARRAYS.values(), *NUMBERS, *OTHERS):
            if name == "ne" and isinstance(other, np.ndarray) and other.dtype.kind != "U":
                continue
            here, there = both(torch, reference, operate, Data(data), other)
            if here != there:
                assert "torch.int8" in there, (data, other)  # there is no int8 here
            here, there = both(torch, reference, operate, other, Data(data))
            assert here == there, (other, data)


def test_an_array_differs_element_by_element(torch):
    p, y = torch.tensor([1, 2, 3, 4]), np.array([1, 2, 4, 4])
    assert (p != y).tolist() == (y != p).tolist() == [False, False, True, False]
    assert (p == y).float().mean().item() == 0.75
    assert (torch.tensor([1, 200]) == np.array([1, 200], np.uint16)).tolist() == [True, True]
    assert (p == y[::-1]).tolist() == [False, False, False, False]
    with pytest.raises(RuntimeError, match="must match the size of tensor b"):
        p == np.ones(3)


@pytest.mark.parametrize("name", IN_PLACE)
def test_operators_in_place(torch, reference, name):
    operate = getattr(operator, name)
    for data in TENSORS.values():
        for other in (*(a for key, a in ARRAYS.items() if key != "words"), *NUMBERS, *OTHERS, 2.0):
            here, there = both(torch, reference, operate, Data(data), other)
            if here != there:
                assert "torch.int8" in there, (data, other)


def test_a_refused_change_in_place_changes_nothing(torch):
    for name in ("ifloordiv", "imod", "ipow"):
        x = torch.tensor([1, 2, 3])
        for other in (2.0, np.float32(2), torch.tensor(2.5), torch.ones(2, 3, dtype=torch.int64)):
            with pytest.raises(RuntimeError, match=r"can't be cast|doesn't match the broadcast shape"):
                getattr(operator, name)(x, other)
        assert x.tolist() == [1, 2, 3]


def test_a_number_over_a_tensor_has_the_bits_of_the_reciprocal(torch, reference):
    values = np.random.default_rng(0).uniform(0.1, 10, 1000).astype(np.float32)
    for number in (3.0, 0.7, 2, np.float32(0.3)):
        x, r = torch.tensor(values, requires_grad=True), reference.tensor(values, requires_grad=True)
        y, s = number / x, number / r
        assert y.detach().numpy().tobytes() == s.detach().numpy().tobytes()
        y.sum().backward()
        s.sum().backward()
        assert x.grad.numpy().tobytes() == r.grad.numpy().tobytes()


FUNCTIONS = (
    *("exp", "sqrt", "abs", "negative", "sign", "floor", "isnan", "log1p", "round", "cumsum", "argmax", "square"),
    *("mean", "sum", "max", "min", "std", "prod", "any", "all"),
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_numpy(torch, reference, name):
    for data in ([1.0, 2.0, 3.0], [1, 2, 3], [[1.0, 4.0], [2.0, 3.0]]):
        here, there = both(torch, reference, getattr(np, name), Data(data))
        assert here == there


def test_functions_of_numpy_on_two(torch, reference):
    a = np.array([1.0, 2.0, 4.0])
    calls = [np.maximum, np.add, np.dot, np.allclose, np.array_equal, np.greater]
    for call in calls:
        for args in ((Data([1.0, 2.0, 3.0]), a), (a, Data([1.0, 2.0, 3.0]))):
            here, there = both(torch, reference, call, *args)
            assert here == there, call
    with pytest.raises(RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad"):
        np.exp(torch.ones(2, requires_grad=True))


def test_numpy_does_not_warn_of_the_wrapper(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.exp(torch.ones(2))
        torch.ones(2) + np.ones(2)


def test_a_read_only_array_is_warned_of_once():
    code = (
        "import sys, warnings, numpy as np, tapegrad as torch\n"
        "warnings.simplefilter('always')\n"
        "a = np.ones(3); a.flags.writeable = False\n"
        "torch.tensor(a); torch.ones(3) + a; print(end='', file=sys.stderr)\n"
        "torch.as_tensor(a); torch.from_numpy(a)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("The given NumPy array is not writable") == 1
