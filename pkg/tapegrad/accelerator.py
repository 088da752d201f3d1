"""Accelerators of any kind: tensors live on the CPU in this version."""

from typing import TYPE_CHECKING

from ._missing import names_missing

__all__ = ["current_accelerator", "device_count", "is_available"]


def is_available() -> bool:
    """Whether tensors can live there: not in this version."""
    return False


def device_count() -> int:
    """The number of such devices that tensors can live on: none."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None: there is no accelerator."""
    return None


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
