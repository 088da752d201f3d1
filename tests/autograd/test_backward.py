"""backward: accumulation, graphs that are kept and freed, second derivatives, what it refuses.

The numbers and messages were taken from PyTorch 2.13; TAPEGRAD_TEST_MODULE=torch runs this file on it.
"""

from __future__ import annotations

import gc

import pytest

FREED = "backward through the graph a second time"


def leaf(torch, values=(1.0, 2.0, 3.0), dtype=None):
    return torch.tensor(list(values), dtype=dtype, requires_grad=True)


def test_gradients_add_up_in_the_same_object(torch):
    x = leaf(torch)
    (x * 2).sum().backward()
    first, address = x.grad, x.grad.data_ptr()
    (x * 3).sum().backward()
    assert x.grad is first
    assert x.grad.data_ptr() == address
    assert first.tolist() == [5.0, 5.0, 5.0]
    assert not x.grad.requires_grad


def test_a_gradient_put_by_hand_is_added_to(torch):
    x = leaf(torch)
    x.grad = torch.tensor([10.0, 20.0, 30.0])
    mine = x.grad
    (x * 2).sum().backward()
    assert x.grad is mine
    assert mine.tolist() == [12.0, 22.0, 32.0]


def test_a_strided_gradient_put_by_hand_is_added_to(torch):
    x = torch.ones(2, 3, requires_grad=True)
    x.grad = torch.zeros(3, 2).t()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [[2.0] * 3] * 2
    assert x.grad.shape == (2, 3)


def test_one_leaf_used_many_times(torch):
    x = torch.tensor(3.0, requires_grad=True)
    (x * x + x * x * x + x).backward()
    assert x.grad.item() == 2 * 3 + 3 * 9 + 1


def test_the_gradient_of_a_leaf_is_not_the_gradient_passed_in(torch):
    x = leaf(torch)
    g = torch.ones(3)
    x.backward(g)
    g.mul_(7)
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_two_leaves_do_not_share_one_gradient(torch):
    x, y = leaf(torch), leaf(torch)
    (x + y).sum().backward()
    x.grad.mul_(5)
    assert y.grad.tolist() == [1.0, 1.0, 1.0]
    assert x.grad.data_ptr() != y.grad.data_ptr()


def test_gradients_kept_from_before_do_not_change_after_set_to_none(torch):
    x = leaf(torch)
    (x * 2).sum().backward()
    kept = x.grad
    x.grad = None
    (x * 3).sum().backward()
    assert kept.tolist() == [2.0] * 3
    assert x.grad.tolist() == [3.0] * 3


# ---------------------------------------------------------------- freed graphs


def test_a_graph_that_saved_nothing_runs_twice(torch):
    x = leaf(torch)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2.0] * 3


def test_a_graph_that_saved_values_runs_once(torch):
    x = leaf(torch)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=FREED):
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_retain_graph_keeps_what_was_saved(torch):
    x = leaf(torch)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]
    with pytest.raises(RuntimeError, match=FREED):
        y.backward()


def test_a_shared_trunk_is_freed_by_the_first_branch(torch):
    x = leaf(torch)
    trunk = x.exp()
    a, b = (trunk * 2).sum(), (trunk * 3).sum()
    a.backward()
    with pytest.raises(RuntimeError, match=FREED):
        b.backward()


def test_a_shared_trunk_that_saved_nothing_serves_both_branches(torch):
    x = leaf(torch)
    trunk = x + 1
    a, b = (trunk * 2).sum(), (trunk * 3).sum()
    a.backward()
    b.backward()
    assert x.grad.tolist() == [5.0] * 3


def test_a_multiplication_by_a_number_runs_once(torch):
    """PyTorch saves the number."""
    x = leaf(torch)
    y = (x * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=FREED):
        y.backward()


