"""Recording looks at young objects only, and finds what a cycle of the function's own keeps alive."""

import gc

import tapegrad as torch


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
