"""Adam, and AdamW with its decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import api
from .optimizer import Numbers, Optimizer, ParamsT, Update, check_flags, run_updates, scalar, take_back

__all__ = ["Adam", "AdamW"]

STATE = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def _numbers(group: dict[str, Any]) -> tuple[float, ...]:
    beta1, beta2 = group["betas"]
    return (
        scalar(group["lr"]),
        beta1,
        beta2,
        group["eps"],
        group["weight_decay"],
        group["maximize"],
        group["decoupled_weight_decay"],
    )


_KEYS = frozenset(("lr", "betas", "eps", "weight_decay", "maximize", "decoupled_weight_decay"))
PLAIN = Numbers(lambda group: None if group["amsgrad"] else _numbers(group), (), _KEYS)
AMSGRAD = Numbers(lambda group: _numbers(group) if group["amsgrad"] else None, (), _KEYS)


class Adam(Optimizer):
    """Steps by the running mean of the gradient over the root of the running mean of its square.

    Same numbers as torch.optim.Adam, but for the last bit of a square root now and then (PyTorch
    takes it from MKL). State per parameter: `step` (float32), `exp_avg`, `exp_avg_sq` and, with
    `amsgrad`, `max_exp_avg_sq`.

    >>> import tapegrad as torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> [round(x, 4) for x in w.tolist()]
    [0.9, 0.9]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | api.Tensor = 1e-3,
        betas: tuple[float | api.Tensor, float | api.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, api.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i in range(2):
            if not 0.0 <= betas[i] < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not (all(isinstance(b, float) for b in betas) or all(isinstance(b, api.Tensor) for b in betas)):
            raise ValueError("betas must be either both floats or both Tensors")
        check_flags(
            type(self).__name__,
            foreach=foreach,
            fused=fused,
            capturable=capturable,
            differentiable=differentiable,
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": (scalar(betas[0]), scalar(betas[1])),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("amsgrad", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("capturable", False)
            group.setdefault("differentiable", False)
            group.setdefault("decoupled_weight_decay", False)
            group.setdefault("fused", None)
            for p in group["params"]:
                own = self.state.get(p)
                if own:  # the kernel advances a float32 cell, whatever was saved
                    own["step"] = api.tensor(float(own["step"]), dtype=api.float32)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; those without one are skipped."""
        loss = None
        if closure is not None:
            with api.enable_grad():
                loss = closure()
        state = self.state
        updates: list[Update] = []
        made: list[tuple[api.Tensor, tuple[str, ...]]] = []
        try:
            for group in self.param_groups:
                amsgrad = group["amsgrad"]
                columns: tuple[list[api.Tensor], ...] = tuple([] for _ in range(6 if amsgrad else 5))
                params, grads, means, squares = columns[:4]
                steps = columns[-1]
                for p in group["params"]:
                    grad = p.grad
                    if grad is None:
                        continue
                    own = state[p]
                    if not own:
                        made.append((p, STATE))
                        own["step"] = api.zeros((), dtype=api.float32)
                        own["exp_avg"] = api.zeros_like(p)
                        own["exp_avg_sq"] = api.zeros_like(p)
                        if amsgrad:
                            own["max_exp_avg_sq"] = api.zeros_like(p)
                    params.append(p)
                    grads.append(grad)
                    means.append(own["exp_avg"])
                    squares.append(own["exp_avg_sq"])
                    if amsgrad:
                        columns[4].append(own["max_exp_avg_sq"])
                    steps.append(own["step"])
                if params:
                    name = "adam_amsgrad" if amsgrad else "adam"
                    updates.append((name, columns, AMSGRAD if amsgrad else PLAIN, group))
            run_updates(updates)
        except BaseException:
            take_back(state, made)
            raise
        return loss


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters directly: p <- p * (1 - lr * weight_decay).

    >>> import tapegrad as torch
    >>> torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).defaults["weight_decay"]
    0.01
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | api.Tensor = 1e-3,
        betas: tuple[float | api.Tensor, float | api.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
