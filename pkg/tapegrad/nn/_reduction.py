"""The `reduction` argument of the losses, with the two old flags that preceded it."""

from __future__ import annotations

import warnings

from .. import api


def resolve(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction meant; ValueError if it is none of 'none', 'mean', 'sum'."""
    if size_average is not None or reduce is not None:
        average = True if size_average is None else size_average
        some = True if reduce is None else reduce
        reduction = "none" if not some else "mean" if average else "sum"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=4,
        )
    elif reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def apply(loss: api.Tensor, reduction: str) -> api.Tensor:
    """`loss` reduced over all its elements."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss
