"""What a class or a module gets or loses after the recording, whether or not anything had that name before."""

from __future__ import annotations

import types

import pytest
import tapegrad as torch

A = """
class A: pass
a = A()
"""
MIXIN = """
class Base:
    def scale(self): return 1
class Mixin: pass
class Net(Mixin, Base): pass
net = Net()
def f(x): return x * net.scale()
"""
TRY = """
def f(x):
    try: return x * a.k
    except AttributeError: return x
"""
META = """
class Meta(type): pass
class A(metaclass=Meta): pass
def f(x): return x * (2 if len_of() else 3)
def len_of():
    try: return len(A)
    except TypeError: return 1
"""

CASES = {
    "a method of a mixin": (MIXIN, "Mixin.scale = lambda self: 5"),
    "a method that hides one": (MIXIN, "Net.scale = lambda self: 5"),
    "other bases": (MIXIN, "Other = type('Other', (), {'scale': lambda self: 7}); Net.__bases__ = (Other,)"),
    "an attribute that was not there": (A + TRY, "A.k = 6"),
    "an attribute of a base": (A.replace("A:", "B: pass\nclass A(B):") + TRY, "B.k = 6"),
    "an attribute of the object": (A + TRY, "a.k = 6"),
    "a class attribute": (A + TRY.replace("a.k", "A.k"), "A.k = 6"),
    "length": (A + "def f(x): return x * 2 if a else x", "A.__len__ = lambda self: 0"),
    "truth": (A + "def f(x): return x * 2 if a else x", "A.__bool__ = lambda self: False"),
    "equality": (A + "b = A()\ndef f(x): return x * 2 if a == b else x", "A.__eq__ = lambda self, other: True"),
    "order": (A + "b = A()\ndef f(x):\n try: return x * (1 + (a < b))\n except TypeError: return x * 5",
              "A.__lt__ = lambda self, other: True"),
    "any attribute": (A + "def f(x): return x * getattr(a, 'k', 1)", "A.__getattr__ = lambda self, name: 4"),
    "every attribute": (A + "a.k = 2\ndef f(x): return x * a.k", "A.__getattribute__ = lambda self, name: 4"),
    "membership": (A + "def f(x):\n try: return x * (2 if 1 in a else 3)\n except TypeError: return x",
                   "A.__contains__ = lambda self, x: True"),
    "iteration": (A + "def f(x):\n try: return x * sum(a)\n except TypeError: return x",
                  "A.__iter__ = lambda self: iter([2, 3])"),
    "a call": (A + "def f(x): return x * (a() if callable(a) else 1)", "A.__call__ = lambda self: 4"),
    "a metaclass's": (META, "Meta.__len__ = lambda cls: 0"),
    "one that goes": ("class A: k = 6\na = A()\n" + TRY, "del A.k"),
    "one that goes while another comes": ("class A: k = 6; j = 1\na = A()\n" + TRY, "del A.k; A.m = 6"),
    "another comes while one goes": ("class A: j = 1\na = A()\n" + TRY, "del A.j; A.k = 6"),
    "a property": (A + "a.k = 2\ndef f(x): return x * a.k", "A.k = property(lambda self: 9)"),
    "a name of a module": ("def f(x):\n try: return x * m.k\n except AttributeError: return x", "m.k = 6"),
    "a name that a module may have": ("def f(x): return x * getattr(m, 'k', 2)", "m.k = 6"),
    "a name that a module has": ("m.k = 1\ndef f(x): return x * m.k if hasattr(m, 'k') else x * 7", "del m.k"),
}  # fmt: skip


def results(name, wrap, **more):
    setup, change = CASES[name]
    module = types.ModuleType("m_of_mine")
    space = {"torch": torch, "m": module, **more}
    exec(setup, space)
    f = wrap(space["f"])
    x = torch.ones(2)
    found = [f(x).tolist() for _ in range(4)]
    exec(change, space)
    return found + [f(x).tolist() for _ in range(4)], f


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("more", [{"__name__": "somewhere"}, {}], ids=["named", "nameless"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_seen(name, more):
    expected, _ = results(name, lambda f: f, **more)
    found, f = results(name, torch.compile, **more)
    assert found == expected
    assert expected[3] != expected[4]
    assert f.counters.replayed >= 2 or (not more and name == "other bases"), f.counters


def test_what_nobody_reads_may_change_at_each_call():
    class Counted:
        calls = 0
        factor = 2.0

    c = Counted()
    f = torch.compile(lambda x: x * c.factor)
    for k in range(8):
        Counted.calls = k
        assert f(torch.ones(1)).item() == 2.0
    assert f.counters.replayed == 6


def test_a_name_that_nobody_reads_may_come():
    class Given:
        factor = 2.0

    c = Given()
    f = torch.compile(lambda x: x * c.factor)
    for k in range(12):
        if k == 6:
            Given.note = "something"
        assert f(torch.ones(1)).item() == 2.0
    assert f.counters.replayed >= 8
    assert f.counters.eager == 0


@pytest.mark.parametrize("handler", ["except Exception:", "except:", "except AttributeError:"])
@pytest.mark.parametrize("owner", ["a", "A", "m"])
def test_what_was_missing_where_the_code_goes_on(handler, owner):
    def run(wrap):
        space = {"torch": torch, "m": types.ModuleType("m_of_mine"), "__name__": "somewhere"}
        exec(f"{A}\ndef f(x):\n try: return x * {owner}.k\n {handler} return x", space)
        f = wrap(space["f"])
        found = [f(torch.ones(1)).item() for _ in range(4)]
        exec(f"{owner}.k = 6", space)
        found += [f(torch.ones(1)).item() for _ in range(4)]
        exec(f"del {owner}.k", space)
        return found + [f(torch.ones(1)).item() for _ in range(4)]

    assert run(torch.compile) == run(lambda f: f)


def test_names_that_come_at_each_call_and_that_nobody_reads():
    class Given:
        factor = 2.0

    c = Given()
    f = torch.compile(lambda x: x * c.factor)
    for k in range(8):
        setattr(c, f"note_{k}", k)
        assert f(torch.ones(1)).item() == 2.0
    assert f.counters.replayed == 6
