"""Functions whose sizes are given one by one, as one sequence, or by the name `size`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ._spelling import Spelled

F = TypeVar("F", bound=Callable[..., Any])


def sized(function: F) -> F:
    """The function with its `*size` as a keyword, too."""
    return cast(F, functools.update_wrapper(Spelled(function, (), (), {}, {}, star="size"), function))
