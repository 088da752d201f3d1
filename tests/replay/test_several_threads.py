"""Compiled functions that several threads call at once: they end, and give what they give alone."""

from __future__ import annotations

import sys
import threading

import pytest
import tapegrad as torch


@pytest.fixture(autouse=True)
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run(*loops, seconds=60):
    """Runs each in a thread; what they raised. Fails if one does not end."""
    errors = []

    def guarded(loop):
        try:
            loop()
        except BaseException as error:
            errors.append(repr(error))

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


def test_objects_as_arguments():
    f = torch.compile(lambda x, o: x * o.k)
    x = torch.ones(4)

    def loop():
        for j in range(40):
            scales = [Scale(float(i + j)) for i in range(20)]
            for _ in range(4):
                for i, o in enumerate(scales):
                    assert f(x, o)[0].item() == float(i + j)

    assert run(loop, loop, loop, loop) == []


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