def test_a_failed_backward_leaves_the_next_one_alone(torch):
    x = leaf(torch)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError):
        y.backward()
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_a_leaf_runs_backward_on_itself(torch):
    x = torch.tensor(2.0, requires_grad=True)
    x.backward()
    x.backward()
    assert x.grad.item() == 2.0


def test_the_root_of_a_graph_may_be_dropped_before_backward_ends(torch):
    x = leaf(torch)
    (x * x).sum().exp().log().backward()
    gc.collect()
    assert x.grad.tolist() == pytest.approx([2.0, 4.0, 6.0], rel=1e-5)


# ---------------------------------------------------------------- second derivatives


def test_second_and_third_derivatives(torch):
    x = torch.tensor(2.0, requires_grad=True)
    (first,) = torch.autograd.grad(x**4, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, create_graph=True)
    (third,) = torch.autograd.grad(second, x)
    assert (first.item(), second.item(), third.item()) == (32.0, 48.0, 48.0)
    assert not third.requires_grad


def test_backward_through_a_gradient_penalty(torch):
    x = leaf(torch, [1.0, 2.0])
    w = leaf(torch, [3.0, 4.0])
    y = (w * x * x).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (g * g).sum().backward()
    # g = 2 w x; sum g^2 = 4 w^2 x^2
    assert w.grad.tolist() == [8 * 3 * 1.0, 8 * 4 * 4.0]
    assert x.grad.tolist() == [8 * 9 * 1.0, 8 * 16 * 2.0]


def test_backward_with_create_graph_gives_grads_with_history(torch):
    x = torch.tensor(3.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    g = x.grad
    assert g.requires_grad
    x.grad = None
    g.backward()
    assert x.grad.item() == 18.0


def test_create_graph_keeps_the_graph_unless_told_not_to(torch):
    x = torch.tensor(3.0, requires_grad=True)
    y = x * x
    torch.autograd.grad(y, x, create_graph=True)
    torch.autograd.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match=FREED):
        torch.autograd.grad(y, x)


def test_accumulation_with_create_graph_makes_a_new_gradient(torch):
    x = torch.tensor(3.0, requires_grad=True)
    (x * x).backward()
    before = x.grad
    (x * x).backward(create_graph=True)
    assert x.grad is not before
    assert before.item() == 6.0
    assert x.grad.item() == 12.0


def test_a_derivative_that_does_not_depend_on_the_input_has_no_history(torch):
    x = leaf(torch)
    (g,) = torch.autograd.grad((2 * x).sum(), x, create_graph=True)
    assert not g.requires_grad


def test_create_graph_inside_no_grad(torch):
    x = torch.tensor(3.0, requires_grad=True)
    y = x * x * x
    with torch.no_grad():
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        assert not torch.is_grad_enabled()
    assert g.requires_grad
    assert torch.autograd.grad(g, x)[0].item() == 18.0


# ---------------------------------------------------------------- what it takes and refuses


def test_backward_of_several_tensors(torch):
    x = leaf(torch)
    torch.autograd.backward([(x * 2).sum(), x * x], [None, torch.tensor([1.0, 0.0, 1.0])])
    assert x.grad.tolist() == [4.0, 2.0, 8.0]


def test_backward_of_the_same_tensor_twice_in_one_call(torch):
    x = torch.tensor(3.0, requires_grad=True)
    y = x * x
    torch.autograd.backward([y, y])
    assert x.grad.item() == 12.0


def test_inputs_limits_what_accumulates(torch):
    x, w = leaf(torch), leaf(torch)
    (x * w).sum().backward(inputs=[x])
    assert x.grad.tolist() == [1.0, 2.0, 3.0]
    assert w.grad is None
    (x * w).sum().backward(inputs=x)
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_inputs_accumulate_into_the_same_object(torch):
    x = leaf(torch)
    (x * 2).sum().backward()
    held = x.grad
    (x * 2).sum().backward(inputs=[x])
    assert x.grad is held
    assert held.tolist() == [4.0] * 3


