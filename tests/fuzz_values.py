"""Random arguments of every kind, and what is done with a result: shared by the programs of the fuzz."""

from __future__ import annotations

import numpy as np
import tapegrad as torch


class Odd:
    """An object whose every conversion fails."""

    def __index__(self):
        raise ValueError("no index")

    def __float__(self):
        raise ValueError("no float")

    def __len__(self):
        return 3


def tensor(r):
    dtype = r.choice([torch.float32, torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool])
    shape = r.choice([(), (1,), (3,), (0,), (2, 3), (3, 2), (3, 3), (1, 3), (2, 0, 3), (2, 1, 3, 2), (1,) * 8, (4, 5),
                      (17,), (2, 3, 4), (5,)])  # fmt: skip
    kind = r.random()
    if kind < 0.02:
        return torch.Tensor.__new__(torch.Tensor)
    n = int(np.prod(shape))
    values = np.array([r.choice([0, 1, 2, -1, 3, 7, 100]) for _ in range(n)], dtype=np.float64).reshape(shape)
    if r.random() < 0.1 and n:
        values.flat[r.randrange(n)] = r.choice([np.nan, np.inf, -np.inf, 1e30])
    with np.errstate(all="ignore"):
        t = torch.tensor(values.astype(dtype.numpy))
    if kind < 0.25 and t.ndim:
        t = t.transpose(0, -1)
    elif kind < 0.35 and t.ndim and t.shape[0] > 1:
        t = t[:: r.choice([1, 2])]
    elif kind < 0.45 and t.ndim < 6:
        t = t.unsqueeze(0).expand(r.choice([1, 2, 4]), *t.shape)
    elif kind < 0.5:
        t = torch.tensor([2, 0, 1])
    if t.dtype.is_floating_point and r.random() < 0.5:
        t = t.detach().requires_grad_()
        if r.random() < 0.5:
            t = t * 1
    return t


def argument(r, depth=0):
    kind = r.random()
    if kind < 0.45:
        return tensor(r)
    if kind < 0.65:
        return r.choice([0, 1, 2, 3, -1, -2, 7, -7, 100, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63), 2**63,
                         2**70, True, False])  # fmt: skip
    if kind < 0.75:
        return r.choice([0.0, 1.0, 0.5, -0.5, 1e-8, 1e30, 1e300, float("nan"), float("inf"), -float("inf"), -0.0])
    if kind < 0.8:
        return r.choice(["", "mean", "sum", "none", "x", "floor", "trunc", "fro", "cpu", "cuda", "float32"])
    if kind < 0.85:
        return r.choice([None, Ellipsis, slice(None), slice(0, 2), slice(None, None, -1), slice("a", 1.5)])
    if kind < 0.95 and depth < 2:
        items = [argument(r, depth + 1) for _ in range(r.choice([0, 1, 1, 2, 2, 3, 9]))]
        if r.random() < 0.4:
            items = [r.choice([0, 1, 2, 3, -1, 2**40, -5]) for _ in items]
        return items if r.random() < 0.5 else tuple(items)
    return r.choice([object(), Odd(), {}, {"a": 1}, b"bytes", 1j, torch.float32, torch.int64, torch.bool, int, print,
                     len, np.ones(3), np.ones((2, 2), np.int64), np.float32(2), np.int64(3), np.bool_(True), range(3),
                     torch.Size([2, 3]), torch.Tensor, iter([1]), np.ones(2, dtype="U1"), np.array(None)])  # fmt: skip


def use(result, r, depth=0):
    """What came back must bear being looked at, run backward and dropped."""
    if isinstance(result, torch.Tensor):
        if result.numel() < 10000:
            repr(result)
            result.tolist()
        if result.requires_grad and r.random() < 0.6:
            result.sum().backward() if result.dtype.is_floating_point else None
        elif result.dtype.is_floating_point and r.random() < 0.1:
            (result * 2).sum().item()
    elif isinstance(result, (tuple, list)) and depth < 2 and len(result) < 50:
        for item in result:
            use(item, r, depth + 1)
    elif isinstance(result, torch.nn.Module):
        use(result(tensor(r)), r, depth + 1)
    elif isinstance(result, torch.optim.Optimizer):
        for group in result.param_groups:
            for p in group["params"]:
                (p * p).sum().backward()
        result.step()
