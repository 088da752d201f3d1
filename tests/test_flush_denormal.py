"""set_flush_denormal: for the thread that asks, and for the chunks of its kernels wherever they run."""

from __future__ import annotations

import os
import threading

import pytest
from tapegrad.native import _cpu

pytestmark = pytest.mark.skipif(not _cpu.set_flush_denormal(False), reason="not known how on this processor")
ours = pytest.mark.skipif("TAPEGRAD_TEST_MODULE" in os.environ, reason="PyTorch does it otherwise")
MANY = 3_000_000  # for several threads


@pytest.fixture(autouse=True)
def put_back(torch):
    yield
    torch.set_flush_denormal(False)


def test_on_and_off(torch):
    assert torch.set_flush_denormal(True) is True
    assert (torch.tensor([1e-40, -1e-40, 1.0]) * 1).tolist() == [0.0, 0.0, 1.0]
    assert (torch.tensor([1e-30]) * torch.tensor([1e-10])).item() == 0.0
    assert (torch.tensor([1e-310], dtype=torch.float64) + 0).item() == 0.0
    assert torch.set_flush_denormal(False) is True
    assert (torch.tensor([1e-40]) * 1).item() != 0.0
    assert (torch.tensor([1e-310], dtype=torch.float64) + 0).item() == 1e-310


def test_it_is_of_the_thread(torch):
    seen = []
    begin = threading.Event()

    def work():
        begin.wait()
        seen.append((torch.tensor([1e-40]) * 1).item() != 0.0)

    thread = threading.Thread(target=work)  # which begins with what the thread has that starts it
    thread.start()
    torch.set_flush_denormal(True)
    begin.set()
    thread.join()
    assert seen == [True]


@ours
@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_in_other_threads(torch, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, small = torch.full((MANY,), 1e-30), torch.full((MANY,), 1e-40)
        for on in (True, False, True):
            torch.set_flush_denormal(on)
            y = x * 1e-10
            torch.set_flush_denormal(False)
            assert (y == 0).all().item() == on
            assert (small * 1 == 0).any().item() is False
    finally:
        torch.set_num_threads(before)


@ours
def test_replays_follow_the_thread(torch):
    f = torch.compile(lambda x: (x * 1e-10).sum())
    x = torch.full((5,), 1e-30)
    for _ in range(4):
        assert f(x).item() > 0
    torch.set_flush_denormal(True)
    assert f(x).item() == 0
    torch.set_flush_denormal(False)
    assert f(x).item() > 0
    assert f.counters.replayed == 4


@ours
def test_a_function_that_sets_it_is_not_replayed(torch):
    def step(x):
        torch.set_flush_denormal(True)
        return x * 1e-10

    f = torch.compile(step)

    def call():
        torch.set_flush_denormal(False)
        return f(torch.full((2,), 1e-30)).sum().item()

    with pytest.warns(UserWarning, match="set_flush_denormal changes what the thread computes"):
        values = [call() for _ in range(4)]
    assert values == [0] * 4
    assert f.counters.replayed == 0


@pytest.mark.parametrize("mode", [1, None, "on"])
def test_only_a_bool(torch, mode):
    with pytest.raises(RuntimeError, match=f"flush_denormal expects a bool, but got {type(mode).__name__}"):
        torch.set_flush_denormal(mode)
