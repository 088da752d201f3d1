"""Clipping gradients by their joint norm or by value."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable

from ... import api
from ...ops.checks import check_total_norm

__all__ = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm"]


def _norm(tensor: api.Tensor, p: float) -> api.Tensor:
    if p == 2.0:
        return tensor.norm()
    size = tensor.abs()
    if p == math.inf:
        return size.max()
    if p == -math.inf:
        return size.min()
    if p == 1.0:
        return size.sum()
    if p == 0.0:
        return (tensor != 0).sum().to(tensor.dtype)
    return (size**p).sum() ** (1.0 / p)


def get_total_norm(
    tensors: api.Tensor | Iterable[api.Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> api.Tensor:
    """The norm of all `tensors` taken as one vector, a 0-dimensional tensor."""
    tensors = [tensors] if isinstance(tensors, api.Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return api.tensor(0.0)
    with api.no_grad():
        norms = [_norm(t, norm_type) for t in tensors]
        total = _norm(api.stack(norms), norm_type)
    if error_if_nonfinite:
        check_total_norm(total, norm_type)
    return total


def clip_grad_norm_(
    parameters: api.Tensor | Iterable[api.Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> api.Tensor:
    """Scale all gradients in place so that their joint norm is at most `max_norm`; returns the norm before.

    Equal to PyTorch up to the order of summation in the norm.

    >>> import tapegrad as torch
    >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> (w * w / 2).sum().backward()
    >>> torch.nn.utils.clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> round(w.grad.norm().item(), 4)
    1.0
    """
    if isinstance(parameters, api.Tensor):
        parameters = [parameters]
    else:
        is_generator = isinstance(parameters, types.GeneratorType)
        parameters = list(parameters)
        if is_generator and not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2
            )
    grads = [p.grad for p in parameters if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    if grads:
        with api.no_grad():
            # Multiplying by a coefficient clamped to 1 as PyTorch does, so that the bits agree.
            coefficient = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
            for grad in grads:
                grad.mul_(coefficient)
    return total


def clip_grad_value_(
    parameters: api.Tensor | Iterable[api.Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamp every gradient in place to [-clip_value, clip_value].

    >>> import tapegrad as torch
    >>> w = torch.nn.Parameter(torch.tensor([3.0, -0.5]))
    >>> (w * w).sum().backward()
    >>> torch.nn.utils.clip_grad_value_([w], 2.0)
    >>> w.grad
    tensor([ 2., -1.])
    """
    if isinstance(parameters, api.Tensor):
        parameters = [parameters]
    clip_value = float(clip_value)
    with api.no_grad():
        for p in parameters:
            if p.grad is not None:
                p.grad.clamp_(min=-clip_value, max=clip_value)
