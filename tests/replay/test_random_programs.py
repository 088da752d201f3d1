"""Random programs, run eagerly and compiled from the same state: everything is bit-identical after every call.

A program is a list of instructions on a stack of values; an instruction picks its operands by number and bends
them into shape, so that every list is a program. TAPEGRAD_REPLAY_SECONDS makes the run longer.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import Counter
from itertools import chain
from types import SimpleNamespace as namespace

import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _instructions import flat, inner_function, instruction
from _twins import Twins, world
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("TAPEGRAD_REPLAY_SECONDS", "12"))
FIRST = int(os.environ.get("TAPEGRAD_REPLAY_SEED", "0"))
LOG = os.environ.get("TAPEGRAD_REPLAY_LOG")  # where the last program is written, in case the process dies

def step_of(w, program):
    """The function: values from instructions, a loss, its backward pass, an update."""

    def step(x, y, index=0):
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
        if program.thaw:
            for p in w.layers.parameters():
                p.requires_grad_()
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
            inner=inner_function(),
        )  # fmt: skip
        w.step = step_of(w, program)
        return w

    return build


KINDS = (
    ["unary", "binary"] * 4 + ["reduce", "view", "linear"] * 3 + ["join", "matmul", "index", "inplace", "random"] * 2
    + ["overwrite", "state", "parameter", "grad", "backward", "nograd", "derivative", "read", "backward", "forget"]
    + ["shape", "loss", "nested", "modes", "assign", "fold", "switch", "freeze", "freeze"]
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
    optimizer=number, thaw=st.booleans(), result=number, limit=st.sampled_from([None] * 5 + [1, 4000]),
    check=st.sampled_from([False] * 7 + [True]),
)  # fmt: skip
EVENTS = ["same"] * 8 + [
    "rows", "rows", "lr", "lr", "eager", "clear", "clear", "seed", "mode", "strided", "state", "parameter",
    "history", "leaf",
    "outside", "nograd", "one", "reload", "freeze", "alias", "own", "grown", "option", "inference", "momentum",
    "pieces", "again", "again", "hook", "look", "look", "tensor", "tensor", "wrong", "wrong", "wrong",
    "named", "index",
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


def again(kept, otherwise):
    """A tensor among the last results that can be the next batch."""
    last = kept[-1] if kept else None
    for t in last if isinstance(last, (list, tuple)) else [last]:
        if isinstance(t, torch.Tensor) and t.is_floating_point() and t.ndim == 2 and t.shape[-1] >= 3:
            return t[:, :4] if t.shape[-1] > 3 else t
    return otherwise.clone()


def hook(weight, w):
    """Puts a hook on a gradient, or takes it away again."""
    handle = getattr(w, "handle", None)
    if handle is not None:
        handle.remove()
        w.handle = None
    elif weight.requires_grad:
        w.handle = weight.register_hook(lambda g: g * 0.5)


def happen(twins, event, k, rows):
    """One call, after something has changed."""
    x, y = data(rows, k)
    options = {}
    outside = None

    def change(f):
        def attempt(w):
            with contextlib.suppress(RuntimeError):  # gradients made in inference mode cannot be zeroed outside it
                f(w)

        twins.both(attempt)

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
    elif event == "named":  # as what the code only calls
        change(lambda w: setattr(w, ("backward", "tanh")[k % 2], [k, None, torch.full((3,), 1.0 * k), [k]][k % 4]))
    elif event == "index":  # which the code never looks at
        options["index"] = [k, None, f"{k}", 0.5 * k][k % 4]
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
    elif event == "pieces":  # of one memory, which overlap or not
        whole = {}

        def x(w):
            whole[id(w)] = data(2 * rows + 1, k)[0]
            return whole[id(w)][: rows + k % 2]

        y = lambda w: whole[id(w)][rows:, :3]  # noqa: E731
    elif event == "again":  # what an earlier call returned
        first = data(rows, k)[0]
        x = lambda w: again(twins.kept[w is twins.compiled], first)  # noqa: E731
    elif event == "look":  # after a change, which must count all the same
        change(lambda w: w.optimizer.param_groups[0].update(lr=0.01 * (k + 1)))
        with contextlib.suppress(RuntimeError, IndexError):  # there may be no program yet
            compiled = twins.functions[1]
            compiled.table(x, y, runs=1) if k % 2 else compiled.memory(x, y)
    elif event == "hook":
        change(lambda w: hook(w.layers[k % 3].weight, w))
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
        options = {} if program.limit is None else {"options": {"memory_limit": program.limit}}
        twins = Twins(make(program), check=program.check, **options)
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
