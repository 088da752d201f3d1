"""The instructions of random programs: each makes one more value of those there are, or changes one."""

from __future__ import annotations

import tapegrad as torch
import tapegrad.nn.functional as F

__all__ = ["flat", "inner_function", "instruction"]

UNARY = [
    torch.tanh, torch.sigmoid, torch.relu, torch.neg, torch.abs, F.gelu, F.softplus, F.silu, torch.erf, torch.sin,
    lambda v: v * v, lambda v: (v * 0.1).exp(), lambda v: (v.abs() + 1).sqrt(), lambda v: torch.log1p(v.abs()),
    lambda v: v.clamp(-0.5, 0.5), lambda v: v**3, lambda v: 1.0 - v, lambda v: v / 3, lambda v: v.square() + 1,
    lambda v: F.leaky_relu(v, 0.1), lambda v: v.sign(), lambda v: v.floor(), lambda v: (v.abs() + 1).rsqrt(),
    lambda v: (v * 0.1).expm1(), F.elu, F.logsigmoid, torch.cos, lambda v: (v.abs() + 1).reciprocal(),
    lambda v: v.round() - v.trunc(), lambda v: (v.abs() + 1) ** 0.5, lambda v: 2.0**v.clamp(-2, 2), lambda v: v % 0.7,
    lambda v: v.detach() // 0.7, lambda v: torch.where(v > 0, v, 0.25), lambda v: (v > 0) & (v < 1), lambda v: v.int(),
    lambda v: (v != v) | (v >= 0.5),
]  # fmt: skip
BINARY = [
    torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda a, b: a / (1 + b.abs()),
    lambda a, b: torch.where(a > b, a, b * 2), lambda a, b: torch.lerp(a, b, 0.3),
    lambda a, b: torch.addcmul(a, a, b, value=0.5), lambda a, b: (a - b).square(), lambda a, b: a * (b > 0),
]  # fmt: skip
REDUCE = [
    lambda v, d: v.sum(d), lambda v, d: v.mean(d), lambda v, d: v.amax(d), lambda v, d: v.logsumexp(d),
    lambda v, d: v.softmax(d), lambda v, d: v.log_softmax(d), lambda v, d: v.sum(d, keepdim=True),
    lambda v, d: v.max(d).values, lambda v, d: v - v.mean(d, keepdim=True), lambda v, d: v.norm(),
    lambda v, d: v.var(d, unbiased=False), lambda v, d: v.sum(), lambda v, d: v.mean(), lambda v, d: v.argmax(d),
]  # fmt: skip
VIEWS = [
    lambda v, k: v.t() if v.ndim <= 2 else v.transpose(0, 1), lambda v, k: v.reshape(-1), lambda v, k: v.unsqueeze(k),
    lambda v, k: v[..., k:], lambda v, k: v[:1] if v.ndim else v, lambda v, k: v.flatten()[::2],
    lambda v, k: v.expand(2, *v.shape) if v.ndim < 3 else v, lambda v, k: v.movedim(0, -1) if v.ndim else v,
    lambda v, k: v.contiguous(), lambda v, k: v.detach(), lambda v, k: v.clone(), lambda v, k: v.squeeze(),
    lambda v, k: v.view(v.shape), lambda v, k: v.select(0, 0) if v.ndim and len(v) else v,
    lambda v, k: v.double().float(), lambda v, k: v.unbind(0)[-1] if v.ndim and len(v) else v,
]  # fmt: skip
JOIN = [
    lambda a, b: torch.cat([a.reshape(-1), b.reshape(-1)]), lambda a, b: torch.stack([a, a]) if a.ndim < 3 else a,
    lambda a, b: torch.cat([a, a * 2], -1) if a.ndim else a,
    lambda a, b: torch.cat([a, b.new_ones(a.shape)]) if a.ndim else a,
]  # fmt: skip
INPLACE = [
    lambda v, o: v.mul_(0.5), lambda v, o: v.add_(1.0), lambda v, o: v.add_(o), lambda v, o: v.mul_(o),
    lambda v, o: v.copy_(o), lambda v, o: v.tanh_(), lambda v, o: v.zero_(), lambda v, o: v.clamp_(-1, 1),
    lambda v, o: v.addcmul_(o, o), lambda v, o: v.normal_(),
]  # fmt: skip


def inner_function():
    """A function that is compiled by itself."""
    return torch.compile(lambda v, k: F.silu(v * k) + v.sum())


