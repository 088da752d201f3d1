"""autograd.grad, gradcheck, gradgradcheck, Variable."""

from __future__ import annotations

import pytest


def leaf(torch, values=(1.0, 2.0, 3.0), dtype=None):
    return torch.tensor(list(values), dtype=dtype, requires_grad=True)


def test_it_touches_no_grad(torch):
    x, w = leaf(torch), leaf(torch)
    gx, gw = torch.autograd.grad((x * w).sum(), [x, w])
    assert gx.tolist() == gw.tolist() == [1.0, 2.0, 3.0]
    assert x.grad is None
    assert w.grad is None


def test_the_result_is_a_tuple_even_for_one_input(torch):
    x = leaf(torch)
    result = torch.autograd.grad(x.sum(), x)
    assert isinstance(result, tuple)
    assert len(result) == 1


def test_unused_inputs(torch):
    x, other = leaf(torch), leaf(torch)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad(x.sum(), [x, other])
    gx, g = torch.autograd.grad(x.sum(), [x, other], allow_unused=True)
    assert gx.tolist() == [1.0] * 3
    assert g is None
    _, g = torch.autograd.grad(x.sum(), [x, other], materialize_grads=True)
    assert g.tolist() == [0.0] * 3
    with pytest.raises(ValueError, match="allow_unused"):
        torch.autograd.grad(x.sum(), [other], allow_unused=False, materialize_grads=True)


def test_several_outputs_add_up(torch):
    x = leaf(torch)
    (g,) = torch.autograd.grad([x.sum(), (x * x).sum()], x)
    assert g.tolist() == [3.0, 5.0, 7.0]


def test_duplicate_inputs_get_the_same_numbers(torch):
    x = leaf(torch)
    a, b = torch.autograd.grad((x * x).sum(), [x, x])
    assert a.tolist() == b.tolist() == [2.0, 4.0, 6.0]


def test_with_respect_to_a_value_inside_the_graph(torch):
    x = leaf(torch)
    y = x * x
    z = (y * 3).sum()
    (gy,) = torch.autograd.grad(z, y, retain_graph=True)
    assert gy.tolist() == [3.0] * 3
    gx, gy = torch.autograd.grad(z, [x, y])
    assert gx.tolist() == [6.0, 12.0, 18.0]
    assert gy.tolist() == [3.0] * 3


def test_with_respect_to_the_output_itself(torch):
    x = torch.tensor(2.0, requires_grad=True)
    y = x * x
    assert torch.autograd.grad(y, y)[0].item() == 1.0
    assert torch.autograd.grad(x, x)[0].item() == 1.0


def test_grad_outputs(torch):
    x = leaf(torch)
    v = torch.tensor([1.0, 0.0, -1.0])
    assert torch.autograd.grad(x * x, x, v)[0].tolist() == [2.0, 0.0, -6.0]
    assert torch.autograd.grad([x * x, x.sum()], x, [v, None])[0].tolist() == [3.0, 1.0, -5.0]
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        torch.autograd.grad(x * x, x, torch.ones(2))
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        torch.autograd.grad(x * x, x)


def test_inputs_that_need_no_gradient_are_refused(torch):
    x, plain = leaf(torch), torch.ones(3)
    with pytest.raises(RuntimeError, match="One of the differentiated Tensors does not require grad"):
        torch.autograd.grad((x * plain).sum(), plain)
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        torch.autograd.grad(plain.sum(), x)


def test_objects_that_are_not_tensors(torch):
    x = leaf(torch)
    for bad in (1, "x", None, [None], [1.0]):
        with pytest.raises((TypeError, RuntimeError, AttributeError)):
            torch.autograd.grad(x.sum(), bad)
    for bad in (1, "x", [1.0]):
        with pytest.raises((TypeError, RuntimeError, AssertionError)):
            torch.autograd.grad(bad, x)
    assert torch.autograd.grad(x.sum(), x)[0].tolist() == [1.0] * 3


def test_hooks_run_and_leaf_accumulation_does_not(torch):
    x = leaf(torch)
    seen = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_post_accumulate_grad_hook(lambda p: seen.append("accumulated"))
    torch.autograd.grad((x * 2).sum(), x)
    assert seen == [[2.0] * 3]


