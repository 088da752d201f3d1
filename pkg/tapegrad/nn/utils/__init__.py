"""Helpers for training: gradient clipping, parameters as one vector."""

from typing import TYPE_CHECKING

from ..._missing import names_missing
from .clip_grad import clip_grad_norm_, clip_grad_value_, get_total_norm
from .convert_parameters import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "parameters_to_vector",
    "vector_to_parameters",
]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