def test_inputs_may_be_a_non_leaf(torch):
    x = leaf(torch)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    assert y.grad.tolist() == [4.0, 8.0, 12.0]
    assert x.grad is None


def test_empty_inputs_are_refused(torch):
    x = leaf(torch)
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (x * 2).sum().backward(inputs=[])


def test_a_non_scalar_needs_a_gradient(torch):
    x = leaf(torch)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * 2).backward()
    assert x.grad is None


def test_a_single_element_of_any_shape_needs_none(torch):
    x = torch.ones(1, 1, requires_grad=True)
    (x * 2).backward()
    assert x.grad.tolist() == [[2.0]]


def test_the_gradient_must_have_the_shape_of_the_tensor(torch):
    x = leaf(torch)
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\] has a shape of torch.Size\(\[2\]\)"):
        (x * 2).backward(torch.ones(2))
    assert x.grad is None


@pytest.mark.parametrize("gradient", ["one", 1, 1.0, object()])
def test_the_gradient_must_be_a_tensor(torch, gradient):
    x = leaf(torch)
    with pytest.raises((TypeError, RuntimeError)):
        (x * 2).backward(gradient)
    assert x.grad is None


def test_what_has_no_history_has_no_backward(torch):
    message = "element 0 of tensors does not require grad and does not have a grad_fn"
    with pytest.raises(RuntimeError, match=message):
        torch.ones(()).backward()
    x = leaf(torch)
    with torch.no_grad():
        y = (x * 2).sum()
    with pytest.raises(RuntimeError, match=message):
        y.backward()


def test_float64_gradients_stay_float64(torch):
    x = leaf(torch, dtype=torch.float64)
    (x * 2.0).sum().backward()
    assert x.grad.dtype is torch.float64


def test_gradients_through_a_change_of_type(torch):
    x = leaf(torch)
    (x.double() * 0.1).sum().backward()
    assert x.grad.dtype is torch.float32
    assert x.grad.tolist() == pytest.approx([0.1] * 3)


def test_integers_take_no_part_in_the_gradient(torch):
    x = leaf(torch)
    k = torch.tensor([1, 2, 3])
    (x * k).sum().backward()
    assert x.grad.tolist() == [1.0, 2.0, 3.0]
    assert k.grad is None
    assert not (x > 1).requires_grad
    assert not x.argmax().requires_grad
    assert not x.long().requires_grad


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "bool"])
def test_integer_tensors_cannot_require_gradients(torch, kind):
    dtype = getattr(torch, kind)
    with pytest.raises(RuntimeError, match=r"[oO]nly Tensors of floating point"):
        torch.ones(2, dtype=dtype, requires_grad=True)
    x = torch.ones(2, dtype=dtype)
    with pytest.raises(RuntimeError, match="only Tensors of floating point"):
        x.requires_grad_()
    with pytest.raises(RuntimeError, match="only Tensors of floating point"):
        x.requires_grad = True
    assert not x.requires_grad


def test_requires_grad_of_results_cannot_be_turned_off(torch):
    x = leaf(torch)
    y = x * 2
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf variables"):
        y.requires_grad = False
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf variables"):
        y.requires_grad_(False)
    assert y.requires_grad
    assert y.requires_grad_() is y


def test_a_leaf_can_stop_requiring_gradients(torch):
    x = leaf(torch)
    (x * 2).sum().backward()
    x.requires_grad_(False)
    assert x.grad.tolist() == [2.0] * 3
    assert not (x * 2).requires_grad
    x.requires_grad_()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0] * 3


# ---------------------------------------------------------------- .grad, retain_grad, detach, .data


