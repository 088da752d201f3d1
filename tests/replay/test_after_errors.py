"""A line that fails in the middle of a replay: what was done before it is done, and nothing after it."""

from __future__ import annotations

import weakref

import pytest
import tapegrad as torch
from _twins import Twins, world


def table_and_weight():
    return world(table=torch.arange(5.0), w=torch.ones(3, requires_grad=True))


def failing(make, step, *args):
    """Twins after four good calls and one whose last argument is an index that is not there."""

    def build():
        w = make()
        w.step = lambda *given: step(w, *given)
        return w

    twins = Twins(build)
    for _ in range(4):
        twins.call(*args, torch.tensor([1]))
    assert twins.counters.replayed == 2, twins.counters
    twins.call(*args, torch.tensor([9]))
    assert twins.error[0] == "IndexError"
    assert twins.counters.recorded == 2, twins.counters
    return twins


def test_a_gradient_that_is_gone_at_the_end_is_there():
    def step(w, at):
        w.w.grad = None
        (w.w * 2).sum().backward()
        found = w.table[at]
        w.w.grad = None
        return found

    twins = failing(table_and_weight, step)
    assert twins.compiled.w.grad.tolist() == [2.0, 2.0, 2.0]


def test_a_gradient_that_another_one_replaces_is_there():
    def step(w, at):
        w.w.grad = None
        (w.w * 2).sum().backward()
        found = w.table[at]
        w.w.grad = None
        (w.w * 3).sum().backward()
        return found

    twins = failing(table_and_weight, step)
    assert twins.compiled.w.grad.tolist() == [2.0, 2.0, 2.0]
    twins.call(torch.tensor([2]))
    assert twins.compiled.w.grad.tolist() == [3.0, 3.0, 3.0]


def test_a_gradient_that_is_added_to_twice_has_its_version():
    def step(w, at):
        w.w.grad = None
        for k in range(3):
            (w.w * k).sum().backward()
        return w.table[at]

    twins = failing(table_and_weight, step)
    assert twins.compiled.w.grad._version == twins.eager.w.grad._version == 2


def test_a_gradient_whose_memory_is_used_again_has_its_version():
    """What is made later where the gradient was is not the gradient."""

    def step(w, at):
        w.w.grad = torch.ones_like(w.w)
        (w.w * 2).sum().backward()
        found = w.table[at]
        w.w.grad = None
        return found + sum(torch.ones(3).sum() for _ in [torch.ones(3) for _ in range(4)])

    twins = failing(table_and_weight, step)
    assert twins.compiled.w.grad._version == twins.eager.w.grad._version == 1


@pytest.mark.parametrize("before", [True, False])
def test_an_argument_requires_gradients_from_its_line_on(before):
    def step(w, x, at):
        if before:
            x.requires_grad_()
        found = w.table[at]
        x.requires_grad_()
        return (x * x).sum(), found

    failing(table_and_weight, step, torch.ones(2))
    w = table_and_weight()
    f = torch.compile(lambda x, at: step(w, x, at))
    for _ in range(4):
        f(torch.ones(2), torch.tensor([1]))
    x = torch.ones(2)
    with pytest.raises(IndexError):
        f(x, torch.tensor([9]))
    assert x.requires_grad is before


@pytest.mark.parametrize("through_data", [True, False])
def test_versions_count_the_changes_before_the_line(through_data):
    def step(w, at):
        with torch.no_grad():
            if through_data:
                w.w.data.mul_(0.5)
            w.w.add_(1)
            found = w.table[at]
            w.w.add_(1)
        return found

    twins = failing(table_and_weight, step)
    assert twins.compiled.w._version == twins.eager.w._version


def test_a_change_in_place_that_fails_itself():
    def step(w, at):
        with torch.no_grad():
            w.table.add_(1)
            w.table[at] = 7.0
            w.table.add_(1)
        return w.table * 1

    failing(table_and_weight, step)


def test_a_gradient_that_was_there_is_put_back():
    def step(w, at):
        kept = w.w.grad
        w.w.grad = None
        w.w.grad = kept
        found = w.table[at]
        w.w.grad = None
        (w.w * 3).sum().backward()
        w.w.grad = kept
        return found

    def make():
        w = table_and_weight()
        w.w.grad = torch.full((3,), 5.0)
        return w

    assert failing(make, step).compiled.w.grad.tolist() == [5.0, 5.0, 5.0]


@pytest.mark.parametrize("order", [2.0, 1.0, float("inf")])
def test_clipping_that_refuses_what_is_not_finite(order):
    def build():
        w = world(w=torch.nn.Parameter(torch.ones(3)))
        w.optimizer = torch.optim.SGD([w.w], lr=0.1, momentum=0.9)

        def step(x):
            w.optimizer.zero_grad()
            (w.w * x).sum().backward()
            norm = torch.nn.utils.clip_grad_norm_([w.w], 0.5, order, error_if_nonfinite=True)
            w.optimizer.step()
            return norm

        w.step = step
        return w

    twins = Twins(build)
    for k in range(5):
        twins.call(torch.full((3,), float(k)))
    assert twins.counters.replayed >= 2
    assert twins.counters.eager == 0
    twins.call(torch.tensor([1.0, float("inf"), 0.0]))
    assert "non-finite" in twins.error[1]
    assert f"order {order}" in twins.error[1]
    twins.replays(2, torch.ones(3))


def test_a_draw_that_is_refused_leaves_the_generator():
    def build():
        w = world(generator=torch.Generator().manual_seed(1), seen=torch.zeros(3))

        def step(p):
            w.seen.add_(torch.rand(3, generator=w.generator))
            found = torch.bernoulli(p) + torch.bernoulli(p.double(), generator=w.generator)
            return found + torch.rand(3)

        w.step = step
        return w

    twins = Twins(build)
    for _ in range(4):
        twins.call(torch.full((3,), 0.5))
    assert twins.counters.replayed == 2
    twins.call(torch.tensor([0.5, 0.5, 9.0]))
    assert twins.error[0] == "RuntimeError"
    twins.replays(2, torch.full((3,), 0.5))


def test_calls_that_raise_while_recording_do_not_count_against_others():
    model = torch.nn.Linear(3, 3)
    f = torch.compile(lambda x, i: model(x)[i], fullgraph=True)
    for _ in range(300):
        with pytest.raises(IndexError):
            f(torch.ones(2, 3), torch.tensor([9]))
    for _ in range(5):
        f(torch.ones(2, 3), torch.tensor([1]))
    assert f.counters.replayed == 3


@pytest.mark.parametrize("put", [lambda: torch.full((400,), 100.0), lambda: None], ids=["another", "none"])
def test_a_finalizer_of_a_gradient_exchanges_another_one(put):
    """The gradient dies at the start of a replay that adds to the other one."""

    def last(compiled):
        a = torch.nn.Parameter(torch.ones(400, 400))
        b = torch.nn.Parameter(torch.ones(400))

        def step(x):
            a.grad = None
            ((a @ x).sum() + (b * x).sum()).backward()

        f = torch.compile(step) if compiled else step
        x = torch.ones(400)
        for _ in range(5):
            f(x)
        weakref.finalize(a.grad, lambda: setattr(b, "grad", put()))
        f(x)
        return b.grad[0].item()

    assert last(True) == last(False)
