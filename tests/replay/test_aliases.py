"""Arguments and memory that are the same, or another's, where the recordings did not show it."""

from __future__ import annotations

import os
import threading
import weakref

import numpy as np
import pytest
import tapegrad as torch


def same_as_eager(make, calls, name="f"):
    """Each call gives what eager code gives; `make` is called once for each."""
    eager, inner = make(), make()
    compiled = torch.compile(inner)
    for call in calls:
        assert call(compiled).tolist() == call(eager).tolist()
    return compiled.counters


def test_whole_numbers_overflow_as_in_eager_code():
    ends = np.resize(np.array([-(2**63), 2**63 - 1, 0, 1, 2**63 - 2, 7]), 1 << 16)
    for fn in (lambda x: (x * 3) // 3, lambda x: (x + 1) > x, lambda x: (x - 1) < x, lambda x: (x + x - x).abs() >= 0):
        counters = same_as_eager(lambda fn=fn: fn, [lambda f: f(torch.from_numpy(ends.copy()))] * 4)
        assert counters.replayed == 2


def test_views_of_a_closure_tensor_do_not_tell_which_is_meant():
    w = torch.full((4,), 2.0)
    other = torch.full((4,), 10.0)
    calls = [lambda f: f(w.detach())] * 4 + [lambda f: f(other)] * 4 + [lambda f: f(w.detach())] * 2
    assert same_as_eager(lambda: lambda x: x + w, calls).replayed >= 2
    data = torch.arange(12.0).view(4, 3)
    calls = [lambda f: f(data[:1])] * 4 + [lambda f: f(data[1:2])] * 4
    same_as_eager(lambda: lambda x: (x * data[:1]).sum(), calls)


@pytest.mark.parametrize("same", [lambda a, b: a * 2 + 1 if a is b else a + b, lambda a, b: a * b])
def test_two_arguments_that_become_one_object(same):
    one = torch.full((2,), 4.0)
    calls = [lambda f: f(torch.ones(2), torch.ones(2))] * 4 + [lambda f: f(one, one)] * 4
    calls += [lambda f: f(torch.ones(2), torch.ones(2))]
    assert same_as_eager(lambda: same, calls).replayed == 5


def test_one_tensor_for_two_that_differ_in_requires_grad():
    def step(x, y):
        x.requires_grad_()
        loss = (x * y).sum()
        loss.backward()
        return loss.detach()

    f = torch.compile(step)
    for _ in range(4):
        f(torch.ones(3), torch.full((3,), 2.0))
    a = torch.full((3,), 3.0)
    f(a, a)
    assert a.grad.tolist() == [6.0] * 3


def test_a_closure_tensor_for_an_argument_that_is_made_to_require_gradients():
    w = torch.full((3,), 3.0)

    def step(x):
        x.requires_grad_()
        (x * w).sum().backward()

    f = torch.compile(step)
    for _ in range(4):
        f(torch.ones(3))
    f(w)
    assert w.grad.tolist() == [6.0] * 3


def test_numpy_memory_with_gaps_overlaps_all_that_lies_between():
    def make():
        base = np.ones(60000, np.float32)
        w, later = torch.from_numpy(base[::2]), torch.from_numpy(base[40000:45000])

        def step(zero):
            y = later.clone()
            w.add_(1)
            return y[:2] * 1

        return step

    with pytest.warns(UserWarning, match="share parts of memory"):
        same_as_eager(make, [lambda f: f(0)] * 6)


def test_a_check_puts_numpy_memory_with_gaps_back_whole():
    w = torch.from_numpy(np.zeros(64, np.float32)[::2])

    def step():
        w.add_(1)
        return w * 1

    f = torch.compile(step, check=True)
    for i in range(5):
        assert f().tolist() == [i + 1.0] * 32


def test_a_check_reads_no_further_than_a_broadcast_array_goes():
    t = torch.from_numpy(np.broadcast_to(np.ones(4, np.float32), (1 << 18, 4)))
    f = torch.compile(lambda x: x[0] * 2, check=True)
    for _ in range(4):
        assert f(t).tolist() == [2.0] * 4


def test_a_view_of_a_tensor_that_loses_its_memory_meanwhile():
    u, w, x = torch.zeros(3, requires_grad=True), torch.zeros(1 << 20), torch.ones(3)

    def step(x):
        u.grad = None
        (u * x * w[:3]).sum().backward()
        return w.view(1 << 10, 1 << 10)

    f = torch.compile(step)
    for _ in range(4):
        f(x)

    def exchange(_):
        w.data = torch.zeros(4)

    reference = weakref.ref(u.grad, exchange)
    with pytest.raises(RuntimeError):
        f(x)
    assert reference() is None


def test_a_guard_that_exchanges_the_memory_of_an_argument():
    exchange = [None]

    class Options:
        __slots__ = ("k",)

        def __getattribute__(self, name):
            do, exchange[0] = exchange[0], None
            if do:
                do()
            return object.__getattribute__(self, name)

    options = Options()
    options.k = 2.0
    f = torch.compile(lambda x: x * options.k)
    x = torch.ones(1 << 20)
    for _ in range(4):
        f(x)

    def smaller():
        x.data = torch.ones(4)

    exchange[0] = smaller
    assert f(x).tolist() == [2.0] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_its_own_lock():
    f = torch.compile(lambda x: x * 2)
    f(torch.ones(2))
    taken, done = threading.Event(), threading.Event()

    def hold():
        with f._lock:
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(60)
    child = os.fork()
    if not child:
        os._exit(0 if f._lock.acquire(timeout=5) and f(torch.ones(3)).tolist() == [2.0] * 3 else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_attributes_of_a_function_do_not_hide_methods():
    def step(x):
        return x * 2

    step.slow = step.table = True
    f = torch.compile(step)
    for _ in range(3):
        assert f(torch.ones(1)).tolist() == [2.0]
    assert f.counters.replayed == 1

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slow = self.machine = True

        def forward(self, x):
            return x * 2

    assert torch.compile(Net())(torch.ones(1)).tolist() == [2.0]


@pytest.mark.parametrize("third", [False, True])
def test_a_closure_tensor_for_one_argument_and_then_for_another(third):
    """Two recordings that each take it for an argument's are not the same program."""
    w = torch.full((4,), 2.0)
    a, b = torch.full((4,), 5.0), torch.full((4,), 7.0)
    calls = [lambda f: f(w.detach(), a, b), lambda f: f(a, w.detach(), b), lambda f: f(a, b, w.detach())]
    calls = calls[: 2 + third] + [lambda f: f(a, b, a)] * 4 + calls
    assert same_as_eager(lambda: lambda x, y, z: (w * 3).exp() + 1, calls).replayed >= 2


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_which_gradient_is_added_to_is_compared():
    def run(wrap):
        a, b = (torch.nn.Parameter(torch.full((3,), v)) for v in (1.0, 2.0))
        kept = [torch.zeros(3), torch.ones(3)]
        a.grad, b.grad = kept
        turn = iter([a, b, a, b, b, b, a, a, b])

        def step():
            next(turn).grad.mul_(3).add_(1)

        f = wrap(step)
        found = []
        for _ in range(9):
            f()
            found.append([k.tolist() for k in kept])
        return found

    assert run(torch.compile) == run(lambda f: f)


@pytest.mark.parametrize("show", [lambda w: w.data, lambda w: w.detach(), lambda w: w.view(4), lambda w: w])
def test_what_shows_a_closure_tensor_at_first(show):
    w, v = torch.full((4,), 3.0), torch.full((4,), 1.0)
    calls = [lambda f: f(show(w))] * 4 + [lambda f: f(v)] * 4 + [lambda f: f(show(w))] * 2
    assert same_as_eager(lambda: lambda x: x * v + w, calls).replayed >= 2
