"""Programs of one function work in the same memory, one at a time."""

from __future__ import annotations

import threading

import pytest
import tapegrad as torch
from _passes import entry_of
from tapegrad.replay.rooms import Rooms


def test_a_room_serves_what_fits():
    rooms = Rooms()
    first = rooms.take(1000)
    assert rooms.take(10) is first
    assert first.nbytes == 1000
    second = rooms.take(1001)
    assert second.nbytes == 1500
    assert rooms.take(1400) is second
    assert rooms.take(900) is first
    first.busy = True
    assert rooms.take(900) is second
    second.busy = True
    third = rooms.take(900)
    assert third is not second
    assert third.nbytes == 900


def test_threads_have_rooms_of_their_own():
    rooms = Rooms()
    mine, theirs = rooms.take(100), []
    thread = threading.Thread(target=lambda: theirs.append(rooms.take(100)))
    thread.start()
    thread.join()
    assert theirs[0] is not mine


def test_much_memory_of_the_recordings_is_given_back():
    layers = [torch.nn.Linear(64, 64) for _ in range(8)]

    def step(x):
        for layer in layers:
            layer.zero_grad()
        for layer in layers:
            x = torch.tanh(layer(x))
        x.sum().backward()

    f = torch.compile(step)
    x = torch.randn(1 << 15, 64)
    torch.empty_cache()
    for _ in range(4):
        f(x)
    assert f.counters.replayed == 1
    assert f.memory(x).arena > 32 << 20
    assert torch.memory_stats()["cached_bytes"] < 8 << 20


def mlp_step():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 8))
    optimizer = torch.optim.Adam(model.parameters())

    def step(x):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), x)
        loss.backward()
        optimizer.step()
        return loss

    return step


def test_many_sizes_take_the_memory_of_the_largest():
    step = torch.compile(mlp_step())
    data = torch.randn(64, 8)
    peaks = []
    for n in range(1, 65):
        for _ in range(3):
            step(data[:n])
        peaks.append(step.memory(data[:n]).arena + step.memory(data[:n]).scratch)
    rooms = [r for mine in step._rooms._by_thread.values() for r in mine]
    assert sum(r.nbytes for r in rooms) <= 3 * max(peaks)
    assert sum(peaks) > 10 * max(peaks)


def test_sizes_in_turn_give_what_eager_code_gives():
    compiled, eager = torch.compile(mlp_step()), mlp_step()
    data = torch.randn(64, 8)
    for k in range(120):
        n = (1, 64, 7, 30, 2)[k * 7 % 5]
        assert compiled(data[:n]).item() == eager(data[:n]).item()
    assert compiled.counters.replayed >= 100


@pytest.mark.parametrize("sizes", [[16] * 4, [16, 17, 18, 19]], ids=["one size", "a size each"])
def test_threads_at_once(sizes):
    """Inference of one function in four threads."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8))
    f = torch.compile(lambda x: model(x).softmax(1))
    data = [torch.randn(n, 32) for n in sizes]
    with torch.no_grad():
        expected = [model(x).softmax(1).tolist() for x in data]
        for x in data:
            for _ in range(3):
                f(x)
    wrong = []

    def work(k):
        with torch.no_grad():
            for _ in range(300):
                if f(data[k]).tolist() != expected[k]:
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert f.counters.replayed > 1000, f.counters


def test_a_call_inside_a_call():
    """What a finalizer calls while the result of a replay is put together works in another room."""
    step = torch.compile(mlp_step())
    data = torch.randn(8, 8)
    for n in (8, 4):
        for _ in range(3):
            step(data[:n])
    entry = entry_of(step)
    machine = entry.machine()
    machine_room = next(r for mine in step._rooms._by_thread.values() for r in mine)
    machine_room.busy = True
    try:
        assert machine.busy
        assert entry.machine() is not machine
        assert step(data[:4]).item() > 0
    finally:
        machine_room.busy = False
