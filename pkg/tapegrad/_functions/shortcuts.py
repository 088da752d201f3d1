"""Public functions that find their plan at once: see `_structured.Shortcut`.

Each keeps the signature, the errors and the text of the function that it stands for. It is a function
of its own, and not the Shortcut itself, so that it binds as a method and shows its signature.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import Any

from .._structured import Shortcut
from ..ops.registry import BY_NAME
from .base import FUNCTIONS, METHODS

_NAMES = (
    *("sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "any", "all", "softmax", "log_softmax"),
    *("logsumexp", "index_select", "matmul", "mm", "linear", "cross_entropy", "mse_loss", "cat"),
)
_OPS = {"matmul": "mm"}  # the op that a function ends in, where that has another name

# By the number of parameters. Their names and defaults are put in from the function that is stood for: compiling
# a text with them would take five times as long when tapegrad is imported.
_FORMS: dict[int, Callable[[Shortcut], Any]] = {
    2: lambda shortcut: lambda a, b: shortcut(a, b),
    3: lambda shortcut: lambda a, b, c: shortcut(a, b, c),
    4: lambda shortcut: lambda a, b, c, d: shortcut(a, b, c, d),
    6: lambda shortcut: lambda a, b, c, d, e, f: shortcut(a, b, c, d, e, f),
}


def shorten() -> None:
    """Puts the shortcuts in the place of what they stand for."""
    codes: dict[tuple[str, ...], CodeType] = {}  # by the names of the parameters
    for name in _NAMES:
        function = FUNCTIONS[name]
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        short = _FORMS[len(names)](Shortcut(function, BY_NAME[_OPS.get(name, name)]))
        if names not in codes:
            codes[names] = short.__code__.replace(co_varnames=names, co_name="short")
        short.__code__ = codes[names]
        short.__defaults__ = function.__defaults__
        FUNCTIONS[name] = functools.update_wrapper(short, function)
        if METHODS.get(name) is function:
            METHODS[name] = short
