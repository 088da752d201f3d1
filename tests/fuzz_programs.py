"""Short random programs for the fuzz: files, optimizers, loaders, modules, schedules, and what an error leaves.

Each takes (r, log): a random.Random, and a function to call with what is about to be done.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import tempfile

import tapegrad as torch
from fuzz_values import argument, tensor, use

MAY = contextlib.suppress(Exception)


def plain(r, depth=0):
    """Data that `save` takes, mostly."""
    kind = r.random()
    if kind < 0.35:
        return tensor(r)
    if kind < 0.5:
        return r.choice([0, 1.5, "text", None, True, float("nan"), float("inf"), 2**70, "", "\ud800", -0.0])
    if kind < 0.55 or depth > 3:
        return argument(r, 2)
    if kind < 0.8:
        keys = ["a", "b.c", "", 0, 1, None, (1, 2), "__metadata__", "tapegrad", "value", 1.5, True, "a" * 300]
        return {r.choice(keys): plain(r, depth + 1) for _ in range(r.choice([0, 1, 3]))}
    items = [plain(r, depth + 1) for _ in range(r.choice([0, 1, 3]))]
    if kind < 0.9:
        return tuple(items)
    if kind < 0.93:
        items.append(items)
    return items


def spoiled(r, data):
    """The bytes of a file with something wrong."""
    data = bytearray(data)
    kind = r.randrange(7)
    if kind == 0:
        return bytes(data[: r.randrange(len(data) + 1)])
    if kind == 1:
        for _ in range(r.choice([1, 3, 20])):
            data[r.randrange(len(data))] = r.randrange(256)
        return bytes(data)
    if kind == 2:
        size = r.choice([0, 1, 2**20, 2**31, 2**40, 2**62, 2**63, 2**64 - 1])
        return size.to_bytes(8, "little") + bytes(data[8:])
    if kind == 3:
        return r.choice([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04abc", b"\x00" * 8, bytes(range(256)) * 4])
    if kind == 4:
        return bytes(data) + b"more"
    n = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + n])
    except ValueError:
        return bytes(data)
    if kind == 5:
        for name, entry in header.items():
            if name != "__metadata__":
                change = r.choice(["dtype", "shape", "data_offsets"])
                entry[change] = {
                    "dtype": r.choice(["F32", "F64", "BF16", "F16", "I8", "U64", "BOOL", "X", 3]),
                    "shape": r.choice([[], [2**62, 4], [-1], [0], [10**9, 10**9], [3], "x", [2**64]]),
                    "data_offsets": r.choice([[0, 4], [4, 0], [0, 2**63], [-4, 4], [], [0]]),
                }[change]
    else:
        odd = (
            ["dict", [["a"]]],
            ["tensor", "nothing", True],
            ["list", 5],
            ["x"],
            [],
            {},
            ["size", [-1, 2**70]],
            ["dtype", "int"],
        )
        tree = r.choice([*odd, ["float", "1e999"], ["set", [["list", []]]], [["list", []]], ["parameter", "value", 1]])
        for _ in range(r.choice([0, 0, 1, 500, 5000])):
            tree = ["list", [tree]]
        text = r.choice([json.dumps({"format": r.choice([1, 0, 99, "1", None]), "tree": tree}), "[", "null", "5"])
        header.setdefault("__metadata__", {})["tapegrad"] = text
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data[8 + n :])


def files(r, log):
    """Saves anything, loads it back, loads damaged copies."""
    value = plain(r)
    buffer = io.BytesIO()
    log("save", [value], {})
    with MAY:
        torch.save(value, buffer)
        use(torch.load(io.BytesIO(buffer.getvalue())), r)
    data = buffer.getvalue() or b"\x02\0\0\0\0\0\0\0{}"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file.pt")
        for _ in range(4):
            bad = spoiled(r, data)
            log("load", [bad], {})
            with MAY:
                use(torch.load(io.BytesIO(bad)), r)
            with open(path, "wb") as f:
                f.write(bad)
            with MAY:
                use(torch.load(path, map_location=r.choice([None, "cpu", "cuda", argument(r)])), r)
            with MAY:
                torch.save(plain(r), path)
            assert os.listdir(folder) == ["file.pt"], "a failed save leaves nothing behind"
        with MAY:
            torch.save(argument(r), r.choice([path, folder, os.path.join(folder, "no", "where"), argument(r, 2)]))
        with MAY:
            torch.load(r.choice([folder, os.path.join(folder, "no", "where"), argument(r, 2)]))


def some_optimizer(r, params):
    numbers = [0, 0.1, 0.9, 1, -1, 1e30, float("nan"), torch.tensor(0.1), torch.tensor(0.1, dtype=torch.float64)]
    make = r.choice([torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
    options = {}
    for name in (
        "lr",
        "momentum",
        "weight_decay",
        "dampening",
        "nesterov",
        "amsgrad",
        "maximize",
        "eps",
        "betas",
        "foreach",
    ):
        if r.random() < 0.25:
            options[name] = argument(r, 1) if r.random() < 0.2 else (
                (r.choice(numbers), r.choice(numbers)) if name == "betas" else r.choice(numbers)
            )  # fmt: skip
    groups = params
    if r.random() < 0.3 and len(params) > 1:
        groups = [
            {"params": params[:1], "lr": 0.5},
            {"params": params[1:], r.choice(["lr", "x", "eps"]): argument(r, 1)},
        ]
    with MAY:
        return make(groups, **options)
    return make(params, lr=0.1)


def some_state(r, state):
    """A state dict with something exchanged."""
    if not isinstance(state, dict) or not state:
        return argument(r)
    state = dict(state)
    key = r.choice(list(state))
    kind = r.random()
    if kind < 0.5:
        state[key] = some_state(r, state[key])
    elif kind < 0.6:
        del state[key]
    elif kind < 0.7:
        state[argument(r, 2) if r.random() < 0.5 else 99] = state[key]
    else:
        state[key] = argument(r)
    return state


def optimizing(r, log):
    """Parameters, an optimizer and a schedule over them, with everything exchanged under their feet."""
    shapes = [(), (3,), (2, 3), (0,), (40, 30), (20000,)]
    params = []
    for _ in range(r.choice([1, 2, 3])):
        p = torch.ones(*r.choice(shapes), dtype=r.choice([torch.float32, torch.float32, torch.float64]))
        params.append((p.t() if p.ndim == 2 and r.random() < 0.3 else p).detach().requires_grad_())
    optimizer = some_optimizer(r, params)
    schedule = None
    for _ in range(r.choice([2, 5, 12])):
        kind = r.random()
        log("optimizing", [type(optimizer).__name__, [p.shape for p in params], kind], {})
        p = r.choice(params)
        with MAY:
            if kind < 0.25:
                sum((p * p).sum() for p in params).backward()
            elif kind < 0.55:
                optimizer.step(*([] if r.random() < 0.8 else [argument(r, 1)]))
            elif kind < 0.6:
                optimizer.zero_grad(r.random() < 0.5)
            elif kind < 0.65:
                p.grad = r.choice([tensor(r), torch.ones_like(p), None, p, p.detach(), torch.ones(p.shape).t()])
            elif kind < 0.7:
                p.data = r.choice([tensor(r), torch.ones(1), torch.ones(50000), p.detach().double()])
            elif kind < 0.75:
                group = r.choice(optimizer.param_groups)
                group[r.choice(list(group))] = argument(r, 1)
            elif kind < 0.8 and optimizer.state:
                own = r.choice(list(optimizer.state.values()))
                key = r.choice(list(own))
                if r.random() < 0.2:
                    del own[key]
                else:
                    own[key] = r.choice([argument(r, 1), tensor(r), torch.ones(3), None])
            elif kind < 0.88:
                state = optimizer.state_dict()
                optimizer.load_state_dict(some_state(r, state) if r.random() < 0.7 else state)
            elif kind < 0.9:
                optimizer.add_param_group(r.choice([{"params": [tensor(r)]}, {"params": p}, {}, argument(r, 1)]))
            elif schedule is None:
                name = r.choice(torch.optim.lr_scheduler.__all__)
                schedule = getattr(torch.optim.lr_scheduler, name)(
                    optimizer,
                    *[
                        r.choice([1, 2, 0, 0.5, [1, 3], lambda e: 0.9**e, argument(r, 1)])
                        for _ in range(r.choice([0, 1, 2]))
                    ],
                )
            elif r.random() < 0.7:
                schedule.step(*([] if r.random() < 0.8 else [argument(r, 2)]))
                schedule.get_last_lr()
            else:
                schedule.load_state_dict(some_state(r, schedule.state_dict()))
    with MAY:
        torch.save(optimizer.state_dict(), io.BytesIO())
    with MAY:
        repr(optimizer)
        for p in params:
            p.tolist()


def loading(r, log):
    """A loader over data of every kind, with samplers and collate functions that misbehave."""
    n = r.choice([0, 1, 5, 10])

    class Data(torch.utils.data.Dataset):
        def __init__(self):
            self.items = [argument(r) if r.random() < 0.2 else (torch.ones(2), 3) for _ in range(n)]
            self.fails = r.choice([-1, -1, 2])

        def __len__(self):
            return n

        def __getitem__(self, i):
            if i == self.fails:
                raise ValueError("no such thing")
            return self.items[i]

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(n))

    data = None
    with MAY:
        data = r.choice([
            Data, Stream, lambda: torch.utils.data.TensorDataset(torch.ones(n, 2), torch.arange(n)),
            lambda: torch.utils.data.TensorDataset(tensor(r), tensor(r)), lambda: list(range(n)), lambda: tensor(r),
            lambda: torch.utils.data.Subset(Data(), [argument(r, 2), 0]),
            lambda: torch.utils.data.ConcatDataset([Data(), Data()]), lambda: argument(r),
        ])()  # fmt: skip
    choices = {
        "batch_size": [1, 2, 3, 100, None, 0, -1], "shuffle": [True, False, None], "drop_last": [True, False],
        "sampler": [None, [0, 1], [99], range(n), torch.utils.data.SequentialSampler(range(n))],
        "batch_sampler": [None, [[0, 1], [0]], [[99]], [argument(r, 1)]],
        "collate_fn": [None, lambda b: b, len, lambda b: 1 / 0], "num_workers": [0, 0, 1, -1],
        "generator": [None, torch.Generator(), argument(r, 2)],
    }  # fmt: skip
    options = {k: r.choice([*v, argument(r, 2)]) for k, v in choices.items() if r.random() < 0.3}
    log("loading", [type(data).__name__, n], {k: repr(v)[:40] for k, v in options.items()})
    with MAY:
        loader = torch.utils.data.DataLoader(data, **options)
        for _ in range(2):
            with MAY:
                for batch in itertools.islice(loader, 20):
                    use(batch, r)
        with MAY:
            len(loader)
    with MAY:
        use(torch.utils.data.default_collate([argument(r) for _ in range(r.choice([0, 1, 2]))]), r)


def some_module(r, depth=0):
    nn = torch.nn
    name = r.choice(nn.modules.__all__ if hasattr(nn, "modules") else dir(nn))
    make = getattr(nn, name)
    args = [r.choice([1, 2, 3, 0.5, True, None, argument(r, 2)]) for _ in range(r.choice([0, 1, 2, 2, 3]))]
    if name in ("Sequential", "ModuleList", "ModuleDict") and depth < 2:
        children = []
        for _ in range(r.choice([1, 2, 3])):
            with MAY:
                children.append(some_module(r, depth + 1))
        return make({"abc"[i]: c for i, c in enumerate(children)}) if name == "ModuleDict" else (
            make(*children) if name == "Sequential" else make(children))  # fmt: skip
    return make(*args)


def modules(r, log):
    """Trees of modules: called, changed, saved, loaded with wrong entries, converted."""
    module = None
    for _ in range(5):
        with MAY:
            module = some_module(r)
            break
    if module is None:
        return
    for _ in range(r.choice([2, 5, 10])):
        kind = r.random()
        log("module", [repr(module)[:200], kind], {})
        with MAY:
            if kind < 0.4:
                use(module(*[tensor(r) for _ in range(r.choice([1, 1, 2]))]), r)
            elif kind < 0.5:
                inputs = torch.randn(r.choice([1, 4]), r.choice([1, 2, 3]))
                use(module(inputs), r)
            elif kind < 0.6:
                state = module.state_dict()
                module.load_state_dict(some_state(r, state), strict=r.random() < 0.5, assign=r.random() < 0.3)
            elif kind < 0.65:
                module.to(r.choice([torch.float64, torch.float32, torch.int64, "cpu", argument(r, 2)]))
            elif kind < 0.7:
                setattr(module, r.choice(["weight", "bias", "a", "0", "training", "p"]), argument(r))
            elif kind < 0.75:
                module.register_buffer(r.choice(["b", "weight", "", "a.b"]), r.choice([tensor(r), None, argument(r)]))
            elif kind < 0.8:
                module.register_forward_hook(r.choice([lambda *a: None, lambda *a: 1 / 0, lambda *a: a[-1]]))
            elif kind < 0.85:
                module.train(r.choice([True, False, argument(r, 2)]))
                repr(module)
            elif kind < 0.9:
                for p in module.parameters():
                    p.data = tensor(r)
            elif kind < 0.95:
                name = r.choice([n for n in dir(module) if not n.startswith("_")])
                f = getattr(module, name)
                if callable(f) and name not in ("share_memory",):
                    use(f(*[argument(r) for _ in range(r.choice([0, 1, 2]))]), r)
            else:
                buffer = io.BytesIO()
                torch.save(module.state_dict(), buffer)
                module.load_state_dict(torch.load(io.BytesIO(buffer.getvalue())))


PROGRAMS = (files, optimizing, loading, modules)
