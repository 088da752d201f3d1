"""Tensor as a Python object: numbers, comparison, printing, copies, NumPy on the left, attributes."""

from __future__ import annotations

import copy
import operator
import pickle
import weakref

import numpy as np
import pytest


def test_numbers_out_of_tensors(torch):
    assert float(torch.tensor(1.5)) == 1.5
    assert int(torch.tensor(2.7)) == 2
    assert bool(torch.tensor([0.0])) is False
    assert bool(torch.tensor(float("nan"))) is True
    assert operator.index(torch.tensor(3)) == 3
    assert [10, 20, 30][torch.tensor(1)] == 20
    assert complex(torch.tensor(2.0)) == 2 + 0j
    assert type(torch.tensor(True).item()) is bool
    assert type(torch.tensor(1).item()) is int
    assert torch.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert torch.zeros(2, 0).tolist() == [[], []]


def test_numbers_that_are_not_there(torch):
    with pytest.raises(RuntimeError, match="a Tensor with 2 elements cannot be converted to Scalar"):
        torch.ones(2).item()
    with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
        torch.ones(0).item()
    for convert in (float, int, complex):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            convert(torch.ones(2))
    with pytest.raises(RuntimeError, match="Boolean value of Tensor with more than one value is ambiguous"):
        bool(torch.ones(2))
    with pytest.raises(RuntimeError, match="Boolean value of Tensor with no values is ambiguous"):
        bool(torch.ones(0))
    for bad in (torch.tensor(1.0), torch.tensor([1, 2])):
        with pytest.raises(TypeError, match="only integer tensors of a single element can be converted to an index"):
            operator.index(bad)
    with pytest.raises((ValueError, OverflowError)):
        int(torch.tensor(float("nan")))


def test_length_and_iteration(torch):
    x = torch.arange(6).view(3, 2)
    assert len(x) == 3
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
        len(torch.tensor(1))
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(torch.tensor(1))
    a, _b = torch.tensor([1.0, 2.0], requires_grad=True)
    assert a.requires_grad
    assert 3 in x
    assert 9 not in x


def test_comparison_with_other_objects(torch):
    x = torch.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == "text") is False
    assert (x == object()) is False
    assert (x == 1).tolist() == [True, True]
    for bad in (None, "text", object()):
        with pytest.raises(TypeError):
            _ = x < bad
        with pytest.raises(TypeError):
            x + bad
        with pytest.raises(TypeError):
            bad * x
    with pytest.raises(RuntimeError, match="must match the size of tensor b"):
        _ = torch.ones(2) == torch.ones(3)
    assert hash(x) == hash(x)
    assert len({x, x, torch.ones(2)}) == 2


