"""Copies go where nobody can tell: neither side changes, or the source dies."""

from __future__ import annotations

import tapegrad as torch
from _passes import Hand
from tapegrad.replay.passes.copies import remove_copies


def copies(program) -> int:
    return sum(s.name == "copy" for s in program.steps)


def test_a_copy_of_what_stays_as_it_is_becomes_its_source() -> None:
    h = Hand()
    x, y, a = h.outside(), h.outside(), h.inside()
    h.copy(a, x)
    h.forward("exp", y, a)
    after = h.after(remove_copies)
    assert copies(after) == 0
    assert after.steps[0].read_buffers == {x}


def test_a_copy_whose_source_changes_while_it_is_read_stays() -> None:
    h = Hand()
    x, y, a = h.outside(), h.outside(), h.inside()
    h.copy(a, x)
    h.forward("neg", x, x)
    h.forward("exp", y, a)
    assert copies(h.after(remove_copies)) == 1


def test_a_copy_that_is_changed_stays() -> None:
    h = Hand()
    x, y, z, a = h.outside(), h.outside(), h.outside(), h.inside()
    h.copy(a, x)
    h.forward("neg", a, a)
    h.forward("add", y, a, x)
    h.forward("exp", z, a)
    assert copies(h.after(remove_copies)) == 1


def test_a_copy_takes_over_a_source_that_dies() -> None:
    h = Hand()
    x, y, a, b = h.outside(), h.outside(), h.inside(), h.inside()
    h.forward("exp", a, x)
    h.copy(b, a)
    h.forward("neg", b, b)
    h.forward("add", y, b, b)
    assert copies(h.after(remove_copies)) == 0


def test_copies_of_copies_go_together() -> None:
    h = Hand()
    x, y, a, b, c = h.outside(), h.outside(), h.inside(), h.inside(), h.inside()
    h.forward("exp", a, x)
    h.copy(b, a)
    h.copy(c, b)
    h.forward("neg", c, c)
    h.forward("add", y, c, c)
    assert copies(h.after(remove_copies)) == 0


def test_a_copy_of_a_copy_does_not_hide_a_change_of_the_first_source() -> None:
    h = Hand()
    x, y, a, b = h.outside(), h.outside(), h.inside(), h.inside()
    h.copy(a, x)
    h.copy(b, a)
    h.forward("neg", x, x)
    h.forward("exp", y, b)
    assert copies(h.after(remove_copies)) == 1


def test_a_part_of_a_source() -> None:
    h = Hand(8)
    x, y, a = h.outside(range(20)), h.outside(), h.inside()
    h.copy(a, x, at=12)
    h.forward("exp", y, a)
    assert copies(h.after(remove_copies)) == 0


def test_the_seed_of_backward_is_a_constant() -> None:
    w = torch.nn.Parameter(torch.ones(3))

    def step(x):
        w.grad = None
        (w * x).sum().backward()

    f = torch.compile(step, fullgraph=True)
    for _ in range(4):
        f(torch.arange(3.0))
    (entry,) = next(iter(f._signatures.values())).entries
    assert copies(entry.before) > copies(entry.program) == 0
    assert w.grad.tolist() == [0.0, 1.0, 2.0]