def bend(a, b):
    """b in a shape that broadcasts to a's."""
    return b if tuple(b.shape[-1:]) in {tuple(a.shape[-1:]), (1,), ()} and b.ndim <= min(a.ndim, 1) else b.sum()


def flat(v, n):
    """The values of v as rows of n."""
    rows = v.numel() // n
    return v.reshape(-1)[: rows * n].reshape(rows, n)


def instruction(w, code, values, given):
    """One more value, or a change of one."""
    kind, which, i, j = code
    a, b = values[i % len(values)], values[j % len(values)]
    if a.numel() > 400:
        a = a.reshape(-1)[:64]
    if not a.is_floating_point():
        a = a.float()
    if not b.is_floating_point():
        b = b.float()
    k = j % 2
    if kind == "unary":
        return UNARY[which % len(UNARY)](a)
    if kind == "binary":
        return BINARY[which % len(BINARY)](a, bend(a, b))
    if kind == "reduce":
        return (
            REDUCE[which % len(REDUCE)](a, j % a.ndim - (a.ndim if which % 2 else 0))
            if a.ndim and a.numel()
            else a.sum()
        )
    if kind == "view":
        return VIEWS[which % len(VIEWS)](a, k if a.ndim else 0) if a.ndim else a * 1
    if kind == "join":
        return JOIN[which % len(JOIN)](a, b)
    if kind == "linear":
        n = w.layers[j % len(w.layers)].in_features
        rows = a if a.ndim and a.shape[-1] == n else flat(a, n)
        return w.layers[j % len(w.layers)](rows)
    if kind == "matmul":
        rows = a if a.ndim == 2 else flat(a, 2)
        return [
            lambda: rows @ rows.t(),
            lambda: rows.t() @ rows,
            lambda: rows.mean(0) @ rows.t(),
            lambda: rows[None] @ rows.t(),
        ][which % 4]()
    if kind == "index":
        flat_a = a.reshape(-1)
        if not len(flat_a):
            return flat_a
        places = torch.tensor([0, -1, i % len(flat_a), 0])
        return [
            lambda: flat_a[places], lambda: flat_a.index_select(0, torch.tensor([0, 0])),
            lambda: flat_a.gather(0, torch.tensor([0])),
            lambda: a.masked_fill(a > 0, 0.25), lambda: a.tril() if a.ndim == 2 else a,
            lambda: flat_a[flat_a.argmax()[None]],
            lambda: torch.zeros(3).scatter_add(0, torch.tensor([2, 0]), flat_a[torch.tensor([0, 0])]),
        ][which % 7]()  # fmt: skip
    if kind == "lookup":  # in a call of the event "wrong" it fails, and nothing after it may have happened
        flat_a = a.reshape(-1)
        if not len(flat_a):
            return flat_a
        return [
            lambda: flat_a[w.places], lambda: flat_a.index_select(0, w.places), lambda: flat_a.gather(0, w.places),
            lambda: F.one_hot(w.places, 5) * flat_a[0], lambda: F.nll_loss(flat_a[None, :1], w.places[:1]),
        ][which % 5]()  # fmt: skip
    if kind == "forget":  # what gradients there are, in the middle
        w.optimizer.zero_grad(set_to_none=bool(which % 3))
        return a * 2
    if kind == "inplace":
        target = a.clone() if which % 3 else a * 1
        if which % 2 and target.ndim and len(target):
            INPLACE[j % len(INPLACE)](target[0], b.sum())
        else:
            INPLACE[j % len(INPLACE)](target, b.sum())
        return target
    if kind == "overwrite":  # a value that others may have saved: eager code raises, and so must the compiled
        if (a.requires_grad and a.is_leaf) or (which % 3 and any(a is t for t in given)):
            return a.detach() + 1
        return INPLACE[which % len(INPLACE)](a, b.detach().sum())
    if kind == "random":
        return [
            lambda: F.dropout(a, 0.4, w.layers[0].training), lambda: a + torch.randn(a.shape) * 0.1,
            lambda: a * torch.rand_like(a),
            lambda: a + torch.randn(a.shape, generator=w.generator),
            lambda: a * torch.bernoulli(torch.full_like(a, 0.5)),
            lambda: a.reshape(-1)[torch.randperm(a.numel())],
        ][which % 6]()  # fmt: skip
    if kind == "state":
        with torch.no_grad():
            s = w.state[j % len(w.state)]
            [
                lambda: s.mul_(0.9).add_(a.detach().sum()),
                lambda: s.copy_(b.detach().sum()),
                lambda: s[0].add_(1),
                lambda: s.neg_(),
            ][which % 4]()
        return s * 1 if i % 2 else s
    if kind == "parameter":
        with torch.no_grad():
            p = w.layers[j % len(w.layers)].bias
            [lambda: p.mul_(0.99), lambda: p.data.add_(0.001), lambda: p.clamp_(-1, 1)][which % 3]()
        return p
    if kind == "grad":
        if not a.requires_grad:
            return a * 0.5
        (g,) = torch.autograd.grad(a.tanh().sum(), [values[0] if values[0].requires_grad else w.layers[0].weight],
                                   create_graph=bool(which % 2), retain_graph=True, allow_unused=True)  # fmt: skip
        return a * 1 if g is None else g
    if kind == "backward":
        if a.requires_grad:
            a.sum().backward(retain_graph=True)
        return a.detach()
    if kind == "derivative":  # by a leaf that is made here, or by the argument
        given_now = given[j % 2]
        leaf = [a.clone().detach(), a.detach(), torch.rand(3), given_now][which % 4]
        if not leaf.is_leaf or not leaf.is_floating_point():
            return a * 1
        leaf.requires_grad_()
        out = UNARY[i % len(UNARY)](leaf).square().sum() + a.sum()
        if which % 3 == 0:
            out.backward(retain_graph=True)
        (g,) = torch.autograd.grad(out, [leaf], create_graph=True)
        return g.sum() + out if which % 5 else leaf
    if kind == "switch":
        [w.layers, w.layers[0], w.layers[0], w.layers[1]][which % 4].train(i % 2 == 0)
        return a
    if kind == "freeze":  # a leaf, for the rest of the step or until it is thawed
        for p in [w.layers, w.layers[0], w.layers[1], w.layers[2]][j % 4].parameters():
            if which % 4 == 2:
                p.detach_()
            else:
                p.requires_grad = which % 4 < 2
        return a
    if kind == "read":  # Python has to know a value, in evaluation only
        return a if w.layers.training else a * (0.5 if a.detach().sum().item() > 0 else 2)
    if kind == "shape":
        rows = a if a.ndim == 2 and len(a) else flat(a, 2)
        return [
            lambda: torch.cat(rows.split(1 + k, 0), 1) if len(rows) % (1 + k) == 0 and len(rows) else rows,
            lambda: rows.chunk(2, 1)[-1], lambda: rows.permute(1, 0), lambda: rows.triu(k), lambda: rows.repeat(2, 1),
            lambda: a.flatten().unflatten(0, (-1, 1)) if a.numel() else a, lambda: rows.narrow(1, k, 1),
            lambda: torch.stack([rows, rows * 2], k).sum(1), lambda: rows.mT @ rows, lambda: a.reshape(-1).prod(),
            lambda: torch.bmm(rows[None], rows.t()[None]), lambda: rows.std(0) if len(rows) > 1 else rows,
            lambda: rows.t()[k].dot(rows.t()[0]), lambda: rows.broadcast_to(2, *rows.shape).sum(0),
        ][which % 14]()  # fmt: skip
    if kind == "loss":
        target = bend(a, b).detach().expand(a.shape) if which % 2 else bend(a, b).expand(a.shape)
        reduction = ["mean", "sum", "none"][i % 3]
        criterion = [F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, F.binary_cross_entropy_with_logits]
        return criterion[j % 5](a, target, reduction=reduction)
    if kind == "nested":  # a compiled function in a compiled function
        return w.inner(a, b.sum()) if which % 2 else w.inner(a.detach(), b.detach().sum())
    if kind == "modes":
        with torch.no_grad():
            inside = a * 2
            with torch.enable_grad():
                again = a * 3
        with torch.set_grad_enabled(bool(which % 2)):
            return inside + again + a
    if kind == "assign":
        p = w.layers[j % len(w.layers)].bias
        if p.requires_grad:
            with torch.no_grad():
                p.grad = [
                    lambda: torch.ones_like(p), lambda: None, lambda: p.grad if p.grad is None else p.grad * 0.5,
                    lambda: p.grad if p.grad is None else p.grad.mul_(2), lambda: p.detach().clone(),
                ][which % 5]()  # fmt: skip
        return a * 1 if p.grad is None else a + p.grad.sum()
    if kind == "fold":  # a recurrence
        h = b.detach().sum() * 0.1
        for part in a.reshape(-1)[:5].unbind(0):
            h = (h * 0.5 + part).tanh()
        return h
    if kind == "nograd":
        with torch.no_grad():
            return UNARY[which % len(UNARY)](a)
    raise AssertionError(kind)
