"""What objects of the standard library keep that no name in the user's code tells of."""

from __future__ import annotations

import abc
import sys
import types
from collections.abc import Iterable
from typing import Any

from ._guards import View
from .code_names import COMPARES, EQUATES
from .libraries import of_library_type

__all__ = ["CHECKS", "EQUATING", "STATEFUL", "is_abstract", "is_namespace", "kept_by"]

# Packages whose objects have state that their own code reads and changes.
STATEFUL = (
    "threading", "queue", "multiprocessing", "weakref", "_weakrefset", "configparser", "string", "calendar",
)  # fmt: skip
# By which code compares namespaces; `in`, `index` and `count` do it too.
EQUATING = frozenset((EQUATES, COMPARES, "eq", "ne", "contains", "index", "count"))
CHECKS = frozenset(("isinstance", "issubclass", "__match_args__"))  # by which code asks abstract classes


def kept_by(o: Any) -> Iterable[View]:
    """Views of what decides whether a logger, or an adapter of one, would write, and of an exception's arguments."""
    logging = sys.modules.get("logging")
    if issubclass(type(o), BaseException):
        yield View({}, ("args",), o)
    elif logging is not None and issubclass(type(o), logging.LoggerAdapter):
        yield View(vars(o), ("logger",))
    elif logging is not None and issubclass(type(o), logging.Logger):
        yield View(vars(o), ("level", "disabled", "parent"))
        yield View(vars(o.manager), ("_disable",))


def is_namespace(kind: type) -> bool:
    """Whether objects of a class are mere attributes, which `==` compares all together."""
    argparse = sys.modules.get("argparse")
    return issubclass(kind, types.SimpleNamespace) or (argparse is not None and issubclass(kind, argparse.Namespace))


def is_abstract(o: Any) -> bool:
    """Whether this is a class of the user's with which other classes can be registered."""
    return issubclass(type(o), abc.ABCMeta) and not of_library_type(o)
