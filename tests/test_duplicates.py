"""`copy.copy`, `copy.deepcopy` and `pickle` of tensors: memory that is shared, history, attributes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


def test_the_copy_of_a_result_is_a_leaf_over_the_same_memory(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    shallow = copy.copy(y)
    assert (shallow.is_leaf, shallow.requires_grad, shallow.data_ptr() == y.data_ptr()) == (True, True, True)
    shallow.sum().backward()
    assert (shallow.grad.tolist(), x.grad) == ([1.0, 1.0], None)
    stored = through_pickle(y)
    assert (stored.is_leaf, stored.requires_grad, stored.tolist()) == (True, True, [2.0, 4.0])
    with pytest.raises(RuntimeError, match="support the deepcopy protocol"):
        copy.deepcopy(y)


def test_a_shallow_copy_of_a_leaf_shares_its_memory(torch):
    p = torch.nn.Parameter(torch.ones(2))
    p.sum().backward()
    p.note = "n"
    other = copy.copy(p)
    assert (type(other), other.data_ptr() == p.data_ptr()) == (type(p), True)
    assert (other.requires_grad, other.grad, other.note) == (True, None, "n")


VIEWS = {
    "slice": lambda b: b[2:4],
    "steps": lambda b: b[::2],
    "shape": lambda b: b.view(2, 3),
    "transposed": lambda b: b.view(2, 3).t(),
    "expanded": lambda b: b[1:2].expand(3),
    "detached": lambda b: b.detach(),
    "data": lambda b: b.data,
    "itself": lambda b: b,
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("view_first", [False, True])
def test_views_of_one_memory_stay_views_of_one_memory(torch, name, view_first):
    base = torch.arange(6.0)
    view = VIEWS[name](base)
    names = ("view", "base") if view_first else ("base", "view")
    made = copy.deepcopy({k: {"base": base, "view": view}[k] for k in names})
    assert (made["view"].stride(), made["view"].storage_offset()) == (view.stride(), view.storage_offset())
    assert made["view"].tolist() == view.tolist()
    made["base"].copy_(torch.arange(6.0) + 10)
    assert made["view"].tolist() == (view + 10).tolist()
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert made["view"].is_leaf


def test_arrays_that_share_memory_by_themselves(torch):
    a = np.arange(4.0)
    made = copy.deepcopy([torch.from_numpy(a), torch.from_numpy(a[:2])])
    made[0].fill_(7)
    assert made[1].tolist() == [0.0, 1.0]


def test_buffers_and_tied_weights_of_a_module(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model.register_buffer("table", torch.arange(4.0))
    model.register_buffer("head", model.table[:2])
    made = copy.deepcopy(model)
    made.table.fill_(3)
    assert made.head.tolist() == [3.0, 3.0]
    assert model.head.tolist() == [0.0, 1.0]
    assert made[0].weight is made[1].weight
    assert made[0].weight is not model[0].weight


def test_a_gradient_is_copied_once(torch):
    x = torch.ones(2, requires_grad=True)
    (x * x).sum().backward()
    made = copy.deepcopy([x, x.grad])
    assert made[0].grad is made[1]
    assert made[1] is not x.grad


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, through_pickle])
def test_attributes_of_users_are_kept(torch, again):
    t = torch.ones(2)
    t.note = [1]
    made = again(t)
    assert (made.note, made.tolist()) == ([1], [1.0, 1.0])
    assert (made.note is t.note) == (again is copy.copy)


def test_parameters_keep_attributes_in_files_only(torch):
    """As in PyTorch: a deep copy of a parameter is a new parameter."""
    p = torch.nn.Parameter(torch.ones(2))
    p.note = 3
    assert through_pickle(p).note == 3
    assert not hasattr(copy.deepcopy(p), "note")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_subclasses_stay_subclasses(torch, again):
    kind = type("Kind", (torch.Tensor,), {})
    t = torch.Tensor._make_subclass(kind, torch.ones(2), True)
    t.note = 3
    made = again(t)
    assert (type(made), made.requires_grad, made.note, made.tolist()) == (kind, True, 3, [1.0, 1.0])


def test_temporaries_do_not_get_each_others_memory(torch):
    """Their memory may come to lie where that of another one lay."""
    memo = {}
    made = [torch.full((1000,), float(k)).__deepcopy__(memo) for k in range(5)]
    assert [t[0].item() for t in made] == [0.0, 1.0, 2.0, 3.0, 4.0]
