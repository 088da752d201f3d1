"""What keeps a record and what keeps saved values: two counts, no garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

SIZE = 1000
BYTES = 4096  # the class of 1000 float32


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def count(torch: Any) -> Any:
    start = torch.tape_stats()["records"], torch.memory_stats()["live_bytes"]

    def since() -> tuple[int, int]:
        """Records and whole blocks of element data since the start of the test."""
        records = torch.tape_stats()["records"] - start[0]
        return records, (torch.memory_stats()["live_bytes"] - start[1]) // BYTES

    return since


def test_add_saves_nothing(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = x + 1.0
    y = y + 1.0
    assert count() == (3, 2)  # the leaf and two adds; x and the last result
    del y
    assert count() == (1, 1)


def test_exp_saves_its_own_result_which_does_not_keep_the_record(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = x.exp()
    assert count() == (2, 2)
    del y
    assert count() == (1, 1)


def test_mul_saves_its_inputs(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    a = x + 1.0
    y = a * a
    del a
    assert count() == (3, 3)
    y.backward(torch.ones(SIZE))
    x.grad = None
    assert count() == (3, 2)  # the saved value is gone, the records are not
    del y
    assert count() == (1, 1)


def test_backward_frees_values_and_the_result_frees_records(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = (x * 2.0).exp().tanh().sum()
    held = count()
    y.backward(retain_graph=True)
    x.grad = None
    assert count() == held
    y.backward()
    x.grad = None
    assert count()[0] == held[0]
    assert count()[1] == 1
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    del y
    assert count()[0] == 1


def test_a_graph_without_saved_values_runs_twice(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = (x + 1.0).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2.0] * SIZE


def test_a_shared_trunk_lives_as_long_as_a_branch(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    trunk = x.exp()
    a, b = trunk * 2.0, trunk * 3.0
    del trunk
    records = count()[0]
    del a
    assert count()[0] == records - 1
    b.sum().backward()
    del b
    assert count()[0] == 1


def test_an_input_that_needs_no_gradient_is_let_go(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = x + torch.ones(SIZE)
    assert count()[1] == 2
    y = x * torch.ones(SIZE)
    assert count()[1] == 3  # the factor is needed for the gradient of x
    del y


def test_detach_and_item_do_not_hold_the_graph(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = x.exp()
    z = y.detach()
    del y
    assert count() == (1, 2)
    del z
    assert count() == (1, 1)
    assert isinstance(x.sum().item(), float)
    assert count()[0] == 1


def test_a_view_shares_the_memory_and_keeps_it(torch, count):
    x = torch.ones(SIZE)
    view = x[10:20]
    assert count() == (0, 1)
    del x
    assert count() == (0, 1)
    del view
    assert count() == (0, 0)


def test_a_numpy_array_keeps_the_memory(torch, count):
    array = torch.ones(SIZE).numpy()
    assert count()[1] == 1
    assert array.sum() == SIZE
    del array
    assert count()[1] == 0


def test_a_tensor_keeps_the_numpy_array(torch):
    import weakref

    import numpy as np

    class Array(np.ndarray):
        pass

    array = np.zeros(10, np.float32).view(Array)
    gone = weakref.ref(array)
    t = torch.from_numpy(array)
    u = t.detach()
    del array, t
    assert gone() is not None
    assert u.sum().item() == 0.0
    del u
    assert gone() is None


def test_the_leaf_record_dies_with_its_tensor(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    y = x.exp()
    del x
    assert count()[0] == 2
    del y
    assert count() == (0, 0)


def test_a_gradient_dies_with_its_leaf(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    x.exp().sum().backward()
    assert count()[1] == 2
    del x
    assert count() == (0, 0)


def test_nodes_keep_the_graph(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    node = (x * 2.0).exp().grad_fn
    assert count()[0] == 3
    assert node.next_functions[0][0].name().startswith("Mul")
    del node
    assert count()[0] == 1


def test_gradients_of_create_graph_hold_their_graph_until_dropped(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    (g,) = torch.autograd.grad((x * x * x).sum(), x, create_graph=True)
    assert g.requires_grad
    g.sum().backward()
    assert x.grad.tolist() == [6.0] * SIZE
    x.grad = None
    del g
    assert count() == (1, 1)


def test_a_backward_that_fails_lets_go_of_its_gradients(torch, count):
    x = torch.ones(SIZE, requires_grad=True)
    a = x * 2.0
    y = a.exp()
    z = (y * y).sum()
    held = count()
    with torch.no_grad():
        y.add_(1.0)  # saved by the product
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()
    assert count() == held
    assert x.grad is None
    del a, y, z
    assert count() == (1, 1)


def test_places_of_dead_records_are_reused(torch):
    x = torch.ones(2, requires_grad=True)
    (x + 1.0).sum()
    before = torch.tape_stats()
    for _ in range(20_000):
        (x + 1.0).sum()
    assert torch.tape_stats() == before


def test_holes_are_reused(torch):
    x = torch.ones(2, requires_grad=True)
    kept = [x + float(k) for k in range(9000)]
    bytes_held = torch.tape_stats()["segment_bytes"]
    del kept[::2]
    kept += [x * float(k) for k in range(4500)]
    assert torch.tape_stats()["segment_bytes"] == bytes_held
    for k in (1, 4000, 4499, 4501, 8999):
        (g,) = torch.autograd.grad(kept[k].sum(), x)
        assert g.tolist() == ([1.0] * 2 if k < 4500 else [float(k - 4500)] * 2)
