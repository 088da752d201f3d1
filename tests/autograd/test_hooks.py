"""Hooks: what they see, when, what they may change, and what an exception in one leaves behind."""

from __future__ import annotations

import gc

import pytest


def leaf(torch, values=(1.0, 2.0, 3.0)):
    return torch.tensor(list(values), requires_grad=True)


def test_a_leaf_hook_sees_the_sum_once_per_backward(torch):
    x = leaf(torch)
    seen = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    (x * 2 + x * 3 + x * x).sum().backward()
    assert seen == [[7.0, 9.0, 11.0]]
    (x * 5).sum().backward()
    assert seen[1:] == [[5.0] * 3]
    assert x.grad.tolist() == [12.0, 14.0, 16.0]


def test_a_leaf_used_at_many_depths_is_seen_once(torch):
    x = torch.tensor(1.0, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    y = x
    for _ in range(10):
        y = y + x
    y.backward()
    assert seen == [11.0]


def test_a_hook_replaces_the_gradient(torch):
    x = leaf(torch)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert x.grad.tolist() == [20.0] * 3
    x.register_hook(lambda g: -g)
    (x * 1.0).sum().backward()
    assert x.grad.tolist() == [19.0] * 3


def test_hooks_run_in_the_order_of_registration(torch):
    x = leaf(torch)
    order = []

    def hook(name, factor):
        def call(g):
            order.append((name, g[0].item()))
            return g * factor

        return call

    x.register_hook(hook("a", 2))
    x.register_hook(hook("b", 3))
    x.sum().backward()
    assert order == [("a", 1.0), ("b", 2.0)]
    assert x.grad.tolist() == [6.0] * 3


def test_a_hook_may_change_the_gradient_in_place(torch):
    x = leaf(torch)
    y = x * 1.0
    y.register_hook(lambda g: g.clone().mul_(3))
    y.sum().backward()
    assert x.grad.tolist() == [3.0] * 3


def test_a_removed_hook_is_not_called(torch):
    x = leaf(torch)
    seen = []
    handle = x.register_hook(lambda g: seen.append(1))
    handle.remove()
    handle.remove()
    x.sum().backward()
    assert seen == []
    with x.register_hook(lambda g: seen.append(2)):
        x.sum().backward()
    x.sum().backward()
    assert seen == [2]


def test_a_hook_that_removes_itself(torch):
    x = leaf(torch)
    seen = []
    handles = []

    def once(g):
        seen.append(1)
        handles[0].remove()

    handles.append(x.register_hook(once))
    x.sum().backward()
    x.sum().backward()
    assert seen == [1]


def test_hooks_outlive_their_tensor(torch):
    x = leaf(torch)
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    z = (y + 1).sum()
    del y
    gc.collect()
    z.backward()
    assert seen == [[1.0] * 3]


def test_hooks_need_a_gradient(torch):
    with pytest.raises(RuntimeError, match="cannot register a hook on a tensor that doesn't require gradient"):
        torch.ones(2).register_hook(print)
    x = leaf(torch)
    with pytest.raises(RuntimeError, match="non-leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)


def test_what_a_hook_may_return(torch):
    for bad in (1.0, "g", [1.0]):
        x = leaf(torch)
        x.register_hook(lambda g, bad=bad: bad)
        with pytest.raises((TypeError, RuntimeError)):
            x.sum().backward()
        assert x.grad is None
    x = leaf(torch)
    x.register_hook(lambda g: torch.ones(2))
    with pytest.raises(RuntimeError):
        x.sum().backward()
    assert x.grad is None


def test_hooks_compute_outside_of_the_history(torch):
    x = leaf(torch)
    modes = []

    def hook(g):
        modes.append(torch.is_grad_enabled())
        return g * x

    x.register_hook(hook)
    x.sum().backward()
    assert modes == [False]
    assert not x.grad.requires_grad
    assert torch.is_grad_enabled()


def test_hooks_take_part_in_the_history_with_create_graph(torch):
    x = torch.tensor(3.0, requires_grad=True)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert g.item() == 18.0  # 2 x * x
    assert torch.autograd.grad(g, x)[0].item() == 12.0


# ---------------------------------------------------------------- after accumulation


def test_post_accumulate_hooks_see_the_accumulated_gradient(torch):
    x = leaf(torch)
    seen = []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append((p is x, p.grad.tolist())))
    x.sum().backward()
    x.sum().backward()
    assert seen == [(True, [1.0] * 3), (True, [2.0] * 3)]
    handle.remove()
    x.sum().backward()
    assert len(seen) == 2


def test_a_step_in_a_post_accumulate_hook(torch):
    """The optimizer in backward."""
    x = leaf(torch)

    def step(p):
        p.sub_(p.grad * 0.5)
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    assert x.tolist() == [-1.0, 0.0, 1.0]
    assert x.grad is None


# ---------------------------------------------------------------- exceptions, nesting


def test_an_exception_in_a_hook_leaves_the_state_clean(torch):
    first, second = leaf(torch), leaf(torch)
    y = first * 2

    def fail(g):
        raise ValueError("no")

    handle = y.register_hook(fail)
    z = y.sum() + (second * 3).sum()
    with pytest.raises(ValueError, match="no"):
        z.backward()
    assert first.grad is None
    assert torch.is_grad_enabled()
    handle.remove()
    first.grad = second.grad = None
    ((first * 2).sum() + (second * 3).sum()).backward()
    assert first.grad.tolist() == [2.0] * 3
    assert second.grad.tolist() == [3.0] * 3


def test_gradients_delivered_before_an_exception_stay(torch):
    early, late = leaf(torch), leaf(torch)

    def fail(g):
        raise ValueError("no")

    y = late.exp()
    y.register_hook(fail)
    z = (y.sum() + early.sum() * 0) + early.sum()
    with pytest.raises(ValueError, match="no"):
        z.backward()
    assert late.grad is None
    assert early.grad is None or early.grad.tolist() in ([1.0] * 3, [0.0] * 3)


def test_an_exception_in_a_leaf_hook_stops_its_accumulation(torch):
    x = leaf(torch)

    def fail(g):
        raise KeyError("no")

    handle = x.register_hook(fail)
    with pytest.raises(KeyError):
        x.sum().backward()
    assert x.grad is None
    handle.remove()
    x.sum().backward()
    assert x.grad.tolist() == [1.0] * 3


def test_an_exception_in_a_post_accumulate_hook_keeps_the_gradient(torch):
    x = leaf(torch)

    def fail(p):
        raise KeyError("no")

    x.register_post_accumulate_grad_hook(fail)
    with pytest.raises(KeyError):
        x.sum().backward()
    assert x.grad.tolist() == [1.0] * 3


def test_backward_inside_a_hook(torch):
    x, w = leaf(torch), leaf(torch)

    def inner(g):
        with torch.enable_grad():
            (w * w).sum().backward()

    y = x * 2
    y.register_hook(inner)
    y.sum().backward()
    assert x.grad.tolist() == [2.0] * 3
    assert w.grad.tolist() == [2.0, 4.0, 6.0]


def test_backward_to_the_same_leaf_inside_a_hook(torch):
    x = leaf(torch)

    def inner(g):
        with torch.enable_grad():
            (x * 10).sum().backward()

    y = x * 2
    y.register_hook(inner)
    y.sum().backward()
    assert x.grad.tolist() == [12.0] * 3


def test_grad_inside_a_hook(torch):
    x = leaf(torch)
    found = []

    def inner(g):
        with torch.enable_grad():
            found.append(torch.autograd.grad((x * x).sum(), x)[0].tolist())

    y = x * 1
    y.register_hook(inner)
    y.sum().backward()
    assert found == [[2.0, 4.0, 6.0]]


def test_a_hook_that_drops_everything(torch):
    """Nothing that the sweep still needs goes away with the last name for it."""
    x = leaf(torch)
    things = {"y": x * 2}
    things["z"] = (things["y"] * things["y"]).sum()

    def hook(g):
        things.clear()
        gc.collect()

    things["y"].register_hook(hook)
    things["z"].backward()
    assert x.grad.tolist() == [8.0, 16.0, 24.0]


def test_a_hook_registered_inside_a_hook(torch):
    x = leaf(torch)
    seen = []

    def outer(g):
        x.register_hook(lambda h: seen.append(h.tolist()))

    y = x * 2
    y.register_hook(outer)
    y.sum().backward()
    assert seen == [[2.0] * 3]


def test_cycles_through_hooks_are_collected(torch):
    import weakref

    x = leaf(torch)
    y = x * 2
    y.register_hook(lambda g: y)  # holds the tensor that holds it
    gone = weakref.ref(y)
    del y
    gc.collect()
    # PyTorch's own cycle of this kind is not collected; what matters is that nothing breaks.
    assert gone() is None or gone().requires_grad
    x.sum().backward()


def test_retain_grad_keeps_what_the_hooks_made_of_it(torch):
    x = leaf(torch)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.sum().backward()
    assert y.grad.tolist() == [5.0] * 3
    assert x.grad.tolist() == [10.0] * 3


def test_grad_sees_what_hooks_made_of_it_at_the_end_of_the_way(torch):
    """Where the sweep goes on to another input, PyTorch takes the gradient before the hooks."""
    x = leaf(torch)
    y = x * 2
    y.register_hook(lambda g: g * 5)
    (gy,) = torch.autograd.grad(y.sum(), y, retain_graph=True)
    assert gy.tolist() == [5.0] * 3
    gy, gx = torch.autograd.grad(y.sum(), [y, x])
    assert gy.tolist() == [1.0] * 3
    assert gx.tolist() == [10.0] * 3


def test_hooks_of_all_kinds_with_inputs(torch):
    x, w = leaf(torch), leaf(torch)
    seen = []
    x.register_hook(lambda g: seen.append("x"))
    x.register_post_accumulate_grad_hook(lambda p: seen.append("post x"))
    w.register_hook(lambda g: seen.append("w"))
    (x * w).sum().backward(inputs=[x])
    assert seen == ["x", "post x"]
    assert w.grad is None