def test_it_visits_no_more_than_it_needs(torch):
    """What lies behind the input is not run: its saved values are still there."""
    x = leaf(torch)
    y = x.exp()
    z = (y * y).sum()
    torch.autograd.grad(z, y)
    y.sum().backward()
    assert x.grad is not None


def test_no_grad_does_not_stop_a_recorded_graph(torch):
    x = leaf(torch)
    y = (x * x).sum()
    with torch.no_grad():
        (g,) = torch.autograd.grad(y, x)
    assert g.tolist() == [2.0, 4.0, 6.0]


# ---------------------------------------------------------------- gradcheck


def test_gradcheck_accepts_what_is_right(torch):
    x = leaf(torch, [0.3, -0.7, 1.9], torch.float64)
    w = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.4, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: torch.tanh(b @ a), (x, w))
    assert torch.autograd.gradgradcheck(lambda a, b: torch.tanh(b @ a), (x, w))


def test_gradcheck_catches_a_wrong_derivative(torch):
    x = leaf(torch, [0.3, -0.7, 1.9], torch.float64)

    def wrong(a):
        return a.detach() * a  # half of the derivative of a * a

    assert torch.autograd.gradcheck(wrong, (x,), raise_exception=False) is False
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(wrong, (x,))


def test_gradgradcheck_catches_a_wrong_second_derivative(torch):
    x = leaf(torch, [0.3, -0.7, 1.9], torch.float64)

    def wrong(a):
        # The value and the first derivative are those of a ** 2, the second derivative is 0.
        return a.detach() * a * 2 - a.detach() ** 2

    assert torch.autograd.gradcheck(lambda a: a * a, (x,))
    with pytest.raises(RuntimeError):
        torch.autograd.gradgradcheck(wrong, (x,))


def test_gradcheck_leaves_its_input_as_it_was(torch):
    x = leaf(torch, [0.3, -0.7, 1.9], torch.float64)
    torch.autograd.gradcheck(torch.sin, (x,))
    assert x.tolist() == [0.3, -0.7, 1.9]
    assert x.grad is None


def test_gradcheck_wants_an_input_that_requires_grad(torch):
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        torch.autograd.gradcheck(torch.sin, (torch.ones(2, dtype=torch.float64),))


# ---------------------------------------------------------------- Variable


def test_variable(torch):
    w = torch.autograd.Variable(torch.ones(2), requires_grad=True)
    assert isinstance(w, torch.Tensor)
    assert isinstance(torch.ones(1), torch.autograd.Variable)
    (w * 3).sum().backward()
    assert w.grad.data.tolist() == [3.0, 3.0]
    assert w.data.tolist() == [1.0, 1.0]
    assert not torch.autograd.Variable(torch.ones(2)).requires_grad
    with pytest.raises(TypeError):
        torch.autograd.Variable([1.0])


def test_variable_shares_memory(torch):
    t = torch.ones(2)
    v = torch.autograd.Variable(t)
    v[0] = 5.0
    assert t.tolist() == [5.0, 1.0]


def test_only_what_leads_to_the_inputs_is_run(torch):
    """The other branch keeps what it saved, and its hooks are not called."""
    x, w = leaf(torch), leaf(torch)
    seen = []
    side = w.exp()
    side.register_hook(lambda g: seen.append("side"))
    z = (x * x).sum() + side.sum()
    torch.autograd.grad(z, x)
    assert seen == []
    side.sum().backward()
    assert seen == ["side"]
    assert w.grad is not None


def test_many_inputs_at_many_depths(torch):
    x = torch.tensor(1.5, requires_grad=True)
    values = [x]
    for k in range(40):
        values.append(values[-1] * 1.01 + (values[-3] if k > 2 else 0.0))
    found = torch.autograd.grad(values[-1], values[::-1], retain_graph=True)
    one_by_one = [torch.autograd.grad(values[-1], v, retain_graph=True)[0] for v in values[::-1]]
    assert [g.item() for g in found] == [g.item() for g in one_by_one]
    assert found[0].item() == 1.0
