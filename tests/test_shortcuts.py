"""Functions that go to a plan they met before: the same answers and errors the second time, whatever changed."""

from __future__ import annotations

import inspect
import threading

import numpy as np
import pytest

TWICE = range(3)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "amin"])
@pytest.mark.parametrize("dim", [None, 0, 1, -1, (0, 1), [0, 1], (0, 2), (), (2,)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions_again_and_again(torch, name, dim, keepdim):
    random = np.random.default_rng(0)
    if name in ("amax", "amin") and dim is None:
        dim = ()
    axes = None if dim in (None, ()) else tuple(dim) if isinstance(dim, list) else dim
    reference = {"amax": "max", "amin": "min"}.get(name, name)
    if name == "prod" and not isinstance(dim, int | None):
        pytest.skip("prod takes one dimension")
    for _ in TWICE:
        values = random.random((2, 3, 4))
        for strided in (False, True):
            x = torch.from_numpy(values.transpose(1, 0, 2).copy() if strided else values.copy())
            x = x.transpose(0, 1) if strided else x
            x.requires_grad = True
            args = () if dim is None else (dim,)
            if name == "prod" and dim is None:
                args, keepdim = (), False
            y = getattr(x, name)(*args, keepdim=keepdim)
            expected = getattr(np, reference)(values, axis=axes, keepdims=keepdim)
            np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
            y.sum().backward()
            assert x.grad.shape == x.shape


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_with_places_again_and_again(torch, name):
    random = np.random.default_rng(3)
    for _ in TWICE:
        values = random.random((3, 4))
        x = torch.from_numpy(values)
        assert getattr(x, name)().item() == getattr(values, name)()
        for dim in (0, 1):
            found = getattr(x, name)(dim)
            assert found.values.tolist() == getattr(values, name)(dim).tolist()
            assert found.indices.tolist() == getattr(values, "arg" + name)(dim).tolist()
        with pytest.raises(IndexError, match="Dimension out of range"):
            getattr(x, name)(2)
        with pytest.raises(RuntimeError, match="Expected reduction dim to be specified"):
            getattr(torch.ones(0, 2), name)()


def test_a_dimension_in_a_tensor_counts_by_its_value(torch):
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for _ in TWICE:
        assert x.sum(torch.tensor(0)).tolist() == [5.0, 7.0, 9.0]
        assert x.sum(torch.tensor(1)).tolist() == [6.0, 15.0]
        assert torch.softmax(x, torch.tensor(0)).sum(0).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_arguments_that_are_equal_but_not_alike(torch):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for _ in TWICE:
        assert x.sum(0).tolist() == [4.0, 6.0]
        assert x.sum(1).tolist() == [3.0, 7.0]
        assert x.sum(0, True).shape == (1, 2)
        assert x.sum(0, False).shape == (2,)
        assert x.sum(np.int64(1)).tolist() == [3.0, 7.0]
        assert x.sum(dtype=torch.float64).dtype is torch.float64
        assert x.sum().dtype is torch.float32
        assert x.sum(dim=(0,), keepdim=True, dtype=torch.float64).tolist() == [[4.0, 6.0]]
        assert x.double().sum().dtype is torch.float64
        assert x.long().sum().item() == 10
        assert (x > 2.0).sum().item() == 2
        assert x.long().sum().dtype is torch.int64
        assert torch.any(x.to(torch.uint8), 0).dtype is torch.uint8
        assert torch.any(x, 0).dtype is torch.bool


def test_errors_come_every_time(torch):
    x = torch.ones(2, 3)
    x.sum(1)
    for _ in TWICE:
        with pytest.raises(IndexError, match=r"Dimension out of range \(expected to be in range of \[-2, 1\]"):
            x.sum(2)
        with pytest.raises(RuntimeError, match="appears multiple times"):
            x.sum((1, 1))
        with pytest.raises(RuntimeError, match="could not infer output dtype"):
            x.long().mean()
        with pytest.raises(TypeError):
            x.sum("1")
        with pytest.raises(TypeError, match="expected Tensor as element 1 in argument 0, but got int"):
            torch.cat([x, 1])
        with pytest.raises(TypeError, match="must be tuple of Tensors"):
            torch.cat(x)
        with pytest.raises(TypeError, match=r"argument 'input' \(position 1\) must be Tensor, not list"):
            torch.softmax([1.0], 0)
        endless = [x]
        endless.append(endless)
        with pytest.raises(TypeError, match="but got list"):
            torch.cat(endless)
        with pytest.raises(TypeError):
            x.sum(1, False, None, 5)
        with pytest.raises(TypeError):
            x.sum(axis_of_evil=1)


def test_products_and_losses_again_and_again(torch):
    f = torch.nn.functional
    random = np.random.default_rng(1)
    for _ in TWICE:
        a, b = random.random((3, 4)), random.random((4, 2))
        x, y = torch.from_numpy(a), torch.from_numpy(b)
        for product in (x @ y, torch.matmul(x, y), x.mm(y), f.linear(x, torch.from_numpy(b.T.copy()))):
            np.testing.assert_allclose(product.numpy(), a @ b, rtol=1e-12)
        np.testing.assert_allclose((x @ y[:, 0]).numpy(), a @ b[:, 0], rtol=1e-12)
        np.testing.assert_allclose((y.T @ x.T).numpy(), (a @ b).T, rtol=1e-12)
        np.testing.assert_allclose((x @ torch.ones(5, 4, 2).double()).numpy()[3], a @ np.ones((4, 2)))
        assert (x.long() @ y.long()).dtype is torch.int64
        with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            x @ x
        for reduction in ("mean", "sum", "none"):
            expected = (a - a[::-1]) ** 2
            loss = f.mse_loss(x, torch.from_numpy(a[::-1].copy()), reduction=reduction)
            wanted = expected if reduction == "none" else getattr(np, reduction)(expected)
            np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-12)
        with pytest.raises(ValueError, match="is not a valid value for reduction"):
            f.mse_loss(x, x, reduction="average")


@pytest.mark.parametrize("ignored", [-100, 1])
def test_cross_entropy_again_and_again(torch, ignored):
    random = np.random.default_rng(2)
    for _ in TWICE:
        scores, classes = random.random((4, 3)), np.array([0, 1, 2, 1])
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        counted = classes != ignored
        expected = -logs[np.arange(4), classes][counted]
        x, target = torch.from_numpy(scores), torch.from_numpy(classes)
        for reduction, wanted in (("mean", expected.mean()), ("sum", expected.sum())):
            loss = torch.nn.functional.cross_entropy(x, target, ignore_index=ignored, reduction=reduction)
            assert loss.item() == pytest.approx(wanted)
        with pytest.raises(IndexError, match="Target 3 is out of bounds"):
            torch.nn.functional.cross_entropy(x, target + 2, ignore_index=ignored)
        smoothed = torch.nn.functional.cross_entropy(x, target, label_smoothing=0.5)
        assert smoothed.item() != pytest.approx(expected.mean())


def test_joining_again_and_again(torch):
    for k in TWICE:
        a = torch.full((2, 2), float(k), requires_grad=True)
        b = torch.ones(2, 3)
        for tensors in ([a, b], (a, b), [b, a]):
            y = torch.cat(tensors, 1)
            assert y.shape == (2, 5)
            assert y.sum().item() == 4.0 * k + 6.0
            assert torch.cat(tensors, dim=-1).tolist() == y.tolist()
        y.sum().backward()
        assert a.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
        assert torch.cat([a, a, a]).shape == (6, 2)
        assert torch.cat([a, a.double()]).dtype is torch.float64
        assert torch.cat([torch.ones(0), b]).shape == (2, 3)


@pytest.mark.parametrize("count", [20, 42, 43, 60, 300])
def test_joining_long_lists_with_a_strided_tensor(torch, count):
    values = np.random.default_rng(count).random((count, 2, 3))
    xs = [torch.from_numpy(v) for v in values[:-1]] + [torch.from_numpy(values[-1].T.copy()).t()]
    for x in xs:
        x.requires_grad_()
    for _ in TWICE:
        y = torch.cat(xs)
        assert (y.detach().numpy() == np.concatenate(values)).all()
        assert (torch.stack(xs).detach().numpy() == values).all()
        (y * y).sum().backward()
        for x, v in zip(xs, values, strict=True):
            assert (x.grad.numpy() == 2 * v).all()
            x.grad = None


def test_many_layouts(torch):
    """More than are held at hand."""
    for _ in TWICE:
        for n in range(1, 200):
            x = torch.ones(n, 2)
            assert x.sum().item() == 2.0 * n
            assert x.sum(0).tolist() == [float(n)] * 2
            assert torch.cat([x, x]).shape == (2 * n, 2)


def test_they_look_like_the_functions_they_stand_for(torch):
    assert list(inspect.signature(torch.sum).parameters) == ["input", "dim", "keepdim", "dtype"]
    assert list(inspect.signature(torch.cat).parameters) == ["tensors", "dim"]
    assert torch.sum.__name__ == "sum"
    assert "Sum over" in torch.sum.__doc__
    assert torch.concat is torch.cat
    for function in (torch.sum, torch.amax, torch.softmax, torch.matmul, torch.cat):
        own = inspect.signature(function, follow_wrapped=False).parameters.values()
        shown = inspect.signature(function).parameters.values()
        assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in shown]


