"""Switches of the libraries behind PyTorch. They can be set; there is nothing behind them here."""

from typing import TYPE_CHECKING

from .._missing import names_missing
from . import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