def test_the_gradient_that_can_be_assigned(torch):
    x = leaf(torch)
    with pytest.raises(RuntimeError, match="attempting to assign a gradient of size"):
        x.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match="attempting to assign a gradient with dtype"):
        x.grad = torch.ones(3, dtype=torch.float64)
    with pytest.raises(TypeError, match="assigned grad expected to be a Tensor or None"):
        x.grad = 1.0
    with pytest.raises(RuntimeError, match="can't assign Variable as its own grad"):
        x.grad = x
    assert x.grad is None
    del x.grad
    assert x.grad is None
    plain = torch.ones(3)
    plain.grad = torch.ones(3)
    assert plain.grad.tolist() == [1.0] * 3


def test_retain_grad(torch):
    x = leaf(torch)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad
    assert not x.retains_grad
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0, 12.0]
    with pytest.raises(RuntimeError, match="can't retain_grad on Tensor that has requires_grad=False"):
        torch.ones(2).retain_grad()
    x.retain_grad()  # nothing happens to a leaf
    assert x.grad.tolist() == [8.0, 16.0, 24.0]


def test_retained_gradients_add_up(torch):
    x = leaf(torch)
    y = x * 2
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert y.grad.tolist() == [2.0] * 3


def test_detach_shares_memory_and_version(torch):
    x = leaf(torch)
    d = x.detach()
    assert d.data_ptr() == x.data_ptr()
    assert d.is_leaf
    assert not d.requires_grad
    d.mul_(2)
    assert x._version == 1
    assert x.tolist() == [2.0, 4.0, 6.0]


def test_data_shares_memory_but_not_the_version(torch):
    x = leaf(torch)
    x.data.mul_(2)
    assert x.tolist() == [2.0, 4.0, 6.0]
    assert x._version == 0


def test_a_change_through_detach_is_caught_and_one_through_data_is_not(torch):
    x = leaf(torch)
    y = (x * x).sum()
    x.detach().mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    x = leaf(torch)
    y = (x * x).sum()
    x.data.mul_(2)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]


def test_detach_in_place(torch):
    x = leaf(torch)
    y = x * 2
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad
    assert y.grad_fn is None
    assert not (y * 2).requires_grad
    view = (x * 2).view(3, 1)
    with pytest.raises(RuntimeError, match="Can't detach views in-place"):
        view.detach_()
    assert x.detach_().requires_grad is False


def test_assigning_data(torch):
    x = leaf(torch)
    other = torch.tensor([7.0, 8.0, 9.0])
    x.data = other
    assert x.data_ptr() == other.data_ptr()
    assert x.requires_grad
    (x * x).sum().backward()
    assert x.grad.tolist() == [14.0, 16.0, 18.0]


def test_grad_fn_and_leaves(torch):
    x = leaf(torch)
    assert x.grad_fn is None
    assert x.is_leaf
    y = x * 2
    assert not y.is_leaf
    assert y.grad_fn.name() == "MulBackward0"
    assert y.grad_fn.next_functions[0][0].name().endswith("AccumulateGrad")
    assert torch.ones(2).is_leaf


def test_nothing_is_left_behind(torch):
    """A loop of graphs that nobody runs backward leaves no record alive."""
    if not hasattr(torch, "tape_stats"):
        pytest.skip("counts records")
    x = leaf(torch)
    before = torch.tape_stats()["records"]
    for _ in range(10):
        y = (x.exp() * x).view(3, 1).sum()
        y = y + y.detach()
    del y
    assert torch.tape_stats()["records"] <= before + 1


def test_a_chain_of_100_000(torch):
    x = torch.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    del y


# ---------------------------------------------------------------- ties and edges


def grad_at(torch, function, values):
    x = leaf(torch, values)
    function(x).sum().backward()
    return x.grad.tolist()


def test_ties_share_the_gradient_of_a_full_reduction(torch):
    values = [1.0, 3.0, 3.0, 0.0, 0.0]
    assert grad_at(torch, lambda x: x.max(), values) == [0.0, 0.5, 0.5, 0.0, 0.0]
    assert grad_at(torch, lambda x: x.min(), values) == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert grad_at(torch, lambda x: x.amax(0), values) == [0.0, 0.5, 0.5, 0.0, 0.0]
    assert grad_at(torch, lambda x: x.amin(0), values) == [0.0, 0.0, 0.0, 0.5, 0.5]


