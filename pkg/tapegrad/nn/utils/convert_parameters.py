"""Parameters as one flat vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ... import api

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[api.Tensor]) -> api.Tensor:
    """All parameters flattened and concatenated, in order.

    >>> import tapegrad as torch
    >>> torch.nn.utils.parameters_to_vector(torch.nn.Linear(3, 2).parameters()).shape
    torch.Size([8])
    """
    return api.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: api.Tensor, parameters: Iterable[api.Tensor]) -> None:
    """Give each parameter its slice of `vec` as data (shared memory, as in PyTorch)."""
    if not isinstance(vec, api.Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for p in parameters:
        n = p.numel()
        p.data = vec[start : start + n].view_as(p).data
        start += n
