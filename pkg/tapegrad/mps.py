"""Apple's GPUs: tensors live on the CPU in this version."""

from typing import TYPE_CHECKING

from ._missing import names_missing

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed"]


def is_available() -> bool:
    """Whether tensors can live there: not in this version."""
    return False


def device_count() -> int:
    """The number of such devices that tensors can live on: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Seeds the generators of these devices: there are none."""
    int(seed)


def empty_cache() -> None:
    """Gives back cached memory of these devices: there is none."""


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
