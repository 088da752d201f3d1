"""Compiled functions that several threads call at once: they end, and give what they give alone."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
import warnings

import pytest
import tapegrad as torch


@pytest.fixture(autouse=True)
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run(*loops, seconds=300):
    """Runs each in a thread; what they raised. Fails if one does not end, on a machine that has other work too."""
    errors = []

    def guarded(loop):
        try:
            loop()
        except BaseException:
            errors.append(traceback.format_exc())

    threads = [threading.Thread(target=guarded, args=(loop,), daemon=True) for loop in loops]
    for t in threads:
        t.start()
    for t in threads:
        t.join(seconds)
    assert not any(t.is_alive() for t in threads)
    return errors


def test_programs_that_draw_from_two_generators_do_not_wait_for_each_other():
    first, second = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    n = 5000
    x = torch.ones(1)

    def drawing(a, b):
        return torch.compile(lambda x: torch.randn(n, generator=a)[0] + torch.randn(n, generator=b)[0] + x)

    programs = [drawing(first, second), drawing(second, first)]
    for f in programs:
        for _ in range(4):
            f(x)

    def loop(f):
        for _ in range(500):
            f(x)

    assert run(*[lambda f=f: loop(f) for f in programs]) == []
    assert all(f.counters.replayed > 400 for f in programs)


class Scale:
    def __init__(self, k):
        self.k = k


@pytest.fixture
def collections_in_python():
    """Each collection of garbage runs a little Python, in which another thread may go on."""

    def callback(phase, info):
        for _ in range(100):
            pass

    before = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(20, 1, 1)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(callback)


def test_objects_as_arguments(collections_in_python):
    f = torch.compile(lambda x, o: x * o.k)
    x = torch.ones(4)

    def loop():
        for j in range(12):
            scales = [Scale(float(i + j)) for i in range(20)]
            for _ in range(4):
                for i, o in enumerate(scales):
                    assert f(x, o)[0].item() == float(i + j)

    assert run(loop, loop, loop, loop) == []


@pytest.mark.filterwarnings("ignore:.*runs eagerly")  # what changes all the time may be refused
def test_what_is_looked_at_grows_meanwhile(collections_in_python):
    """A class and a dict of the user's that another thread adds to while calls look at them."""
    scale = Scale(2.0)
    table = {0: scale}
    x = torch.ones(4)
    stop = threading.Event()

    def loop():
        try:
            for _ in range(30):
                f = torch.compile(lambda x: x * table[0].k * scale.k)
                for _ in range(8):
                    assert f(x)[0].item() == 4.0
        finally:
            stop.set()

    def adding():
        i = 0
        while not stop.is_set():
            i += 1
            setattr(Scale, f"extra{i % 20}", i)
            scale.__dict__[f"more{i % 20}"] = i
            table[1 + i % 20] = i
            if i % 20 == 0:
                for k in range(20):
                    delattr(Scale, f"extra{k}") if f"extra{k}" in Scale.__dict__ else None
                    scale.__dict__.pop(f"more{k}", None)
                    table.pop(1 + k, None)

    assert run(loop, adding) == []


def test_recordings_beside_first_calls_of_an_operation():
    """What another thread's first calls note of this one's launches kept a recording's tensors alive."""
    stop = threading.Event()

    def others():
        k = 1
        while not stop.is_set():
            k = k % 700 + 1
            torch.ones(k, 3) @ torch.ones(3, 2)

    def loop():
        try:
            for _ in range(150):
                m = torch.ones(4, 4)
                f = torch.compile(lambda x, m=m: (x @ m).sum(), fullgraph=True)
                for _ in range(8):
                    assert f(torch.ones(2, 4)).item() == 32.0
                assert f.counters.replayed == 6
        finally:
            stop.set()

    assert run(loop, others, others, others) == []


def test_entries_change_their_order():
    """Two programs of one signature, of which now one and now the other is wanted."""
    f = torch.compile(lambda x, y: x * 2 + y)
    a = torch.ones(100)
    b = a + 1
    for y in (a, a, a, b, b, b):
        f(a, y)
    assert f.counters.replayed == 2

    def loop():
        for i in range(2000):
            assert f(a, a if i % 2 else b)[0].item() == (3.0 if i % 2 else 4.0)

    assert run(loop, loop, loop, loop) == []


def child(work):
    """What a forked child's function gives as a text; a child that hangs is ended by an alarm."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
        pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os.write(into, repr(work()).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as answer:
        found = answer.read()
    os.waitpid(pid, 0)
    return found


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@needs_fork
def test_a_fork_while_another_thread_replays_random_numbers():
    model = torch.nn.Linear(200, 200)
    x = torch.randn(100, 200)
    f = torch.compile(lambda x: model(x).sum() + torch.rand(1))
    for _ in range(4):
        f(x)
    stop = []

    def loop():
        while not stop:
            f(x)

    t = threading.Thread(target=loop)
    t.start()
    try:
        found = [child(lambda: (torch.rand(1).shape, f(x).shape)) for _ in range(5)]
    finally:
        stop.append(1)
        t.join()
    assert found == [repr((torch.Size([1]), torch.Size([1])))] * 5


@needs_fork
def test_a_fork_while_another_thread_records():
    begun, end = threading.Event(), threading.Event()

    def slow(x):
        begun.set()
        end.wait(60)
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        t = threading.Thread(target=lambda: torch.compile(slow)(torch.ones(2)))
        t.start()
        begun.wait(60)

        def work():
            f = torch.compile(lambda x: x + 1)
            for _ in range(10):
                f(torch.ones(2))
            return f.counters.replayed

        found = child(work)
        end.set()
        t.join()
    assert found == "8"


def test_a_thread_that_does_something_else_keeps_nobody_waiting():
    """Threads take turns after a replay; who has run last may never come again."""
    f = torch.compile(lambda x: x * 2 + 1)
    for _ in range(3):
        f(torch.ones(4))
    replayed, done = threading.Event(), threading.Event()

    def once():
        f(torch.ones(4))
        replayed.set()
        done.wait()

    def often():
        replayed.wait()
        try:
            assert all(f(torch.full((4,), float(i)))[0].item() == 2 * i + 1 for i in range(200))
        finally:
            done.set()

    assert run(once, often) == []
    assert f.counters.replayed >= 200