def test_several_threads(torch):
    failures = []

    def work(k: int) -> None:
        x = torch.full((k + 2, 3), float(k))
        for n in range(300):
            dim = n % 2
            if x.sum(dim).tolist() != [float(k * (k + 2))] * 3 and dim == 0:
                failures.append(k)
            if x.mean(dim, keepdim=True).shape != ((1, 3) if dim == 0 else (k + 2, 1)):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []


@pytest.mark.parametrize("name", ["cat", "stack"])
@pytest.mark.parametrize("count", [1, 2, 100, 1000])
def test_many_inputs_again_and_again(torch, name, count):
    random = np.random.default_rng(count)
    for _ in TWICE:
        for dim in (0, 1, -1):
            arrays = [random.random((2, 3)) for _ in range(count)]
            inputs = [torch.from_numpy(a).requires_grad_() for a in arrays]
            joined = getattr(torch, name)(inputs, dim)
            expected = {"cat": np.concatenate, "stack": np.stack}[name](arrays, dim)
            assert joined.detach().numpy().tolist() == expected.tolist()
            g = random.random(expected.shape)
            joined.backward(torch.from_numpy(g))
            parts = np.split(g, count, dim)
            for x, part in zip(inputs, parts, strict=True):
                assert x.grad.tolist() == part.reshape(2, 3).tolist()