def test_promotion(torch):
    i, f, d, b = torch.tensor([1]), torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), torch.tensor([True])
    zero = torch.tensor(1.0, dtype=torch.float64)
    assert (i + f).dtype is torch.float32
    assert (f + d).dtype is torch.float64
    assert (f + zero).dtype is torch.float32
    assert (i + zero).dtype is torch.float64
    assert (i + 1.5).dtype is torch.float32
    assert (i + True).dtype is torch.int64
    assert (b + 1).dtype is torch.int64
    assert (b + b).dtype is torch.bool
    assert (i / 2).dtype is torch.float32
    assert (i // 2).dtype is torch.int64
    assert (d * 2).dtype is torch.float64
    assert (torch.tensor([1], dtype=torch.uint8) + torch.tensor([1], dtype=torch.int32)).dtype is torch.int32
    assert (torch.tensor([200], dtype=torch.uint8) + 100).tolist() == [44]
    assert (torch.tensor(1) + torch.tensor([1], dtype=torch.int32)).dtype is torch.int32


def test_numpy_on_the_left(torch):
    t = torch.tensor([1.0, 2.0], requires_grad=True)
    for number in (np.float32(2), np.float64(2), np.int64(2)):
        for op in (operator.mul, operator.add, operator.sub, operator.truediv):
            result = op(number, t)
            assert isinstance(result, torch.Tensor)
            assert result.requires_grad
            assert result.tolist() == op(2.0, t).tolist()
    assert isinstance(np.float32(2) < t.detach(), torch.Tensor)
    assert (t * np.float64(2)).dtype is torch.float32


def test_numpy_out(torch):
    t = torch.ones(3)
    a = t.numpy()
    a[0] = 5
    assert t.tolist() == [5.0, 1.0, 1.0]
    assert np.asarray(t).dtype == np.float32
    assert np.array(torch.arange(3), dtype=np.float64).tolist() == [0.0, 1.0, 2.0]
    g = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        g.numpy()
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        np.asarray(g)
    assert g.detach().numpy().tolist() == [1.0] * 3
    view = torch.arange(6).view(2, 3).t().numpy()
    assert view.shape == (3, 2)
    assert view.flags.f_contiguous


def test_numpy_in(torch):
    a = np.zeros((2, 3), dtype=np.float32)
    t = torch.from_numpy(a)
    t[0, 0] = 7
    assert a[0, 0] == 7
    assert torch.from_numpy(a.T).shape == (3, 2)
    assert torch.from_numpy(a[:, ::2]).tolist() == [[7.0, 0.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="strides"):
        torch.from_numpy(a[::-1])
    for bad in ([1.0], 1.0, None):
        with pytest.raises(TypeError, match=r"expected np\.ndarray"):
            torch.from_numpy(bad)
    for kind in ("U3", "O"):
        with pytest.raises(TypeError):
            torch.from_numpy(np.zeros(2, dtype=kind))
    del a
    assert t[0, 0].item() == 7


def test_memory_outlives_its_first_owner(torch):
    a = torch.ones(3).numpy()
    junk = [torch.zeros(3) for _ in range(10)]
    assert a.tolist() == [1.0] * 3
    assert len(junk) == 10


def test_pickle_and_copy(torch):
    x = torch.arange(6.0).view(2, 3).t().requires_grad_()
    y = pickle.loads(pickle.dumps(x))
    assert y.tolist() == x.tolist()
    assert y.requires_grad
    x.grad = torch.ones(3, 2)
    z = copy.deepcopy(x)
    assert z.tolist() == x.tolist()
    assert z.grad.tolist() == x.grad.tolist()
    assert z.data_ptr() != x.data_ptr()
    pair = copy.deepcopy([x, x])
    assert pair[0] is pair[1]
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(x * 2)


def test_weak_references_and_attributes(torch):
    x = torch.ones(2)
    r = weakref.ref(x)
    assert r() is x
    x.note = "mine"
    assert x.note == "mine"
    del x.note
    with pytest.raises(AttributeError, match="note"):
        x.note
    with pytest.raises(AttributeError):
        x.shape = (3,)
    del x
    assert r() is None


def test_subclasses(torch):
    class Mine(torch.Tensor):
        def twice(self):
            return self * 2

    m = torch.Tensor._make_subclass(Mine, torch.ones(2))
    assert isinstance(m, Mine)
    assert m.twice().tolist() == [2.0, 2.0]
    n = torch.Tensor._make_subclass(Mine, torch.ones(2), True)
    assert n.requires_grad
    n.sum().backward()
    assert n.grad.tolist() == [1.0, 1.0]


def test_format_and_printing(torch):
    assert f"{torch.tensor(1.5):.3f}" == "1.500"
    assert f"{torch.tensor(3)}" == "3"
    assert f"{torch.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError):
        f"{torch.ones(2):.3f}"
    x = torch.tensor([1.0], requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2.], grad_fn=<MulBackward0>)"
    assert repr(x.detach()) == "tensor([1.])"


def test_an_instance_without_a_constructor(torch):
    t = torch.Tensor.__new__(torch.Tensor)
    assert t.shape == (0,)
    assert t.dtype is torch.float32
    assert t.tolist() == []
    assert (t + 1).shape == (0,)
    assert t.sum().item() == 0.0
    assert repr(t) == "tensor([])"


def test_constructor_of_nodes(torch):
    x = torch.ones(2, requires_grad=True) * 2
    node = type(x.grad_fn)
    try:
        made = node()
    except TypeError:
        return
    with pytest.raises((TypeError, RuntimeError)):
        made.name()


# ---------------------------------------------------------------- errors


ERRORS = [
    (RuntimeError, lambda t: t.ones(2, 3) + t.ones(4, 3)),
    (RuntimeError, lambda t: t.ones(2, 3) @ t.ones(4, 3)),
    (RuntimeError, lambda t: t.ones(2).matmul(t.ones(3))),
    (RuntimeError, lambda t: t.ones(2, 3).view(4)),
    (RuntimeError, lambda t: t.ones(2, 3).view(-1, -1)),
    (RuntimeError, lambda t: t.ones(2, 3).t().view(6)),
    (RuntimeError, lambda t: t.ones(2, 3).expand(3, 3)),
    (RuntimeError, lambda t: t.empty(-1)),
    (RuntimeError, lambda t: t.zeros(2**62, 2**62)),
    (RuntimeError, lambda t: t.zeros(2**45)),
    (RuntimeError, lambda t: t.ones(1).expand(2**40, 2**40)),
    (IndexError, lambda t: t.ones(2).sum(5)),
    (IndexError, lambda t: t.ones(2)[5]),
    (IndexError, lambda t: t.ones(2)[0, 0]),
    (IndexError, lambda t: t.ones(3)[t.tensor([0, 7])]),
    (IndexError, lambda t: t.ones(3)[t.tensor([0.5])]),
    (IndexError, lambda t: t.tensor(1.0)[0]),
    (IndexError, lambda t: t.ones(3)[t.tensor([True, False])]),
    (TypeError, lambda t: t.ones("2")),
    (TypeError, lambda t: t.exp([1.0])),
    (TypeError, lambda t: t.cat(t.ones(2))),
    (RuntimeError, lambda t: t.cat([t.ones(2, 3), t.ones(3, 2)])),
    ((RuntimeError, ValueError), lambda t: t.cat([])),
    ((RuntimeError, TypeError), lambda t: t.stack([])),
    (TypeError, lambda t: t.cat([1, 2])),
    (RuntimeError, lambda t: t.stack([t.ones(2), t.ones(3)])),
    (RuntimeError, lambda t: t.ones(2, dtype=t.int64).mean()),
    (RuntimeError, lambda t: t.ones(2) & t.ones(2)),
    (RuntimeError, lambda t: t.tensor([1]) // 0),
    (RuntimeError, lambda t: t.tensor([1]) % 0),
    (RuntimeError, lambda t: t.tensor([2]) ** -1),
    (RuntimeError, lambda t: t.zeros(0).max()),
    (RuntimeError, lambda t: t.randint(5, 5, (2,))),
    (RuntimeError, lambda t: t.bernoulli(t.tensor([1.5]))),
    (RuntimeError, lambda t: t.randperm(-1)),
    ((RuntimeError, ValueError), lambda t: t.ones(2).normal_(0, -1)),
    (RuntimeError, lambda t: t.ones(2).uniform_(2, 1)),
    (RuntimeError, lambda t: t.arange(0, 10, -1)),
    (RuntimeError, lambda t: t.arange(0, 1, 0)),
    ((RuntimeError, ValueError), lambda t: t.tensor([[1, 2], [3]])),
    ((RuntimeError, TypeError), lambda t: t.tensor("x")),
    ((RuntimeError, TypeError), lambda t: t.tensor(None)),
    (ValueError, lambda t: t.tensor(2**70)),
    (IndexError, lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0, 3]))),
    (IndexError, lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0, -1]))),
    (IndexError, lambda t: t.nn.functional.nll_loss(t.ones(2, 3), t.tensor([0, 9]))),
    ((RuntimeError, ValueError), lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0]))),
    ((RuntimeError, ValueError), lambda t: t.nn.functional.mse_loss(t.ones(2), t.ones(2), reduction="no")),
    (RuntimeError, lambda t: t.nn.functional.linear(t.ones(2, 3), t.ones(4, 5))),
    ((RuntimeError, TypeError), lambda t: t.nn.functional.linear(t.ones(2, 3), None)),
    ((RuntimeError, TypeError), lambda t: t.relu(None)),
    ((RuntimeError, ValueError), lambda t: t.nn.functional.dropout(t.ones(2), 1.5)),
    (RuntimeError, lambda t: t.ones(2, 3).unflatten(0, (3, 3))),
    (RuntimeError, lambda t: t.ones(4).split(-1)),
    (RuntimeError, lambda t: t.ones(2, 2, 2).t()),
    (RuntimeError, lambda t: t.ones(2, 3).permute(0, 0)),
    (RuntimeError, lambda t: t.ones(3).gather(0, t.tensor([5]))),
    (RuntimeError, lambda t: t.zeros(3).scatter_add(0, t.tensor([5]), t.ones(1))),
    (IndexError, lambda t: t.ones(3).index_select(0, t.tensor([5]))),
]


