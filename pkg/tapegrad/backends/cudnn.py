"""Switches of cuDNN: kept and given back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .._missing import names_missing

enabled = True
benchmark = False
benchmark_limit: int | None = None
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Whether cuDNN is used: never."""
    return False


def version() -> int | None:
    """The version of cuDNN: None."""
    return None


@contextlib.contextmanager
def flags(
    enabled: bool = False,
    benchmark: bool = False,
    benchmark_limit: int | None = 10,
    deterministic: bool = False,
    allow_tf32: bool = True,
) -> Iterator[None]:
    """The switches as given inside, as they were behind."""
    new: dict[str, Any] = {"enabled": enabled, "benchmark": benchmark, "deterministic": deterministic}
    new |= {"allow_tf32": allow_tf32, "benchmark_limit": benchmark_limit}
    old = {name: globals()[name] for name in new}
    globals().update(new)
    try:
        yield
    finally:
        globals().update(old)


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
