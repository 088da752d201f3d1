"""Tools around training: data loading, handles of hooks."""

from typing import TYPE_CHECKING

from .._missing import names_missing
from . import data, hooks

__all__ = ["data", "hooks"]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
