"""Random programs, run eagerly and compiled from the same state: everything is bit-identical after every call.

A program is a list of instructions on a stack of values; an instruction picks its operands by number and bends
them into shape, so that every list is a program. TAPEGRAD_REPLAY_SECONDS makes the run longer.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from itertools import chain
from types import SimpleNamespace as namespace

import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _twins import Twins, world
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("TAPEGRAD_REPLAY_SECONDS", "12"))
FIRST = int(os.environ.get("TAPEGRAD_REPLAY_SEED", "0"))
LOG = os.environ.get("TAPEGRAD_REPLAY_LOG")  # where the last program is written, in case the process dies

UNARY = [
    torch.tanh, torch.sigmoid, torch.relu, torch.neg, torch.abs, F.gelu, F.softplus, F.silu, torch.erf, torch.sin,
    lambda v: v * v, lambda v: (v * 0.1).exp(), lambda v: (v.abs() + 1).sqrt(), lambda v: torch.log1p(v.abs()),
    lambda v: v.clamp(-0.5, 0.5), lambda v: v**3, lambda v: 1.0 - v, lambda v: v / 3, lambda v: v.square() + 1,
    lambda v: F.leaky_relu(v, 0.1), lambda v: v.sign(), lambda v: v.floor(), lambda v: (v.abs() + 1).rsqrt(),
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
            lambda: F.embedding(w.places, flat_a[:, None]), lambda: F.nll_loss(flat_a[None, :1], w.places[:1]),
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
    if kind == "read":  # Python has to know a value, in evaluation only
        return a if w.layers.training else a * (0.5 if a.detach().sum().item() > 0 else 2)
    if kind == "nograd":
        with torch.no_grad():
            return UNARY[which % len(UNARY)](a)
    raise AssertionError(kind)


def step_of(w, program):
    """The function: values from instructions, a loss, its backward pass, an update."""

    def step(x, y):
        values = [x, w.layers[0].weight, w.state[0], y]
        if program.zero == "before":
            w.optimizer.zero_grad(set_to_none=program.to_none)
        values.append(w.layers[0](x if x.shape[-1] == 4 else flat(x, 4)))
        for code in program.codes:
            values.append(instruction(w, code, values, (x, y)))
        loss = sum((v.float().sum() * 0.01).tanh() for v in values[-program.last :])
        loss = (
            loss + F.cross_entropy(values[4], torch.zeros(len(values[4]), dtype=torch.int64))
            if program.last % 2
            else loss
        )
        if program.backward and loss.requires_grad:
            loss.backward(retain_graph=program.backward == 2)
            if program.clip == 1:
                torch.nn.utils.clip_grad_norm_(w.optimizer.param_groups[0]["params"], 0.1)
            elif program.clip == 2:
                torch.nn.utils.clip_grad_value_(w.optimizer.param_groups[0]["params"], 0.01)
            if program.update:
                w.optimizer.step()
            if program.zero == "after":
                w.optimizer.zero_grad(set_to_none=program.to_none)
        return [loss, (loss, {"v": values[-1]}), [loss, values[-2], values[-1]], loss.detach(), None][
            program.result % 5
        ]

    return step


def make(program):
    def build():
        layers = torch.nn.ModuleList([torch.nn.Linear(4, 3), torch.nn.Linear(3, 4), torch.nn.Linear(4, 4, bias=True)])
        parameters = list(layers.parameters())
        optimizer = [
            lambda: torch.optim.SGD(parameters, lr=0.1),
            lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
            lambda: torch.optim.Adam(parameters, lr=0.01), lambda: torch.optim.AdamW(parameters, lr=0.01, amsgrad=True),
            lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.5, dampening=0.1, weight_decay=0.01),
        ][program.optimizer % 5]()  # fmt: skip
        w = world(
            layers=layers, optimizer=optimizer, state=[torch.zeros(3), torch.ones(2, 2)[1]],
            generator=torch.Generator().manual_seed(3), places=torch.zeros(2, dtype=torch.int64),
        )  # fmt: skip
        w.step = step_of(w, program)
        return w

    return build


KINDS = (
    ["unary", "binary"] * 4 + ["reduce", "view", "linear"] * 3 + ["join", "matmul", "index", "inplace", "random"] * 2
    + ["overwrite", "state", "parameter", "grad", "backward", "nograd", "derivative", "read", "backward", "forget"]
    + ["lookup"] * 3
)  # fmt: skip
number = st.integers(0, 40)
any_code = st.tuples(st.sampled_from(KINDS), number, number, number)
some_codes = st.lists(any_code, min_size=0, max_size=12)
few_codes = st.lists(any_code, min_size=0, max_size=3)
lookup = st.tuples(st.just("lookup"), number, number, number)
broken = st.tuples(few_codes, st.just([("backward", 0, 4, 0)]), few_codes, lookup.map(lambda c: [c]), few_codes)
codes = st.one_of(some_codes, some_codes, some_codes, broken.map(lambda parts: list(chain(*parts))))
programs = st.builds(
    namespace, codes=codes, zero=st.sampled_from(["before", "after", "never"]), to_none=st.booleans(),
    last=st.integers(1, 4), backward=st.sampled_from([0, 1, 1, 1, 2]), clip=st.integers(0, 2), update=st.booleans(),
    optimizer=number, result=number,
)  # fmt: skip
EVENTS = ["same"] * 8 + [
    "rows", "rows", "lr", "lr", "eager", "clear", "clear", "seed", "mode", "strided", "state", "parameter",
    "history", "leaf",
    "outside", "nograd", "one", "reload", "freeze", "alias", "own", "grown", "option", "inference", "momentum",
    "tensor", "tensor", "wrong", "wrong", "wrong",
]  # fmt: skip
events = st.lists(st.tuples(st.sampled_from(EVENTS), number), min_size=4, max_size=14)


def data(n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=g), torch.randn(n, 3, generator=g)


def learn_by_tensor(group, lr):
    """The learning rate as a tensor, which is filled if there is one already."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = torch.tensor(lr)


