"""Results over inputs that die: where it is safe, and only there."""

from __future__ import annotations

import tapegrad as torch
from _passes import Hand, entry_of
from tapegrad.replay.passes.in_place import write_in_place
from tapegrad.replay.planning import plan_memory


def places(program) -> set[int]:
    return {n for s in program.steps for n in s.touched_buffers}


def test_a_chain_lies_in_one_buffer() -> None:
    h = Hand()
    x, y = h.outside(), h.outside()
    a, b, c = h.inside(), h.inside(), h.inside()
    h.forward("exp", a, x)
    h.forward("tanh", b, a)
    h.forward("add", c, x, b)
    h.forward("neg", y, c)
    assert places(h.after(write_in_place)) == {x, y, a}


def test_an_input_that_is_read_later_stays() -> None:
    h = Hand()
    x, y = h.outside(), h.outside()
    a, b = h.inside(), h.inside()
    h.forward("exp", a, x)
    h.forward("tanh", b, a)
    h.forward("add", y, a, b)
    assert write_in_place(h.program) is h.program


def test_what_is_seen_is_never_overwritten() -> None:
    h = Hand()
    x, y, b = h.outside(), h.outside(), h.inside()
    h.forward("tanh", b, x)
    h.forward("neg", y, b)
    assert write_in_place(h.program) is h.program


def test_two_operands_in_one_buffer_are_a_hazard() -> None:
    h = Hand(8)
    x, y = h.outside(range(8)), h.outside(range(8))
    a, b = h.inside(16), h.inside()
    h.forward("exp", a, x)
    h.copy(a, x)
    h.forward("add", b, a, (a, 16))
    h.forward("neg", y, b)
    assert write_in_place(h.program) is h.program


def test_a_broadcast_input_is_too_small() -> None:
    h = Hand()
    x, y = h.outside(), h.outside()
    a, b = h.inside(), h.inside()
    h.forward("exp", a, x)
    h.forward("add", b, x, a, steps=(1, 0, 1))
    h.forward("neg", y, b)
    assert write_in_place(h.program) is h.program


def test_gradients_go_through_an_activation_in_place() -> None:
    h = Hand()
    x, y = h.outside(), h.outside()
    a, g, gx = h.inside(), h.inside(), h.inside()
    h.forward("tanh", a, x)
    h.forward("exp", g, x)
    h.backward("tanh", gx, g, a)
    h.forward("neg", y, gx)
    assert places(h.after(write_in_place)) == {x, y, a, g}


def test_results_are_computed_where_the_caller_gets_them() -> None:
    f = torch.compile(lambda x: ((x * 2).exp() + 1).tanh(), fullgraph=True)
    x = torch.linspace(-1, 1, 100)
    results = [f(x) for _ in range(4)]
    assert plan_memory(entry_of(f).program).arena == 0
    expected = ((x * 2).exp() + 1).tanh().numpy().tobytes()
    assert [r.numpy().tobytes() for r in results] == [expected] * 4
    assert len({r.data_ptr() for r in results}) == 4
