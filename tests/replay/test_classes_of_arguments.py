"""Arguments of classes of their own: what their methods read from elsewhere, and attributes beside their value."""

import dataclasses
import enum
from typing import NamedTuple

import pytest
import tapegrad as torch

K = 2.0


class Scaled:
    def scaled(self):
        return K


class Tensor(Scaled, torch.Tensor):
    pass


class Float(Scaled, float):
    __slots__ = ()


class Int(Scaled, int):
    pass


class Text(Scaled, str):
    __slots__ = ()


class List(Scaled, list):
    pass


class Dict(Scaled, dict):
    pass


class Tuple(Scaled, tuple):
    pass


class Pair(NamedTuple):
    a: float

    def scaled(self):
        return K


class Choice(Scaled, enum.Enum):
    A = 1


class Number(Scaled, enum.IntEnum):
    A = 1


@dataclasses.dataclass
class Record(Scaled):
    a: float = 1.0


class Slotted(str):
    __slots__ = ("k",)


class Key:
    def __init__(self, k):
        self.k = k


@pytest.fixture
def factor():
    global K
    yield
    K = 2.0


@pytest.mark.usefixtures("factor")
@pytest.mark.parametrize(
    "argument",
    [
        torch.Tensor._make_subclass(Tensor, torch.ones(2)), Float(3), Int(3), Text("a"), List([1.0]), Dict(a=1.0),
        Tuple((1.0,)), Pair(1.0), Choice.A, Number.A, Record(),
    ],
    ids=lambda a: type(a).__name__,
)  # fmt: skip
def test_a_method_of_an_argument_reads_a_global(argument):
    global K
    f = torch.compile(lambda x, o: x * o.scaled())
    for k in (2.0, 2.0, 2.0, 2.0, 5.0, 5.0):
        K = k
        assert f(torch.ones(2), argument).tolist() == [k, k]
    assert f.counters.replayed >= 2


def slotted():
    text = Slotted("a")
    text.k = 2.0
    return text, lambda x, o: x * o.k, lambda o: setattr(o, "k", 5.0)


def keyed():
    return {Key(2.0): 1.0}, lambda x, o: x * sum(key.k for key in o), lambda o: setattr(next(iter(o)), "k", 5.0)


def keyed_outside():
    table, _, change = keyed()
    return 1, lambda x, o: x * sum(key.k for key in table) * o, lambda o: change(table)


@pytest.mark.parametrize("make", [slotted, keyed, keyed_outside])
def test_attributes_of_texts_and_of_keys(make):
    argument, function, change = make()
    f = torch.compile(function)
    for _ in range(4):
        assert f(torch.ones(2), argument).tolist() == [2.0, 2.0]
    assert f.counters.replayed >= 1
    change(argument)
    assert f(torch.ones(2), argument).tolist() == [5.0, 5.0]
