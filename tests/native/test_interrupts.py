"""Interrupts while kernels are made or loaded: they arrive afterwards, and everything goes on working."""

from __future__ import annotations

import os
import random
import signal
import threading

import numpy as np
import pytest
from sample import apply, run_python, unary
from tapegrad import native
from tapegrad._interrupts import held_back
from tapegrad.dtypes import float32 as T
from tapegrad.native import kernels

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread(),
    reason="needs timers that send signals",
)


class Interrupt(BaseException):
    pass


@pytest.fixture
def alarms(no_gc_callbacks):
    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_signals_wait_for_the_end(alarms):
    before = signal.getsignal(signal.SIGALRM)
    seen = []

    def hold():
        with held_back():
            signal.raise_signal(signal.SIGALRM)
            with held_back():
                signal.raise_signal(signal.SIGALRM)
                seen.append("inside")
            seen.append("outside")

    with pytest.raises(Interrupt):
        hold()
    assert seen == ["inside", "outside"]
    assert signal.getsignal(signal.SIGALRM) is before


def test_every_signal_gets_its_own_handler():
    seen = []
    old = {n: signal.signal(n, lambda n, _: seen.append(n)) for n in (signal.SIGALRM, signal.SIGUSR1)}
    try:
        with held_back():
            for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGUSR1):
                signal.raise_signal(number)
            assert seen == []
        assert seen == [signal.SIGUSR1, signal.SIGALRM, signal.SIGUSR1]
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def test_what_is_left_to_the_system_stays_there():
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with held_back():
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_an_error_inside_is_the_context_of_the_interrupt(alarms):
    def fail(interrupted):
        with held_back():
            if interrupted:
                signal.raise_signal(signal.SIGALRM)
            raise ValueError("inside")

    with pytest.raises(Interrupt) as caught:
        fail(True)
    assert "inside" in str(caught.value.__context__)
    with pytest.raises(ValueError, match="inside"):
        fail(False)


def test_other_threads_run_no_handlers(alarms):
    before = signal.getsignal(signal.SIGALRM)
    seen = []

    def work():
        with held_back():
            seen.append(signal.getsignal(signal.SIGALRM) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_entering_and_leaving_at_any_moment(alarms):
    before = signal.getsignal(signal.SIGALRM)
    draw = random.Random(0)
    broken = 0
    for _ in range(3000):
        inside = False
        try:
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(2e-6, 4e-5))
            while True:
                with held_back():
                    inside = True
                    for _ in range(10):
                        pass
                    inside = False
        except Interrupt:
            broken += inside
        assert signal.getsignal(signal.SIGALRM) is before
    assert broken == 0


def test_loading_a_kernel_at_any_moment(alarms):
    native.compile_kernel(unary, {"T": T})
    (key,) = [key for key in kernels._addresses if kernels.kernel_key(unary, {"T": T}) == key]
    draw = random.Random(0)
    x = np.arange(5, dtype=np.float32)
    for _ in range(1000):
        kernels._addresses.pop(key, None)
        try:
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 6e-4))
            while True:
                kernels._addresses.pop(key, None)
                native.compile_kernel(unary, {"T": T})
        except Interrupt:
            assert kernels._pending == {}
    assert apply(unary, {"T": T}, np.empty_like(x), x).tolist() == x.tolist()


IMPORT = """
import signal, sys, numpy
signal.signal(signal.SIGALRM, signal.default_int_handler)
interrupts = 0
for delay in (DELAY, 0):
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        import tapegrad as torch
        torch.nn
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupts += 1
print(interrupts, torch.ones(2).tolist(), torch.nn.Linear(2, 3).weight.shape)
"""


@pytest.mark.parametrize("milliseconds", range(2, 50, 6))
def test_an_import_that_is_stopped_and_tried_again(milliseconds):
    out = run_python(IMPORT.replace("DELAY", str(milliseconds / 1000)), os.environ["TAPEGRAD_CACHE_DIR"])
    assert out.split(maxsplit=1)[1] == "[1.0, 1.0] torch.Size([3, 2])\n"


# What a notebook does: one cell interrupted after ever longer times, then again.
NOTEBOOK = """
import signal, sys, time, numpy as np
import tapegrad as torch
def cell():
    x = torch.arange(6.0).requires_grad_()
    ((x * 0.2).tanh().sum() + torch.from_numpy(np.ones((2, 2), np.float32)).matmul(torch.ones(2, 2)).sum()).backward()
    return x.grad.tolist()
signal.signal(signal.SIGALRM, signal.default_int_handler)
interrupts, delay = 0, {delay}
while True:
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        values = cell()
        signal.setitimer(signal.ITIMER_REAL, 0)
        break
    except KeyboardInterrupt:
        interrupts += 1
        delay *= 1.7
assert np.allclose(values, 0.2 / np.cosh(0.2 * np.arange(6.0)) ** 2, rtol=1e-5), values
s = torch.native.statistics()
print(interrupts, s["rejected"], torch.is_grad_enabled())
"""


@pytest.mark.parametrize("delay", [0.001, 0.03, 0.1])
def test_a_cell_that_is_stopped_and_run_again(tmp_path, delay):
    interrupts, rejected, enabled = run_python(NOTEBOOK.format(delay=delay), tmp_path).split()
    assert (int(interrupts) > 0, rejected, enabled) == (True, "0", "True")


REGIONS = """
import signal, numpy as np
import tapegrad as torch
torch.set_num_threads(2)
signal.signal(signal.SIGALRM, signal.default_int_handler)
x, interrupts, delay = torch.ones(3_000_000), 0, 0.01
while True:
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        y = (x * 2).sum()
        signal.setitimer(signal.ITIMER_REAL, 0)
        break
    except KeyboardInterrupt:
        interrupts += 1
        delay *= 1.5
print(interrupts > 0, y.item())
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_the_first_parallel_region(tmp_path):
    assert run_python(REGIONS, tmp_path).split() == ["True", "6000000.0"]
