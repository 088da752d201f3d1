"""Training in several processes: not in this version, and programs that ask are told so."""

from typing import TYPE_CHECKING

from ._missing import names_missing

__all__ = ["is_available", "is_initialized"]


def is_available() -> bool:
    """Whether processes can train together: not in this version."""
    return False


def is_initialized() -> bool:
    """Whether this process is one of several: no."""
    return False


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
