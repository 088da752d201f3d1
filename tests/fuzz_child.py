"""Throws random arguments at everything public; run in a process of its own by test_fuzz.

    python fuzz_child.py SEED SECONDS

Exceptions are what is wanted; a signal or a hang is a bug. The last call is in the file named by
TAPEGRAD_FUZZ_LOG before it is made, so that a crash says what did it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
import tapegrad as torch
from fuzz_programs import PROGRAMS
from fuzz_values import argument, tensor, use
from unchanged import Unchanged

CALL_LIMIT = 60  # seconds for one call: on a busy machine a kernel may take ten to compile
MEMORY = 6 << 30  # address space: sizes that cannot be had must fail at once

# Names that leave the process or the file system in another state.
SKIP = {
    "set_num_threads", "set_default_dtype", "set_printoptions", "seed", "manual_seed", "set_rng_state",
    "set_grad_enabled", "inference_mode", "no_grad", "enable_grad", "set_hook", "save", "load", "share_memory_",
    "native", "cuda", "examples", "__class__", "__init_subclass__", "__subclasshook__", "set_cache_limit",
    "ref",
}  # fmt: skip


NAMED = ("dim", "keepdim", "dtype", "requires_grad", "size", "out", "reduction", "weight", "generator", "min",
         "max", "alpha", "p", "lr", "device", "input", "other", "axis", "inplace", "training", "bias",
         "correction")  # fmt: skip


def functions():
    """(name, callable) of everything public."""
    found = []
    for holder, label in ((torch, "torch"), (torch.Tensor, "Tensor"), (torch.nn.functional, "F"),
                          (torch.optim, "optim"), (torch.autograd, "autograd"), (torch.nn, "nn"),
                          (torch.nn.init, "init"),
                          (torch.nn.utils, "nn.utils"), (torch.utils.data, "data"),
                          (torch.optim.lr_scheduler, "lr_scheduler")):  # fmt: skip
        for name in dir(holder):
            if name in SKIP or (name.startswith("_") and label != "Tensor"):
                continue
            try:
                f = getattr(holder, name, None)
            except ImportError:  # a part that is not there
                continue
            if callable(f) or label == "Tensor":
                found.append((f"{label}.{name}", name, label, f))
    return found


# Calls that may have done part of their work when they fail, as in PyTorch.
CHANGES_BEFORE_IT_FAILS: set[str] = {"backward"}


changed: dict[str, str] = {}  # by name, what the first such call was and did


def describe(a):
    if isinstance(a, torch.Tensor):
        return f"T{list(a.shape)}{a.dtype}{a.stride()}{a.requires_grad}"
    return repr(a)[:80]


class Timeout(Exception):
    pass


def on_alarm(*_):
    raise Timeout


def one_call(r, targets, log):
    label, name, holder, f = r.choice(targets)
    args = [argument(r) for _ in range(r.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5]))]
    kwargs = {}
    if r.random() < 0.25:
        kwargs[r.choice(NAMED)] = argument(r)
    if holder == "Tensor":
        args = [tensor(r), *args]
        f = getattr(args[0], name, None) if r.random() < 0.9 else f
        if f is not None and callable(f) and r.random() < 0.9:
            args = args[1:]
        elif f is not None and not callable(f):
            if args and r.random() < 0.5:
                with contextlib.suppress(Exception):
                    setattr(args[0], name, argument(r))
                use(args[0], r)
            return
    elif holder == "optim" and r.random() < 0.7:
        args = [[torch.ones(3, requires_grad=True), torch.ones(2, 2, requires_grad=True)], *args[1:]]
    log(label, args, kwargs)
    if f is None:
        return
    arguments = Unchanged(args, kwargs)
    try:
        result = f(*args, **kwargs)
    except Exception as error:
        if name not in CHANGES_BEFORE_IT_FAILS:
            for change in arguments.differences():
                call = f"{[describe(a) for a in args]} { {k: describe(v) for k, v in kwargs.items()} }"
                changed.setdefault(label, f"{label} {call} raised {error!r:.200} and changed {change}")
        raise
    use(result, r)


# ---------------------------------------------------------------- autograd


def random_graph(r, log):
    """A few leaves, a random chain of ops over them, hooks and in-place changes, backward in many ways."""
    leaves = [torch.tensor(np.array([[r.uniform(-2, 2) for _ in range(3)] for _ in range(2)], dtype=np.float32))
              .requires_grad_() for _ in range(r.choice([1, 2, 3]))]  # fmt: skip
    values = list(leaves)
    handles = []
    unary = ("exp", "tanh", "sigmoid", "relu", "abs", "neg", "sin", "sqrt", "clone", "t", "sum", "mean", "contiguous",
             "detach", "double", "float", "flatten", "max", "cumsum", "round")  # fmt: skip
    binary = ("add", "sub", "mul", "div", "maximum", "matmul", "where", "copy_", "add_", "mul_", "sub_", "div_", "pow")

    def hook(kind):
        def call(g):
            if kind == 0:
                return g * 2
            if kind == 1:
                values.clear()
            elif kind == 2:
                raise ValueError("hook")
            elif kind == 3:
                handles and handles[0].remove()
            elif kind == 4 and leaves:
                with torch.enable_grad():
                    (leaves[0] * 3).sum().backward()
            elif kind == 5:
                return torch.ones(7)
            elif kind == 6:
                leaves[0].data = torch.ones(r.choice([1, 50]))
            elif kind == 7:
                g.add_(1)
            elif kind == 8:
                g.data = torch.ones(500)
            return None

        return call

    for step in range(r.choice([3, 10, 30])):
        if not values:
            break
        x, y = r.choice(values), r.choice(values)
        log("graph", [step, x.shape, y.shape], {})
        with contextlib.suppress(Exception):
            kind = r.random()
            if kind < 0.35:
                values.append(getattr(x, r.choice(unary))())
            elif kind < 0.6:
                name = r.choice(binary)
                if name == "where":
                    values.append(torch.where(x > 0, x, y))
                else:
                    values.append(getattr(x, name)(r.choice([y, 2, 0.5])))
            elif kind < 0.7:
                values.append(x[r.choice([0, -1, slice(0, 1), slice(None, None, 2), None, (0, 1), (slice(None), 1),
                                          torch.tensor([0, 1, 0]), x > 0])])  # fmt: skip
            elif kind < 0.8:
                place = r.choice([0, slice(0, 1), (slice(None), 0), torch.tensor([1, 0]), x > 0])
                x[place] = r.choice([y, 1.0, y.sum()])
            elif kind < 0.86:
                handles.append(x.register_hook(hook(r.randrange(9))))
            elif kind < 0.88:
                handles.append(x.register_post_accumulate_grad_hook(hook(r.randrange(9))))
            elif kind < 0.9:
                x.retain_grad()
            elif kind < 0.92:
                x.detach_()
            elif kind < 0.94:
                x.data = r.choice([y.data, torch.ones(40), torch.ones(0), y])
            elif kind < 0.96:
                x.grad = r.choice([None, y, torch.ones(2, 3), x.detach()])
            elif kind < 0.98:
                values.append(torch.cat([x, y, x], r.choice([0, 1, -1])))
            else:
                x.requires_grad_(r.random() < 0.5)
    for _ in range(3):
        if not values:
            return
        root = r.choice(values)
        log("backward", [root.shape], {})
        with contextlib.suppress(Exception):
            kind = r.random()
            create = r.random() < 0.3
            if kind < 0.5:
                root.sum().backward(retain_graph=r.random() < 0.5, create_graph=create)
            elif kind < 0.8:
                wanted = [r.choice(values) for _ in range(r.choice([1, 2, 3]))]
                found = torch.autograd.grad(root.sum(), wanted, allow_unused=True, create_graph=create)
                if create:
                    sum(g.sum() for g in found if g is not None).backward()
            else:
                first = r.choice([torch.ones(root.shape), torch.ones(5), root, None])
                root.backward(first, inputs=r.choice([None, leaves]))
    for t in leaves:
        if t.grad is not None:
            t.grad.tolist()


def main():
    seed, seconds = int(sys.argv[1]), float(sys.argv[2])
    faulthandler.enable()
    faulthandler.dump_traceback_later(CALL_LIMIT + 20, exit=True)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, on_alarm)
    path = os.environ.get("TAPEGRAD_FUZZ_LOG")
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC) if path else -1

    def log(label, args, kwargs):
        if fd >= 0:
            text = f"{label} {[describe(a) for a in args]} { {k: describe(v) for k, v in kwargs.items()} }\n"
            os.pwrite(fd, (text.encode(errors="replace") + b" " * 3000)[:3000], 0)

    r = random.Random(seed)
    torch.manual_seed(seed)
    targets = functions()
    folder = tempfile.TemporaryDirectory()  # for what is saved under a random name
    os.chdir(folder.name)
    start, calls, answered = time.monotonic(), 0, 0
    reasons: dict[str, int] = {}
    sink = io.StringIO()
    while time.monotonic() - start < seconds:
        calls += 1
        if calls % 50 == 0:
            faulthandler.dump_traceback_later(CALL_LIMIT + 20, exit=True)
        signal.alarm(CALL_LIMIT)
        try:
            with contextlib.redirect_stdout(sink):
                kind = r.random()
                if kind < 0.2:
                    random_graph(r, log)
                elif kind < 0.45:
                    r.choice(PROGRAMS)(r, log)
                else:
                    one_call(r, targets, log)
            answered += 1
        except Timeout:
            print("slow call")
            raise
        except BaseException as error:
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            reasons[type(error).__name__] = reasons.get(type(error).__name__, 0) + 1
        finally:
            signal.alarm(0)
        torch.set_grad_enabled(True)
        if threading.active_count() > 50:
            raise SystemExit("threads are left behind")
    x = torch.ones(3, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0], "the library still works"
    if changed:
        raise SystemExit("\n".join(changed.values()))
    print(f"seed {seed}: {calls} calls, {answered} answered, {reasons}")


if __name__ == "__main__":
    main()