def test_ties_of_max_along_a_dimension_go_to_one_index(torch):
    assert sorted(grad_at(torch, lambda x: x.max(0).values, [1.0, 3.0, 3.0])) == [0.0, 0.0, 1.0]
    x = leaf(torch, [1.0, 3.0, 3.0])
    values, indices = x.max(0)
    values.backward()
    assert x.grad[indices].item() == 1.0


def test_ties_of_two_tensors(torch):
    for name in ("maximum", "minimum"):
        a, b = leaf(torch, [1.0, 2.0]), leaf(torch, [1.0, 2.0])
        getattr(torch, name)(a, b).sum().backward()
        assert a.grad.tolist() == b.grad.tolist() == [0.5, 0.5]


def test_derivatives_at_the_kinks(torch):
    assert grad_at(torch, torch.relu, [-1.0, 0.0, 1.0]) == [0.0, 0.0, 1.0]
    assert grad_at(torch, torch.abs, [-1.0, 0.0, 1.0]) == [-1.0, 0.0, 1.0]
    assert grad_at(torch, lambda x: x.clamp(min=0), [-1.0, 0.0, 1.0]) == [0.0, 1.0, 1.0]
    assert grad_at(torch, lambda x: x.clamp(max=0), [-1.0, 0.0, 1.0]) == [1.0, 1.0, 0.0]
    assert grad_at(torch, lambda x: x.clamp(-1, 1), [-1.0, 0.0, 1.0, 2.0]) == [1.0, 1.0, 1.0, 0.0]
    assert grad_at(torch, torch.sign, [-1.0, 0.0, 1.0]) == [0.0, 0.0, 0.0]


def test_floor_division_has_no_derivative(torch):
    x = leaf(torch)
    y = (x // 2).sum()
    with pytest.raises(RuntimeError):
        y.backward()
    assert x.grad is None


@pytest.mark.parametrize("name", ["round", "floor", "ceil", "trunc"])
def test_rounding_keeps_requires_grad_with_gradient_zero(torch, name):
    x = leaf(torch, [0.4, 1.6])
    y = getattr(torch, name)(x)
    assert y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_empty_tensors_go_through_backward(torch):
    x = torch.ones(0, 3, requires_grad=True)
    y = (x * 2).sum()
    assert y.item() == 0.0
    y.backward()
    assert x.grad.shape == (0, 3)


def test_nan_of_an_empty_batch(torch):
    F = torch.nn.functional
    for loss in (
        F.mse_loss(torch.ones(0), torch.ones(0)),
        F.l1_loss(torch.ones(0), torch.ones(0)),
        F.cross_entropy(torch.ones(0, 3), torch.ones(0, dtype=torch.int64)),
        torch.ones(0).mean(),
    ):
        assert loss != loss
    x = torch.ones(0, 3, requires_grad=True)
    F.cross_entropy(x, torch.ones(0, dtype=torch.int64)).backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("off", [lambda w: w.requires_grad_(False), lambda w: w.detach_()])
def test_a_leaf_stays_itself_for_graphs_while_it_is_switched_off_and_on(torch, off):
    w = torch.ones(3, requires_grad=True)
    seen = []
    w.register_hook(lambda g: seen.append(g.tolist()))
    loss = (w * torch.tensor([1.0, 2.0, 3.0])).sum()
    off(w)
    loss.backward(retain_graph=True)  # passes the leaf by
    assert w.grad is None
    w.requires_grad_()
    loss.backward(retain_graph=True)
    off(w)
    loss.backward(retain_graph=True)
    w.requires_grad_()
    assert w.grad.tolist() == [1.0, 2.0, 3.0]
    assert torch.autograd.grad(loss, w)[0].tolist() == [1.0, 2.0, 3.0]
    assert seen
