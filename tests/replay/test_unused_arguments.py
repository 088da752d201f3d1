"""Numbers among the arguments that a function never looks at: the index of a batch, say."""

from __future__ import annotations

import functools

import pytest
import tapegrad as torch
from tapegrad.replay.code_names import unused_by


def with_index(x, i):
    return x * 2


def with_keyword(x, *, i=0):
    return x * 2


def with_default(x, i=0, name="a"):
    return x * 2


class Model:
    def step(self, x, i):
        return x * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda f: lambda x, i: f(with_index)(x, i),
        lambda f: lambda x, i: f(with_index)(i=i, x=x),
        lambda f: lambda x, i: f(with_keyword)(x, i=i),
        lambda f: lambda x, i: f(with_default)(x, float(i), str(i)),
        lambda f: lambda x, i: f(Model().step)(x, i),
        lambda f: lambda x, i: f(Model.step)(None, x, i),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_one_program_serves_all_numbers(call, check):
    made = []

    @functools.cache
    def compiled(f):
        made.append(torch.compile(f, check=check, fullgraph=True))
        return made[-1]

    step = call(lambda f: made[0] if made else compiled(f))
    for i in range(8):
        assert step(torch.full((2,), float(i)), i).tolist() == [2 * i] * 2
    assert made[0].counters.replayed == 6, made[0].counters


def used_inside(x, i):
    return sum(x * i for _ in range(1))


def used_in_a_function(x, i):
    return (lambda: x * i)()


def used_by_locals(x, i):
    return x * locals()["i"]


def changed(x, i):
    i += 1
    return x * i


def used_by_eval(x, i):
    return x * eval("i")


def given_on(x, *rest, **named):
    return x * rest[0]


@pytest.mark.parametrize(
    "fn", [used_inside, used_in_a_function, used_by_locals, changed, given_on, lambda x, i: x * i, lambda x, i=1: x * i]
)
def test_what_is_used_makes_a_program_of_its_own(fn):
    f = torch.compile(fn)
    for i in (1, 1, 1, 2, 2, 2, 1):
        x = torch.ones(2)
        assert f(x, i).tolist() == fn(x, i).tolist()


def test_the_parameters_that_are_not_used():
    def f(a, b, c, /, d, e, *, g, h):
        return b, e, h

    assert unused_by(f) == {0, 2, 3, "d", "g"}
    assert unused_by(Model().step) & {0, 1, "x", "i"} == {1, "i"}
    assert unused_by(used_by_eval) == unused_by(used_by_locals) == frozenset()
    assert unused_by(print) == unused_by(functools.partial(f, 1)) == frozenset()


def test_a_positional_parameter_is_not_the_keyword_of_its_name():
    def f(i, /, x, **named):
        return x * named["i"]

    compiled = torch.compile(f)
    for i in (1, 1, 1, 2, 2):
        assert compiled(7, torch.ones(2), i=i).tolist() == [i, i]


def test_other_things_than_numbers_are_told_apart():
    """A tensor, a list or an object in the place of the number is another form of the call."""
    f = torch.compile(with_index)
    for i in (1, 2, "3", None, 4.0, True):
        assert f(torch.ones(2), i).tolist() == [2, 2]
    assert f.counters.replayed == 4
    for i in (torch.ones(3), [1], Model(), torch.ones(3), [1], torch.zeros(3)):
        assert f(torch.ones(2), i).tolist() == [2, 2]
    assert f(torch.ones(2), 5).tolist() == [2, 2]
    assert f.counters.replayed >= 6


def test_code_that_is_exchanged():
    def f(x, i):
        return x * 2

    compiled = torch.compile(f)
    for i in range(4):
        assert compiled(torch.ones(2), i).tolist() == [2, 2]
    f.__code__ = (lambda x, i: x * i).__code__
    for i in (3, 3, 3, 4, 4):
        assert compiled(torch.ones(2), i).tolist() == [i, i]
