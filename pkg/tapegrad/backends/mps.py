"""Apple's GPUs: not used."""

from typing import TYPE_CHECKING

from .._missing import names_missing

__all__ = ["is_available", "is_built"]


def is_available() -> bool:
    """Whether tensors can live on such a GPU: not in this version."""
    return False


def is_built() -> bool:
    """Whether tapegrad was built for such GPUs: no."""
    return False


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
