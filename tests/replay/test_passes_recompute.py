"""Values computed again: only from what is still what it was, and only where it saves something."""

from __future__ import annotations

from _passes import Hand
from tapegrad.replay.passes.recompute import recompute
from tapegrad.replay.planning import plan_memory


def forward_and_back(h: Hand, change: bool) -> None:
    """Three values made one from the other and read in the reverse order; x may change in between."""
    x, y, z = h.outside(), h.outside(), h.outside()
    values = [h.inside() for _ in range(5)]
    for a, b in zip([x, *values], values, strict=False):
        h.forward("tanh", b, a)
    if change:
        h.forward("neg", x, x)
    h.forward("exp", y, values[-1])
    for v in values[::-1]:
        h.forward("add", y, y, v)
    h.forward("neg", z, y)


def labels(program) -> int:
    return sum(s.label == "tanh" for s in program.steps)


def test_values_are_computed_again_until_they_fit() -> None:
    h = Hand(256)
    forward_and_back(h, False)
    plain = plan_memory(h.program).peak
    assert plain == 5 * 1024
    after = h.after(lambda p: recompute(p, 3 * 1024, lambda q: q))
    assert plan_memory(after).peak <= 3 * 1024
    assert labels(after) > 5


def test_nothing_is_computed_from_what_has_changed() -> None:
    h = Hand(256)
    forward_and_back(h, True)
    after = h.after(lambda p: recompute(p, 0, lambda q: q))
    first = next(s for s in after.steps if s.label == "tanh")
    assert sum(s.label == "tanh" and s.read_buffers == first.read_buffers for s in after.steps) == 1


def test_a_program_that_fits_is_left_alone() -> None:
    h = Hand(256)
    forward_and_back(h, False)
    assert recompute(h.program, 5 * 1024) is h.program


def test_what_no_step_makes_is_not_computed_again() -> None:
    """Values without elements are read, and no step writes them."""
    h = Hand(0)
    y, z = h.outside(), h.outside()
    nothing, v = h.inside(), h.inside()
    h.forward("tanh", v, nothing)
    h.forward("exp", y, v)
    h.forward("neg", z, y)
    h.forward("add", z, z, v)
    assert recompute(h.program, -1, lambda q: q) is h.program


def test_what_a_step_reads_and_writes_first_is_not_computed_again() -> None:
    """A sum without elements, into which a step adds before any has written to it."""
    h = Hand(0)
    x, y, z = h.outside(), h.outside(), h.outside()
    total, v = h.inside(), h.inside()
    h.forward("add", total, total, x)
    h.forward("tanh", v, total)
    h.forward("exp", y, v)
    h.forward("neg", z, y)
    h.forward("add", z, z, v)
    assert recompute(h.program, -1) is h.program
