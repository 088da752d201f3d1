"""Users' code is theirs wherever it lies and whatever its file is called; state in C is refused."""

from __future__ import annotations

import decimal
import functools
import importlib
import re
import sys
import types
import warnings
import xml.etree.ElementTree as Elements
import zoneinfo
from fractions import Fraction

import numba
import numpy as np
import pytest
import tapegrad as torch
from tapegrad.replay.in_c import hides_state
from tapegrad.replay.libraries import library_module, of_library, standard

TRAIN = """
import tapegrad as torch
from {helper} import scaled

FACTOR = 2.0
model = torch.nn.Linear(3, 3)

class Settings:
    offset = 1.0

def step(x):
    return scaled(model(x)) * FACTOR + Settings.offset
"""
HELPER = """
SCALE = 3.0

def scaled(x):
    return x * SCALE
"""
X = torch.ones(2, 3)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A maker of a user's modules in a folder, under these names."""

    def make(folder, train, helper):
        place = tmp_path / folder
        for name, text in ((train, TRAIN.format(helper=helper)), (helper, HELPER)):
            *packages, file = name.split(".")
            where = place.joinpath(*packages)
            where.mkdir(parents=True, exist_ok=True)
            for k in range(len(packages)):
                place.joinpath(*packages[: k + 1], "__init__.py").touch()
            (where / f"{file}.py").write_text(text)
        monkeypatch.syspath_prepend(str(place))
        for name in (train, helper):
            for k in range(name.count(".") + 1):
                above = ".".join(name.split(".")[: k + 1])
                monkeypatch.setitem(sys.modules, above, None)
                del sys.modules[above]
        return importlib.import_module(train), importlib.import_module(helper)

    return make


PLACES = [
    ("lib/site-packages", "ours.train", "ours.helper"),
    ("lib/dist-packages", "ours.train", "ours.helper"),
    ("src", "profile", "trace"),
    ("src", "code.train", "code.helper"),
    ("src", "tabnanny", "this"),
]


@pytest.mark.parametrize(("folder", "train", "helper"), PLACES)
def test_what_changes_in_users_modules_is_seen(project, folder, train, helper):
    mine, other = project(folder, train, helper)
    f = torch.compile(mine.step)

    def check():
        for _ in range(4):
            assert torch.equal(f(X), mine.step(X))

    check()
    assert f.counters.replayed == 2
    mine.FACTOR = 5.0
    check()
    mine.model = torch.nn.Linear(3, 3)
    check()
    other.SCALE = 7.0
    check()
    mine.Settings.offset = -1.0
    check()
    mine.scaled = lambda x: x - 1
    check()
    assert f.counters.replayed == 12


def test_helpers_that_took_the_name_of_a_library_function():
    scale = types.SimpleNamespace(factor=2.0)

    @functools.wraps(np.sum)
    def helper(x):
        return x * scale.factor

    f = torch.compile(lambda x: helper(x))
    for k in range(12):
        scale.factor = 1.0 + k // 4
        assert torch.equal(f(X), X * scale.factor)
    assert f.counters.replayed == 6


def test_libraries_are_known_by_their_files():
    assert standard("json.decoder")
    assert standard("_json")
    assert standard("sys")
    assert not standard("numpy")
    assert library_module("numpy.linalg")
    assert library_module("tapegrad.nn")
    assert not library_module(__name__)
    assert of_library(re.compile)
    assert of_library(np.linalg.norm.__wrapped__)
    assert of_library(torch.nn.Module.train)
    assert not of_library(table)


class Derived(decimal.Context):
    pass


def table():
    made = numba.typed.Dict.empty(numba.types.unicode_type, numba.types.float64)
    made["scale"] = 2.0
    return made


def element():
    made = Elements.Element("settings")
    made.set("scale", "2.0")
    return made


def elements_scale(o):
    return float(o.get("scale"))


CASES = {
    "numba.typed.Dict": (table, lambda o: o["scale"], lambda o, v: o.__setitem__("scale", v)),
    "Element": (element, elements_scale, lambda o, v: o.set("scale", str(v))),
    "decimal.Context": (lambda: decimal.Context(prec=2), lambda o: o.prec, lambda o, v: setattr(o, "prec", int(v))),
    "derived": (lambda: Derived(prec=2), lambda o: o.prec, lambda o, v: setattr(o, "prec", int(v))),
}


@pytest.mark.parametrize("argument", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_state_in_c_is_refused_by_name(case, argument):
    make, read, write = CASES[case]
    settings = make()
    f = torch.compile((lambda x, o: x * read(o)) if argument else lambda x: x * read(settings))

    def run():
        for v in (2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 3.0):
            write(settings, v)
            assert torch.equal(f(X, settings) if argument else f(X), X * v)

    name = "an argument" if argument else "settings"
    with pytest.warns(UserWarning, match=rf"what {name}.* holds cannot be compared \(it is in C: .*pass what is used"):
        run()
    assert f.counters.replayed == 0


@numba.njit
def compiled_by_numba(a):
    return a + 1.0


FIXED = {
    "pattern": re.compile("a"),
    "match": re.match("a", "a"),
    "decimal": decimal.Decimal("1.5"),
    "fraction": Fraction(1, 2),
    "dtype": np.dtype("f4"),
    "ufunc": np.add,
    "zone": zoneinfo.ZoneInfo("UTC"),
    "function": compiled_by_numba,
    "generator": torch.Generator(),
    "array": np.ones(2),
    "bits": np.random.PCG64(0),
}


@pytest.mark.parametrize("what", FIXED)
def test_what_cannot_change_or_can_be_compared_is_replayed(what):
    o = FIXED[what]

    def step(x):
        return x * 2 if o is not None and str(o) else x

    f = torch.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            assert torch.equal(f(X), X * 2)
    assert f.counters.replayed == 3


def test_no_class_of_the_users_or_of_tapegrad_hides_state():
    class Mine:
        __slots__ = ("a", "b")

    class Below(Mine):
        pass

    for kind in (Mine, Below, torch.nn.Linear, torch.Tensor, torch.Generator, types.SimpleNamespace, dict, Fraction):
        assert not hides_state(kind), kind


def test_the_context_of_decimals_is_seen():
    one, three = decimal.Decimal(1), decimal.Decimal(3)
    f = torch.compile(lambda x: x * float(one / three))
    g = torch.compile(lambda x: x * float(decimal.Decimal("1.2345678") + 0))
    with decimal.localcontext() as context:
        for k in range(12):
            context.prec = 3 + 2 * (k // 4)
            assert torch.equal(f(X), X * float(one / three))
            assert torch.equal(g(X), X * float(decimal.Decimal("1.2345678") + 0))
    assert f.counters.replayed == g.counters.replayed == 6
