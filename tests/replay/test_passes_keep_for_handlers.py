"""What a run changes before a step whose error is handled is copied first, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tapegrad as torch
from _passes import Hand, entry_of
from tapegrad.replay.passes.keep_for_handlers import bytes_to_keep, keep_for_handlers


def kept(program) -> int:
    return sum(s.name == "keep" for s in program.steps)


def hand(*places: int) -> tuple[Hand, list[int]]:
    """Three vectors changed one after the other, in the middle one inside; at `places` an error is handled."""
    h = Hand()
    x, y, z, a = h.outside(), h.outside(), h.outside(), h.inside()
    h.forward("neg", x, x)
    h.forward("exp", a, x)
    h.forward("neg", y, a)
    h.forward("neg", x, y)
    h.forward("neg", z, z)
    for k in places:
        h.program.steps[k] = replace(h.program.steps[k], handled=True)
    return h, [x, y, z]


@pytest.mark.parametrize("place", range(5))
def test_what_is_written_up_to_the_step_is_kept(place: int) -> None:
    h, numbers = hand(place)
    after = h.after(keep_for_handlers)
    count = (1, 1, 2, 2, 3)[place]
    assert kept(after) == count
    assert [n for n, _ in after.effects.kept] == numbers[:count]
    assert bytes_to_keep(h.program) == 4 * h.n * count
    assert all(after.observed(to) for _, to in after.effects.kept)


def test_the_last_such_step_counts() -> None:
    h, _ = hand(0, 2)
    assert kept(h.after(keep_for_handlers)) == 2


def test_without_such_a_step_nothing_is_kept() -> None:
    h, _ = hand()
    assert keep_for_handlers(h.program) is h.program


def test_gradients_that_are_made_inside_are_not_kept() -> None:
    table = torch.arange(5.0)
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(at):
        optimizer.zero_grad()
        (w * 2).sum().backward()
        try:
            found = table[at]
        except IndexError:
            found = table
        optimizer.step()
        return found

    f = torch.compile(step)
    for _ in range(4):
        f(torch.tensor([1]))
    assert f.counters.replayed == 2
    assert kept(entry_of(f).program) == 0


def test_a_limit_on_memory_counts_what_is_kept() -> None:
    table, big = torch.arange(5.0), torch.zeros(1 << 18)

    def step(x, at):
        big.add_(1)
        try:
            found = table[at]
        except IndexError:
            found = table
        y = (x * 2).exp()
        return (y.sin() * y.cos() + y.tanh()).sum(), found

    f, g = torch.compile(step), torch.compile(step, options={"memory_limit": 1 << 20})
    x = torch.ones(1 << 18)
    for _ in range(3):
        f(x, torch.tensor([1])), g(x, torch.tensor([1]))
    for h in (f, g):
        assert h.memory(x, torch.tensor([1])).peak >= 1 << 20
        assert kept(entry_of(h).program) == 1
