"""Interrupts at any moment: nothing goes on listening, and what runs afterwards is right."""

from __future__ import annotations

import inspect
import sys
import types

import pytest
import tapegrad as torch
from tapegrad.replay.compiled import CompiledFunction


@pytest.mark.parametrize("after", [0, 1, 2, 5, 9])
def test_interrupted_recordings_stop_listening(after):
    """An interrupt at the line that starts the capture, and at later ones, inside `try` or not."""
    lines, first = inspect.getsourcelines(CompiledFunction._record)
    begin = first + next(i for i, line in enumerate(lines) if "capture.begin()" in line)
    seen = []

    def tracer(frame, event, arg):
        if frame.f_code is CompiledFunction._record.__code__:
            if event == "line" and frame.f_lineno > begin:
                seen.append(frame.f_lineno)
                if len(seen) > after:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return tracer
        return None

    f = torch.compile(lambda x: x * 2)
    sys.settrace(tracer)
    try:
        with pytest.raises(KeyboardInterrupt):
            f(torch.ones(3))
    finally:
        sys.settrace(None)
    g = torch.compile(lambda x: (x * 2).tanh())
    for _ in range(4):
        g(torch.ones(3))
    assert (g.counters.recorded, g.counters.replayed) == (2, 2), g.counters
    for _ in range(4):
        assert torch.equal(f(torch.ones(3)), torch.full((3,), 2.0))


def test_numpy_is_being_imported_by_another_thread(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy.random", types.ModuleType("numpy.random"))
    f = torch.compile(lambda x: x * 2, fullgraph=True)
    for k in range(5):
        assert f(torch.full((2,), float(k))).tolist() == [2.0 * k] * 2
    assert f.counters.replayed == 3
