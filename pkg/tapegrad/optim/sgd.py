"""Stochastic gradient descent, optionally with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import api
from .optimizer import Numbers, Optimizer, ParamsT, Update, check_flags, run_updates, scalar, take_back

__all__ = ["SGD"]


def _plain(group: dict[str, Any]) -> tuple[float, ...] | None:
    if group["momentum"] != 0:
        return None
    return scalar(group["lr"]), group["weight_decay"], group["maximize"]


def _with_momentum(group: dict[str, Any]) -> tuple[float, ...] | None:
    if group["momentum"] == 0:
        return None
    return (
        scalar(group["lr"]),
        group["weight_decay"],
        group["maximize"],
        group["momentum"],
        group["dampening"],
        group["nesterov"],
    )


_KEYS = frozenset(("lr", "weight_decay", "maximize", "momentum", "dampening", "nesterov"))
PLAIN = Numbers(_plain, (), _KEYS)
FIRST = Numbers(_with_momentum, (1.0,), _KEYS)
LATER = Numbers(_with_momentum, (0.0,), _KEYS)


class SGD(Optimizer):
    """p <- p - lr * d, where d is the gradient or its running sum.

    With momentum, buffer <- momentum * buffer + (1 - dampening) * gradient; the first gradient is
    copied. Same numbers as torch.optim.SGD.

    >>> import tapegrad as torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.SGD([w], lr=0.5, momentum=0.9)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | api.Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if isinstance(lr, api.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_flags("SGD", foreach=foreach, fused=fused, differentiable=differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("nesterov", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("differentiable", False)
            group.setdefault("fused", False)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; those without one are skipped."""
        loss = None
        if closure is not None:
            with api.enable_grad():
                loss = closure()
        updates: list[Update] = []
        made: list[tuple[api.Tensor, tuple[str, ...]]] = []
        try:
            for group in self.param_groups:
                if group["momentum"] != 0:
                    self._plan_momentum(group, updates, made)
                    continue
                params = []
                grads = []
                for p in group["params"]:
                    grad = p.grad
                    if grad is not None:
                        params.append(p)
                        grads.append(grad)
                if params:
                    updates.append(("sgd", (params, grads), PLAIN, group))
            run_updates(updates)
        except BaseException:
            take_back(self.state, made)
            raise
        return loss

    def _plan_momentum(
        self, group: dict[str, Any], updates: list[Update], made: list[tuple[api.Tensor, tuple[str, ...]]]
    ) -> None:
        later: tuple[list[api.Tensor], ...] = ([], [], [])
        first: tuple[list[api.Tensor], ...] = ([], [], [])
        state = self.state
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            own = state[p]
            buffer = own.get("momentum_buffer")
            params, grads, buffers = later if buffer is not None else first
            if buffer is None:
                made.append((p, ("momentum_buffer",)))
                buffer = own["momentum_buffer"] = api.zeros_like(p)
            params.append(p)
            grads.append(grad)
            buffers.append(buffer)
        if later[0]:
            updates.append(("sgd_momentum", later, LATER, group))
        if first[0]:
            updates.append(("sgd_momentum", first, FIRST, group))