def test_lists_that_differ_in_one_input_are_told_apart(torch):
    """Of neighbours with one layout the key of a plan holds one: how many, and which, still counts."""
    row, other, strided = torch.ones(1, 3), torch.full((2, 3), 2.0), torch.full((3, 1), 3.0).T
    for _ in TWICE:
        for place in (0, 1, 50, 98, 99):
            for one in (other, strided):
                rows = [row] * 100
                rows[place] = one
                for given in (rows, tuple(rows)):
                    expected = np.concatenate([x.numpy() for x in rows])
                    assert torch.cat(given).tolist() == expected.tolist()
                    assert torch.cat(given, dim=0).tolist() == expected.tolist()
        for n in (99, 100, 101):
            assert torch.cat([row] * n).shape == (n, 3)
            assert torch.stack([row] * n, dim=1).shape == (1, n, 3)
        assert torch.cat([row] * 2 + [other] * 2 + [row]).shape == (7, 3)
        assert torch.cat([row] * 2 + [row.double()] * 2).dtype is torch.float64
        for n in range(60, 70):
            mixed = [row, other] * n
            assert torch.cat(mixed).tolist() == np.concatenate([x.numpy() for x in mixed]).tolist()
        with pytest.raises(RuntimeError, match=r"got \[1, 3\] at entry 0 and \[2, 3\] at entry 99"):
            torch.stack([row] * 99 + [other])
        with pytest.raises(TypeError, match="expected Tensor as element 99 in argument 0, but got NoneType"):
            torch.cat([row] * 99 + [None])


@pytest.mark.torch
def test_stacking_can_be_differentiated_twice(torch, reference):
    values = np.random.default_rng(0).random((3, 2, 2))
    found = []
    for t in (torch, reference):
        x, y = (t.tensor(values[i].tolist(), dtype=t.float64, requires_grad=True) for i in (0, 1))
        out = (t.stack([x, y, x * y], 1) ** 3).sum()
        (g,) = t.autograd.grad(out, x, create_graph=True)
        (h,) = t.autograd.grad((g * g).sum(), y)
        found.append(h.tolist())
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_arguments_by_name_are_arguments(torch):
    """Ops called with names find the plans of calls without them, and errors stay errors."""
    from tapegrad.ops.registry import BY_NAME

    x = torch.arange(6.0).reshape(2, 3)
    index = torch.tensor([1, 0])
    select = BY_NAME["index_select"]
    for _ in TWICE:
        assert select(x, index, 0).tolist() == [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]
        assert select(x, index, dim=1).tolist() == [[1.0, 0.0], [4.0, 3.0]]
        assert select(x, dim=0, index=index).tolist() == [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]
        for wrong in ({}, {"dim": 0, "dims": 0}, {"dimension": 0}):
            with pytest.raises(TypeError):
                select(x, index, **wrong)
        with pytest.raises(TypeError):
            select(x, index, 0, dim=0)
