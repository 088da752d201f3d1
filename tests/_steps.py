"""Training steps that between them use what passes must respect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tapegrad as torch

F = torch.nn.functional
nn = torch.nn

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
}


def two_groups(p: Any) -> Any:
    p = list(p)
    return torch.optim.Adam([{"params": p[:1], "lr": 0.1}, {"params": p[1:]}])


OPTIMIZERS["groups"] = two_groups


def training(
    forward: Callable[[Any, Any], Any] | None = None,
    optimizer: str = "sgd",
    zero: str = "first",
    accumulate: int = 1,
    result: bool = True,
    dropout: float = 0.0,
    activation: Any = nn.ReLU,
) -> Callable[[], Any]:
    """A classifier's step; `forward(model, x)` stands for the model's call, `zero` tells where zero_grad is called."""

    def build() -> Any:
        model = nn.Sequential(
            nn.Linear(8, 16), activation(), nn.Dropout(dropout), nn.Linear(16, 16), activation(), nn.Linear(16, 4)
        )
        parameters = list(model.parameters())
        opt = OPTIMIZERS[optimizer](parameters)

        def step(x: Any, t: Any) -> Any:
            if zero == "first":
                opt.zero_grad()
            elif zero == "fill":
                opt.zero_grad(set_to_none=False)
            for _ in range(accumulate):
                loss = F.cross_entropy(forward(model, x) if forward is not None else model(x), t)
                loss.backward()
            opt.step()
            if zero == "last":
                opt.zero_grad()
            return loss if result else None

        return step, parameters, opt

    return build


def views(model: Any, x: Any) -> Any:
    h = model[0](x)
    left, right = h[:, :8], h[:, 8:]
    h = torch.cat([right.tanh(), left * 2], 1)
    return model[5](h.reshape(-1)[:].reshape(6, 16).t().t())


def in_place(model: Any, x: Any) -> Any:
    h = model[0](x)
    h.mul_(0.5).add_(1.0)
    h[:, 0].neg_()
    k = h.clone()
    k.relu_()
    k = k * 1.5
    k[:2].add_(h[2:4])
    return model[5](k)


def shared(model: Any, x: Any) -> Any:
    h = torch.tanh(model[0](x))
    for _ in range(3):
        h = torch.tanh(model[3](h) + h)
    return model[5](h)


def unused(model: Any, x: Any) -> Any:
    h = torch.relu(model[0](x))
    (h.exp() * 3).sum()
    return model[5](h)


def penalties(model: Any, x: Any) -> Any:
    h = torch.sigmoid(model[0](x))
    return model[5](h * h + h.square() - 1.0 / (h + 1)) + model[3].weight.square().sum() * 0.01


BUILDS: dict[str, Callable[[], Any]] = {
    **{f"{o}-{z}": training(optimizer=o, zero=z) for o in OPTIMIZERS for z in ("first", "last")},
    "fill": training(zero="fill", optimizer="momentum"),
    "accumulation": training(accumulate=3, zero="last", optimizer="adam"),
    "accumulation-first": training(accumulate=2),
    "dropout": training(dropout=0.5, optimizer="adam", activation=nn.Tanh),
    "gelu": training(activation=nn.GELU, zero="last"),
    "nothing": training(result=False, zero="last"),
    "views": training(views),
    "in_place": training(in_place, optimizer="adam"),
    "shared": training(shared, zero="last", optimizer="momentum"),
    "unused": training(unused),
    "penalties": training(penalties, optimizer="adam", zero="last"),
}
