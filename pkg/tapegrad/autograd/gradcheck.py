"""Checks derivatives against finite differences.

Central differences in float64: (f(x + h) - f(x - h)) / 2h, element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _arrays, _tensor
from .._tensor import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative disagrees with finite differences."""


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for t in result if isinstance(t, Tensor)]


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
) -> bool:
    """True if the gradients of `func` agree with finite differences at `inputs`.

    Inputs that require gradients should be float64. GradcheckError (or False, without
    `raise_exception`) where |analytic - numeric| > atol + rtol * |numeric|, and where two backward
    passes differ by more than `nondet_tol`. ValueError if no input requires a gradient.

    >>> import tapegrad as torch
    >>> x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.exp, (x,))
    True
    """
    from . import grad

    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [x for x in args if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, "
            "but none of them have requires_grad=True."
        )
    try:
        for which, y in enumerate(_outputs(func(*args))):
            if not y.requires_grad:
                continue
            for x in checked:
                _compare(func, args, which, y, x, grad, eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    which: int,
    y: Tensor,
    x: Tensor,
    grad: Callable[..., Any],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
) -> None:
    n, m = x.numel(), y.numel()
    analytic = np.zeros((m, n))
    for j in range(m):
        seed = _tensor.zeros(y.shape, y._dt)
        seed.view(-1)[j] = 1.0
        first = _row(grad(y, x, seed, retain_graph=True, allow_unused=True)[0], n)
        second = _row(grad(y, x, seed, retain_graph=True, allow_unused=True)[0], n)
        if np.abs(first - second).max(initial=0.0) > nondet_tol:
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                "gives different values"
            )
        analytic[j] = first
    numeric = np.zeros((m, n))
    flat = x.data.reshape(-1) if x.is_contiguous() else None
    if flat is None:
        raise ValueError("gradcheck needs contiguous inputs")
    values = flat.numpy()
    for i in range(n):
        before = values[i]
        values[i] = before + eps
        up = _outputs(func(*args))[which].detach().reshape(-1).numpy().astype(np.float64).copy()
        values[i] = before - eps
        down = _outputs(func(*args))[which].detach().reshape(-1).numpy().astype(np.float64).copy()
        values[i] = before
        numeric[:, i] = (up - down) / (2 * eps)
    if not np.allclose(analytic, numeric, rtol=rtol, atol=atol, equal_nan=True):
        worst = np.abs(analytic - numeric).max()
        raise GradcheckError(
            f"Jacobian mismatch for output {which} with respect to an input of shape {list(x.shape)} "
            f"(largest difference {worst:g}),\nnumerical:{numeric}\nanalytical:{analytic}\n"
        )


def _row(g: Tensor | None, n: int) -> Any:
    return np.zeros(n) if g is None else g.detach().reshape(-1).numpy().astype(np.float64).copy()


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """True if the second derivatives of `func` agree with finite differences of the first.

    >>> import tapegrad as torch
    >>> x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradgradcheck(torch.sin, (x,))
    True
    """
    from . import grad

    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = _outputs(func(*args))
    rng = np.random.default_rng(0)
    if grad_outputs is None:
        drawn = (rng.standard_normal(tuple(y.shape)).astype(y.dtype.numpy) for y in outputs)
        seeds = [_arrays.from_numpy(numbers).requires_grad_() for numbers in drawn]
    else:
        seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    count = len(args)

    def first(*both: Any) -> tuple[Tensor, ...]:
        xs, gs = both[:count], both[count:]
        targets = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        pairs = [(y, g) for y, g in zip(_outputs(func(*xs)), gs, strict=True) if y.requires_grad]
        found = grad([y for y, _ in pairs], targets, [g for _, g in pairs], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None and g.requires_grad)

    return gradcheck(first, (*args, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)
