"""Switches of CUDA's libraries: kept and given back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from .._missing import names_missing

__all__ = ["is_built", "matmul"]

matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False,
    fp32_precision="none",
)


def is_built() -> bool:
    """Whether tapegrad was built for CUDA: no."""
    return False


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
