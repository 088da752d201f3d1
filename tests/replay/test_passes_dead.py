"""Dead steps go; random draws, steps that can fail and what is seen stay."""

from __future__ import annotations

import pytest
import tapegrad as torch
from _passes import Hand, entry_of
from tapegrad.replay.passes.dead import remove_dead


def test_a_chain_that_nobody_reads_goes() -> None:
    h = Hand()
    x, y = h.outside(), h.outside()
    a, b, c = h.inside(), h.inside(), h.inside()
    h.forward("exp", a, x)
    h.forward("tanh", b, a)
    h.forward("sigmoid", c, x)
    h.forward("neg", y, c)
    assert [s.label for s in h.after(remove_dead).steps] == ["sigmoid", "neg"]


def test_a_program_without_dead_steps_is_the_same() -> None:
    h = Hand()
    x, y = h.outside(), h.outside()
    h.forward("exp", y, x)
    assert remove_dead(h.program) is h.program


def test_a_buffer_that_is_kept_is_seen() -> None:
    h = Hand()
    x, a = h.outside(), h.inside()
    h.forward("exp", a, x)
    h.program.keep.add(a)
    assert len(remove_dead(h.program).steps) == 1


def test_unread_draws_advance_the_generator() -> None:
    def step(x):
        torch.rand(7)
        return x * 2

    found = []
    for f in (step, torch.compile(step, fullgraph=True)):
        torch.manual_seed(5)
        for _ in range(5):
            f(torch.ones(3))
        found.append(torch.rand(4).tolist())
    assert found[0] == found[1]
    assert f.counters.replayed >= 2


def test_an_unread_step_that_can_fail_still_fails() -> None:
    table = torch.arange(5.0)

    def step(x, places):
        table[places]
        return x * 2

    f = torch.compile(step, fullgraph=True)
    for _ in range(4):
        f(torch.ones(2), torch.tensor([0, 1]))
    with pytest.raises(IndexError):
        f(torch.ones(2), torch.tensor([0, 9]))
    assert f.counters.recorded == 2


@pytest.mark.parametrize("where", ["before", "after"])
def test_gradients_after_an_error_are_those_of_eager_code(where: str) -> None:
    """The places of gradients' changes move with the steps that are dropped before them."""
    left = []
    for compiled in (False, True):
        torch.manual_seed(0)
        w = torch.nn.Parameter(torch.rand(4))

        def step(x, places, w=w):
            (x * 3).exp().sum().tanh()
            if where == "before":
                x[places]
            w.grad = None
            (w * x).sum().backward()
            (x * 3).exp()
            if where == "after":
                x[places]
            return x + 1

        f = torch.compile(step, fullgraph=True) if compiled else step
        good = torch.tensor([0, 1])
        for k in range(4):
            f(torch.full((4,), k + 1.0), good)
        with pytest.raises(IndexError):
            f(torch.full((4,), 9.0), torch.tensor([7, 7]))
        left.append(w.grad.numpy().tobytes())
        if compiled:
            entry = entry_of(f)
            assert len(entry.program.steps) < len(entry.before.steps)
    assert left[0] == left[1]
