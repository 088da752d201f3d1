"""Recording looks at young objects only, and finds what a cycle of the function's own keeps alive."""

import gc
import warnings
import weakref

import tapegrad as torch
from tapegrad.replay.program import Program
from tapegrad.replay.recording import Reader
from tapegrad.tape import _storage
from tapegrad.tape._capture import Capture


def test_a_cycle_made_inside_is_no_escape():
    def step(x):
        y = x * 2
        cycle = [y]
        cycle.append(cycle)
        return y.sum()

    run = torch.compile(step, fullgraph=True)
    results = [run(torch.full((3,), float(i))).item() for i in range(6)]
    assert results == [6.0 * i for i in range(6)]
    assert run.counters.replayed >= 3


def test_recording_does_not_walk_the_whole_heap():
    w = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()  # makes its momentum in the first call: something that outlives the function
        return loss

    run = torch.compile(step)
    full = []
    gc.callbacks.append(note := lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
    try:
        for i in range(6):
            run(torch.full((3,), float(i)))
    finally:
        gc.callbacks.remove(note)
    assert run.counters.replayed >= 2
    assert not full


def test_recording_prints_no_tensors(monkeypatch):
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    def refuse(self):
        raise AssertionError("a parameter is printed")

    monkeypatch.setattr(torch.nn.Parameter, "__repr__", refuse)
    run = torch.compile(step)
    for i in range(6):
        run(torch.full((3,), float(i)))
    assert run.counters.replayed >= 2


def test_recording_uses_memory_again_as_eager_code_does():
    def run(step):
        x = torch.randn(1024, 32)
        for _ in range(2):
            step(x)
        _storage.reset_peak()
        before = torch.memory_stats()["live_bytes"]
        step(x)
        return torch.memory_stats()["peak_bytes"] - before

    def make():
        parts = [m for _ in range(8) for m in (torch.nn.Linear(32, 32), torch.nn.ReLU())]
        model = torch.nn.Sequential(*parts)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        names = {"scale": 0}

        def step(x):
            optimizer.zero_grad()
            names["scale"] += 1  # never replayed
            loss = (model(x) * 2).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    eager = run(make())
    compiled = torch.compile(make())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded = run(compiled)
    assert compiled.counters.recorded == 3
    assert recorded <= 1.1 * eager


def test_programs_do_not_keep_the_gradients_they_were_recorded_with():
    w = torch.ones(3, requires_grad=True)

    def accumulate(x):
        loss = (w * x).sum()
        loss.backward()
        return loss

    run = torch.compile(accumulate)
    w.grad = torch.zeros(3)
    for _ in range(4):
        run(torch.ones(3))
    assert run.counters.replayed == 2
    recorded_with = weakref.ref(w.grad)
    w.grad = None
    gc.collect()
    assert recorded_with() is None


def test_recordings_leave_nothing_to_the_garbage_collector():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss, {"x": [x + 1]}

    def count():
        return sum(isinstance(o, (torch.Tensor, Capture, Reader, Program)) for o in gc.garbage)

    run = torch.compile(step)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            run(torch.ones(2, 3))
        assert run.counters.replayed == 2
        gc.collect()
        assert count() == 0
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