def happen(twins, event, k, rows):
    """One call, after something has changed."""
    x, y = data(rows, k)
    options = {}
    outside = None

    def change(f):
        twins.both(f)

    if event == "tensor":
        change(lambda w: learn_by_tensor(w.optimizer.param_groups[0], 0.01 * (k + 1)))
    elif event == "lr":
        change(lambda w: w.optimizer.param_groups[0].update(lr=0.01 * (k + 1)))
    elif event == "option":
        change(lambda w: w.optimizer.param_groups[0].update(weight_decay=0.01 * (k % 3), maximize=bool(k % 2)))
    elif event == "momentum":
        change(
            lambda w: (
                "momentum" in w.optimizer.param_groups[0]
                and w.optimizer.param_groups[0].update(momentum=0.1 * (k % 3), nesterov=False)
            )
        )
    elif event == "wrong":
        for _ in range(3):  # mostly it is a replay that fails then
            twins.call(x, y)
        change(lambda w: w.places.fill_(1000 + k))
    elif event == "eager":
        options["eagerly"] = True
    elif event == "clear":
        change(lambda w: w.optimizer.zero_grad(set_to_none=bool(k % 2)))
    elif event == "one":
        change(
            lambda w: setattr(
                w.layers[k % 3].weight, "grad", torch.ones_like(w.layers[k % 3].weight) if k % 2 else None
            )
        )
    elif event == "seed":
        change(lambda w: (torch.manual_seed(k), w.generator.manual_seed(k)))
    elif event == "mode":
        change(lambda w: w.layers.train(bool(k % 2)))
    elif event == "strided":
        x, y = (lambda w: data(4, k)[0].t()), (lambda w: data(2 * rows, k)[1][::2])
    elif event == "grown":
        x = lambda w: data(rows + 3, k)[0][3:]  # noqa: E731
    elif event == "state":
        change(lambda w: w.state.__setitem__(0, torch.full((3,), float(k))) if k % 2 else w.state[0].add_(1))
    elif event == "parameter":
        change(
            lambda w: (
                setattr(w.layers[1], "weight", torch.nn.Parameter(torch.full((4, 3), 0.1)))
                if k % 2
                else w.layers[0].weight.data.mul_(0.5)
            )
        )
    elif event == "history":
        x = lambda w: w.layers[1](data(rows, k)[1])  # noqa: E731
    elif event == "leaf":
        x = lambda w: data(rows, k)[0].requires_grad_()  # noqa: E731
    elif event == "alias":
        y = lambda w: data(rows, k)[0]  # noqa: E731
        x = lambda w: w.layers[2].weight if k % 2 else w.layers[2].weight.detach()  # noqa: E731
    elif event == "own":
        x, y = (lambda w: w.layers[2].weight.detach()[:2]), (lambda w: w.state[0][None])
    elif event == "outside":

        def outside(w, result, *_):
            found = (
                [r for r in result if isinstance(r, torch.Tensor)] if isinstance(result, (list, tuple)) else [result]
            )
            for r in found:
                if r is not None and k % 3 == 0 and r.is_floating_point() and not r.is_leaf:
                    r.mul_(0.5)
                if r is not None and k % 4 == 0 and r.ndim and len(r) and r.is_floating_point():
                    r[0].add_(1)
                if r is not None and r.requires_grad:
                    r.sum().backward(retain_graph=True)

    elif event == "reload":
        change(lambda w: w.optimizer.load_state_dict(w.optimizer.state_dict()))
    elif event == "freeze":
        change(lambda w: w.layers[k % 3].weight.requires_grad_(k % 2 == 0))
    context = (
        torch.no_grad()
        if event == "nograd"
        else torch.inference_mode()
        if event == "inference"
        else torch.enable_grad()
    )
    with context:
        twins.call(x, y, outside=outside, **options)
    if event == "wrong":
        change(lambda w: w.places.zero_())


TALLY = {"calls": 0, "replayed": 0, "programs": 0, "errors": 0}
REASONS: Counter[str] = Counter()
END = [0.0]


def run(program, events):
    if LOG:
        with open(LOG, "w") as f:
            f.write(f"run_one({program!r}, {events!r})")
    if time.monotonic() < END[0]:
        run_one(program, events)


def run_one(program, events):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twins = Twins(make(program))
        rows = 2
        for event, k in events:
            if event == "rows":
                rows = [1, 2, 3, 5, 0][k % 5]
            happen(twins, event, k, rows)
            TALLY["errors"] += twins.error is not None
        TALLY["calls"] += len(events)
        TALLY["programs"] += 1
        TALLY["replayed"] += twins.counters.replayed
        REASONS.update(twins.counters.reasons)


@pytest.mark.slow
def test_random_programs():
    END[0] = time.monotonic() + SECONDS
    options = settings(
        max_examples=50, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    number = FIRST
    while time.monotonic() < END[0]:
        # Small runs: one that goes on after its time is up would spend hours on making examples.
        seed(number)(options(given(program=programs, events=events)(lambda program, events: run(program, events))))()
        number += 1
    print(TALLY, number, REASONS.most_common(40))
    assert TALLY["replayed"] > TALLY["calls"] // 20, TALLY