@pytest.mark.parametrize("k", range(len(ERRORS)))
def test_errors_have_pytorchs_type_and_a_text(torch, k):
    kind, call = ERRORS[k]
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    with pytest.raises(kind) as caught:
        call(torch)
    assert len(str(caught.value)) > 8 or "Zero" in str(caught.value)
    assert torch.rand(3).tolist() == expected


def test_more_than_eight_dimensions(torch):
    """PyTorch has no such limit: ours says so."""
    if torch.__name__ == "torch":
        pytest.skip("a limit of tapegrad")
    x = torch.ones((1,) * 8)
    for call in (
        lambda: torch.ones((1,) * 9),
        lambda: x.unsqueeze(0),
        lambda: x.expand(2, *x.shape),
        lambda: x.view(1, *x.shape),
        lambda: x[None],
        lambda: torch.stack([x, x]),
        lambda: torch.from_numpy(np.ones((1,) * 9)),
        lambda: torch.tensor(np.ones((1,) * 9)),
        lambda: torch.ones(3)[(None,) * 8],
    ):
        with pytest.raises(RuntimeError, match=r"(at most|up to) (8|eight) dimensions"):
            call()


@pytest.mark.parametrize(
    "name", ["item", "numpy", "size", "detach", "tolist", "requires_grad_", "retain_grad", "numel"]
)
def test_methods_of_the_class_check_their_self(torch, name):
    for bad in (5, [], None, "x"):
        with pytest.raises(TypeError):
            getattr(torch.Tensor, name)(bad)
