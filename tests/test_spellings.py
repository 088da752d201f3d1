"""Arguments by name: whatever name PyTorch takes for one, in any public function and method, is taken here."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from tapegrad._functions.base import FUNCTIONS, METHODS

# Names by which PyTorch may call arguments, its own and NumPy's.
NAMES = ("input", "x", "a", "x1", "other", "x2", "dim", "axis", "keepdim", "keepdims")

# Samples of arguments by the names of parameters; of functions that need others, by their own names.
SAMPLES = {
    "input": lambda m: m.tensor([[0.5, 0.25, 0.75], [0.125, 1.0, 0.375]]),
    "self": lambda m: m.tensor([[0.5, 0.25, 0.75], [0.125, 1.0, 0.375]]),
    "tensor": lambda m: m.tensor([[0.5, 0.25, 0.75], [0.125, 1.0, 0.375]]),
    "other": lambda m: m.tensor([[2.0, 0.5, 1.0], [1.5, 0.25, 1.0]]),
    "tensor1": lambda m: m.ones(2, 3),
    "tensor2": lambda m: m.ones(2, 3),
    "end": lambda m: m.ones(2, 3),
    "mat2": lambda m: m.ones(3, 2),
    "vec": lambda m: m.ones(3),
    "weight": lambda m: 0.5,
    "dim": lambda m: 1,
    "keepdim": lambda m: True,
    "dim0": lambda m: 0,
    "dim1": lambda m: 1,
    "axis0": lambda m: 0,
    "axis1": lambda m: 1,
    "dims": lambda m: (1, 0),
    "size": lambda m: (2, 3),
    "shape": lambda m: (3, 2),
    "sizes": lambda m: (3, 1),
    "tensors": lambda m: [m.ones(2, 3), m.zeros(2, 3)],
    "index": lambda m: m.tensor([[0, 1], [1, 0]]),
    "src": lambda m: m.ones(2, 2),
    "mask": lambda m: m.tensor([[True, False, True], [False, True, False]]),
    "condition": lambda m: m.tensor([[True, False, True], [False, True, False]]),
    "value": lambda m: 2.0,
    "exponent": lambda m: 2,
    "source": lambda m: 0,
    "destination": lambda m: 1,
    "chunks": lambda m: 2,
    "split_size_or_sections": lambda m: 1,
    "start": lambda m: 0,
    "length": lambda m: 1,
    "min": lambda m: 0.3,
}
whole = {"input": lambda m: m.tensor([[5, 2, 7], [1, 0, 3]]), "other": lambda m: m.tensor([[1, 2, 3], [3, 2, 1]])}
OWN = {
    "bitwise_and": whole,
    "bitwise_or": whole,
    "bitwise_xor": whole,
    "bitwise_not": whole,
    "dot": {"input": lambda m: m.ones(3), "tensor": lambda m: m.ones(3)},
    "bmm": {"input": lambda m: m.ones(1, 2, 3), "mat2": lambda m: m.ones(1, 3, 2)},
    "matmul": {"other": lambda m: m.ones(3, 2)},
    "linear": {"weight": lambda m: m.ones(4, 3)},
    "index_select": {"index": lambda m: m.tensor([0, 1])},
    "select": {"index": lambda m: 1},
    "squeeze": {"input": lambda m: m.ones(2, 1)},
    "unflatten": {"sizes": lambda m: (3, 1)},
    "cross_entropy": {"target": lambda m: m.tensor([0, 1])},
    "nll_loss": {"target": lambda m: m.tensor([0, 1])},
    "mse_loss": {"target": lambda m: m.ones(2, 3)},
    "l1_loss": {"target": lambda m: m.ones(2, 3)},
    "result_type": {"tensor1": lambda m: m.ones(2), "other": lambda m: m.ones(2, dtype=m.float64)},
    "is_tensor": {"obj": lambda m: 3},
    "typename": {"obj": lambda m: 3},
    "can_cast": {"from_": lambda m: m.int64, "to": lambda m: m.float32},
}


def plain(value):
    """A result as something to compare; memory is not looked at."""
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if hasattr(value, "detach"):
        return str(value.dtype), np.round(np.asarray(value.detach()), 4).tolist()
    return repr(value)


def sample(module, name, parameter):
    make = OWN.get(name, {}).get(parameter) or SAMPLES.get(parameter)
    if make is None:
        pytest.skip(f"no sample of the argument {parameter}: give {name} one")
    return make(module)


def calls(name, function, method):
    """(arguments in order, {} or one more by its name) of calls that make sense: {parameter: position}."""
    parameters = list(inspect.signature(function).parameters.values())
    kept = []
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            break
        wanted = p.default is p.empty or (p.name in ("dim", "keepdim") and name != "squeeze") or p.name == "min"
        if p.kind is p.KEYWORD_ONLY or not wanted:
            continue
        kept.append(p.name)
    return kept[1:] if method else kept


def outcome(function, *args, **named):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return plain(function(*args, **named))
    except TypeError:
        return "refused"
    except (RuntimeError, IndexError, NotImplementedError) as error:
        return type(error).__name__


def check(torch, reference, name, method):
    table = METHODS if method else FUNCTIONS
    names = calls(name, table[name], method)

    def call(m, k, by):
        """The argument at place k by another name, those before it in order, those behind it by their own."""
        place = m.Tensor if method else m
        first = [sample(m, name, "input")] if method else []
        args = [sample(m, name, p) for p in names]
        named = {by: args[k], **dict(zip(names[k + 1 :], args[k + 1 :], strict=True))}
        return outcome(getattr(place, name), *first, *args[:k], **named)

    for k, own in enumerate(names):
        for by in {own, *NAMES}:
            if by != own and by in names:
                continue
            expected = call(reference, k, by)
            if expected != "refused":
                assert call(torch, k, by) == expected, f"{name}({by}=...) for {own}"


PUBLIC = sorted(name for name in FUNCTIONS if not name.startswith("_"))
BOUND = sorted(
    name
    for name in METHODS
    if not name.startswith("_") and any(n in NAMES for n in list(inspect.signature(METHODS[name]).parameters)[1:])
)


@pytest.mark.parametrize("name", PUBLIC)
def test_functions(torch, reference, name):
    if not hasattr(reference, name):
        pytest.skip("PyTorch has no function of this name")
    check(torch, reference, name, False)


@pytest.mark.parametrize("name", BOUND)
def test_methods(torch, reference, name):
    if not hasattr(reference.Tensor, name) or name == "where":
        pytest.skip("PyTorch has no method of this name, or one of another form")
    check(torch, reference, name, True)


SIZES = """
torch.zeros(size=(2, 3)).shape
torch.ones(size=[2]).shape
torch.empty(size=(2, 3), dtype=torch.int64).shape
torch.randn(size=(2, 3)).shape
torch.rand(size=(2,)).shape
torch.ones(2, 3).new_zeros(size=(2,)).shape
torch.ones(2, 3).permute(dims=(1, 0)).shape
torch.ones(1, 3).expand(size=(2, 3)).shape
torch.ones(1, 3).repeat(repeats=(2, 1)).shape
torch.ones(2, 3).split(split_size=1)[0].shape
torch.zeros(2, size=(2, 3))
torch.ones(2, 3).permute(1, 0, dims=(3, 2))
torch.zeros(shape=(2,))
torch.movedim(torch.ones(2, 3, 4), (0, 1), (1, 2)).shape
torch.movedim(torch.ones(2, 3, 4), [0, -1], [2, 0]).shape
torch.movedim(torch.ones(2, 3, 4), source=1, destination=-1).shape
torch.ones(2, 3, 4).movedim((0, 2), (2, 0)).shape
torch.ones(2, 3, 4).moveaxis(0, 1).shape
torch.movedim(torch.ones(2, 3, 4), (), ()).shape
torch.movedim(torch.ones(2, 3, 4), [0, 1], [2])
torch.movedim(torch.ones(2, 3, 4), [0, 0], [2, 1])
torch.movedim(torch.ones(2, 3, 4), [0, 1], [1, 1])
torch.movedim(torch.ones(2, 3, 4), 0, (1,))
torch.movedim(torch.ones(2, 3, 4), 5, 0)
torch.movedim(torch.ones(()), 0, 0).shape
torch.ones(2, 3)["a"]
torch.ones(2, 3)[None, "a"]
torch.ones(2, 3)[0.5]
torch.ones(2) == "a"
torch.ones(2) != "a"
torch.ones(2) < "a"
"a" >= torch.ones(2)
torch.ones(2).bool() & "a"
torch.logical_and(torch.ones(2), "a")
torch.logical_not("a")
torch.eq(torch.ones(2), "a")
torch.ones(2, 3).gather(1, torch.tensor([[0.0]]))
torch.ones(2, 3).gather(1, torch.tensor([[True]]))
torch.ones(2, 3).gather(1, torch.tensor([[0]], dtype=torch.int32))
torch.ones(2, 3).gather(1, torch.tensor([[0]], dtype=torch.uint8))
torch.ones(2, 3).gather(1, [[0]])
"""


@pytest.mark.parametrize("call", SIZES.split("\n")[1:-1])
def test_sizes_by_name_dimensions_in_lists_and_strings(torch, reference, call):
    here, there = (outcome(lambda m=m: eval(call, {"torch": m})) for m in (torch, reference))
    assert here == there


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_no_tensor_is_a_type_error(torch, reference, name):
    """Wherever it is one in PyTorch."""
    names = calls(name, FUNCTIONS[name], False)
    if not hasattr(reference, name) or name in ("norm", "split"):
        pytest.skip("PyTorch has no function of this name, or an AttributeError of its own")
    for k, parameter in enumerate(names):
        if not hasattr(sample(reference, name, parameter), "detach"):
            continue
        for other in ("a", None, {}):
            here, there = (
                outcome(getattr(m, name), *(other if j == k else sample(m, name, p) for j, p in enumerate(names)))
                for m in (torch, reference)
            )
            if there == "refused":
                assert here == "refused", (parameter, other)


def test_a_name_and_its_spelling_are_one_argument(torch):
    x = torch.ones(2, 3)
    for call in (
        lambda: x.sum(1, axis=1),
        lambda: x.sum(dim=1, axis=1),
        lambda: torch.sum(x, input=x),
        lambda: torch.exp(x, x=x),
        lambda: x.max(1, axis=1),
        lambda: x.max(dim=1, axis=1),
        lambda: torch.softmax(axis=1),
        lambda: x.sum(axes=1),
        lambda: torch.exp(),
        lambda: torch.exp(y=x),
    ):
        with pytest.raises(TypeError):
            call()


def test_spelled_functions_are_functions_to_others(torch):
    """Their names, texts, signatures; they are pickled by name and bind as methods."""
    import copy
    import pickle

    import tapegrad

    assert torch.sum.__name__ == "sum"
    assert next(iter(inspect.signature(torch.sum).parameters)) == "input"
    assert callable(torch.exp)
    for function in (tapegrad.exp, tapegrad.sum, tapegrad.max, tapegrad.matmul, tapegrad.concat, tapegrad.zeros):
        assert pickle.loads(pickle.dumps(function)) is function
    assert torch.exp.__call__(torch.zeros(1)).tolist() == [1.0]
    assert torch.sum.__call__(torch.ones(2, 2), axis=1).tolist() == [2.0, 2.0]
    assert copy.deepcopy(tapegrad.sum) is tapegrad.sum
    x = torch.ones(2, 3)
    method = x.sum
    assert method(axis=0).tolist() == [2.0] * 3
    assert next(map(torch.neg, [x[0]])).tolist() == [-1.0] * 3
    assert torch.Tensor.sum(x, axis=1).tolist() == [3.0, 3.0]


def test_spellings_in_a_compiled_function():
    import tapegrad as torch

    step = torch.compile(lambda x: torch.softmax(x, axis=1).sum(axis=0, keepdims=True).max(axis=1).values)
    x = torch.rand(4, 3)
    eager = torch.softmax(x, 1).sum(0, True).max(1).values.tolist()
    assert [step(x).tolist() for _ in range(4)] == [eager] * 4
    assert step.counters.replayed > 0
