"""Random functions with `try`, `with` and operations that may fail, called with arguments that make them fail.

After each call everything must be what eager code leaves. TAPEGRAD_REPLAY_SECONDS makes the run longer.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import random
import time
import warnings

import pytest
import tapegrad as torch
from _twins import picture, same

SECONDS = float(os.environ.get("TAPEGRAD_REPLAY_SECONDS", "5"))
FIRST = int(os.environ.get("TAPEGRAD_REPLAY_SEED", "0"))

MAY_FAIL = [
    "r = r + table[i].sum()", "r = r + torch.gather(table, 0, i).sum()", "r = r + F.one_hot(i, 5).sum()",
    "r = r + F.cross_entropy(w.reshape(1, 3) * x.sum(), i[:1])", "r = r + table.index_select(0, i).sum()",
    "r = r + torch.bernoulli(torch.sigmoid(x) * q).sum()", "helper(i)",
    "w.grad is None or torch.nn.utils.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)",
]  # fmt: skip
PLAIN = [
    "with torch.no_grad(): b.add_(x.mean())", "with torch.no_grad(): w.mul_(0.9)", "a.add_(1)", "b.copy_(a[:3] * 2)",
    "with torch.no_grad(): x.mul_(2)", "r = r + torch.rand(2).sum()", "(w * x).sum().backward()", "optimizer.step()",
    "optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)", "r = (r * w.sum()).tanh()", "model.train()",
    "model.eval()", "r = r + model(x).sum()",
]  # fmt: skip
CONTEXTS = [
    "Noting(a)", "Noting(b, True)", "contextlib.suppress(IndexError)", "swapped(w, b)", "contextlib.nullcontext()",
    "torch.no_grad(), Noting(a, True)", "torch.no_grad()", "torch.enable_grad()",
]  # fmt: skip
HELPER = """
def helper(i):
    try: return table[i] * 1
    finally: b.add_(0.1)
"""


class Noting:
    """Does something in any case, and something else at an error, which it may take."""

    def __init__(self, t, takes=False):
        self.t, self.takes = t, takes

    def __enter__(self):
        with torch.no_grad():
            self.t.add_(1)

    def __exit__(self, kind, *_):
        with torch.no_grad():
            self.t.mul_(0.5) if kind is None else self.t.sub_(2)
        return self.takes


@contextlib.contextmanager
def swapped(p, q):
    old = p.detach().clone()
    with torch.no_grad():
        p.copy_(q)
    try:
        yield
    finally:
        with torch.no_grad():
            p.copy_(old)


def block(r: random.Random, depth: int) -> list[str]:
    return [line for _ in range(r.randint(1, 3)) for line in statement(r, depth)]


def statement(r: random.Random, depth: int) -> list[str]:
    indent = "    " * depth
    kind = r.choice(["plain", "plain", "fail", "fail"] + ["try", "try", "with", "loop"] * (depth < 3))
    if kind == "plain":
        return [indent + r.choice(PLAIN)]
    if kind == "fail":
        return [indent + r.choice(MAY_FAIL)]
    if kind == "loop":
        return [f"{indent}for _ in range(2):", *block(r, depth + 1)]
    if kind == "with":
        return [f"{indent}with {r.choice(CONTEXTS)}:", *block(r, depth + 1)]
    lines = [f"{indent}try:", *block(r, depth + 1)]
    form = r.choice(["except", "finally", "both", "other", "again", "else"])
    if form in ("except", "both", "else"):
        lines += [f"{indent}except (IndexError, RuntimeError):", *block(r, depth + 1)]
    if form == "other":
        lines += [f"{indent}except KeyError:", *block(r, depth + 1), f"{indent}except IndexError as e:"]
        lines += block(r, depth + 1)
    if form == "again":
        lines += [f"{indent}except Exception:", *block(r, depth + 1), f"{indent}    raise"]
    if form == "else":
        lines += [f"{indent}else:", *block(r, depth + 1)]
    if form in ("finally", "both"):
        lines += [f"{indent}finally:", *block(r, depth + 1)]
    return lines


def results(seed: int, wrap) -> list:
    r = random.Random(seed)
    lines = [line for _ in range(r.randint(2, 6)) for line in statement(r, 1)]
    text = "\n".join(["def f(x, i, q):", "    r = torch.zeros(())", *lines, "    return r"]) + HELPER
    name = f"<handlers {seed}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    torch.manual_seed(0)
    g = {"torch": torch, "F": torch.nn.functional, "contextlib": contextlib, "Noting": Noting, "swapped": swapped}
    g |= {"__name__": "somewhere", "table": torch.randn(5), "a": torch.ones(5), "b": torch.ones(3)}
    g |= {"w": torch.nn.Parameter(torch.randn(3)), "model": torch.nn.Sequential(torch.nn.Linear(3, 2))}
    g["model"].append(torch.nn.Dropout(0.5))
    g["optimizer"] = [torch.optim.SGD, torch.optim.Adam][seed % 2]([g["w"]], lr=0.1)
    exec(compile(text, name, "exec"), g)
    f, found = wrap(g["f"]), []
    for call in range(14):
        bad = r.random() < (0.25 if call > 4 else 0.05)
        i = torch.tensor([r.choice([7, -9]) if bad and r.random() < 0.7 else r.randrange(3)])
        q = torch.tensor(r.choice([float("nan"), 9.0]) if bad and r.random() < 0.7 else 1.0)
        x = torch.randn(3)
        if r.random() < 0.04:
            x[0] = float("inf")
        try:
            result = f(x, i, q)
        except (IndexError, RuntimeError) as error:
            result = repr(error)
        things = [g[n] for n in ("table", "a", "b", "w", "model", "optimizer")]
        found.append(picture([result, x, *things, torch.get_rng_state()]))
        if r.random() < 0.1:
            g["w"].grad = None
    return found


@pytest.mark.slow
def test_random_handlers():
    end, seed, replayed, handled = time.monotonic() + SECONDS, FIRST, 0, 0
    while time.monotonic() < end:
        made = []

        def wrap(fn, made=made):
            made.append(torch.compile(fn))
            return made[0]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            difference = same(results(seed, lambda fn: fn), results(seed, wrap))
        assert difference is None, (seed, difference)
        replayed += made[0].counters.replayed
        handled += made[0].counters.reasons["an error was handled inside"]
        seed += 1
    print(seed - FIRST, "functions", replayed, "replays", handled, "errors handled")
    assert replayed > 2 * (seed - FIRST)
    assert handled > (seed - FIRST) // 20
