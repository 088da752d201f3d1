"""Attributes of classes and modules that code takes by names which it computes."""

import sys
import types

import pytest
import tapegrad as torch

settings = types.ModuleType("settings")
NAMES = ["scale"]


class Settings:
    scale = 2.0


def of_a_class(x):
    return x * getattr(Settings, NAMES[0])


def of_a_module(x):
    return x * getattr(settings, NAMES[0])


def of_all(x):
    for name in dir(Settings):
        if not name.startswith("_"):
            x = x * getattr(Settings, name)
    return x


@pytest.mark.parametrize(("function", "owner"), [(of_a_class, Settings), (of_a_module, settings), (of_all, Settings)])
def test_a_number_that_changes(function, owner):
    f = torch.compile(function)
    for k in (2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0):
        owner.scale = k
        assert f(torch.ones(2)).tolist() == [k, k]
    assert f.counters.replayed >= 2


IMPORTS = """
import importlib

def of_a_sibling(x):
    from . import config
    return x * config.scale

def of_a_name_in_a_sibling(x):
    from .config import scale
    return x * scale

def of_a_module(x):
    import settings_package.config as config
    return x * config.scale

def by_a_text(x):
    return x * importlib.import_module("settings_package.config").scale
"""


@pytest.mark.parametrize("name", ["of_a_sibling", "of_a_name_in_a_sibling", "of_a_module", "by_a_text"])
def test_a_module_that_is_imported_inside(monkeypatch, name):
    package, config = types.ModuleType("settings_package"), types.ModuleType("settings_package.config")
    package.__path__ = []
    package.config = config
    monkeypatch.setitem(sys.modules, "settings_package", package)
    monkeypatch.setitem(sys.modules, "settings_package.config", config)
    place = {"__name__": "settings_package.steps", "__package__": "settings_package"}
    exec(IMPORTS, place)
    f = torch.compile(place[name])
    for k in (2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0):
        config.scale = k
        assert f(torch.ones(2)).tolist() == [k, k]
    assert f.counters.replayed >= 2
