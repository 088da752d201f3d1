"""Random classes, objects and containers, functions that read them, and changes between the calls.

A world is a text that is run twice, for eager and for compiled code, with the same changes made to both: whatever a
compiled function does not see gives other numbers than eager code. TAPEGRAD_REPLAY_SECONDS makes the run longer.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import random
import time
import types
import warnings

import pytest
import tapegrad as torch

SECONDS = float(os.environ.get("TAPEGRAD_REPLAY_SECONDS", "5"))
FIRST = int(os.environ.get("TAPEGRAD_REPLAY_SEED", "0"))
NAMES = ["a", "b", "c", "k", "items", "flag", "t", "sub", "fn", "n"]
METHODS = ["meth", "scale", "get"]
CONSTANTS = ["1.5", "2", "None", "True", "[1.0, 2.0]", "'b'", "{'k': 3.0}"]
BODIES = ["number(self.a)", "number(self.k) * 2", "3.0", "number(getattr(self, 'b', 1))", "number(len(self.items))"]
MISSING = (AttributeError, TypeError, KeyError, IndexError, ValueError, RuntimeError)

PRELUDE = """
def number(v):
    if isinstance(v, (int, float)): return float(v)
    if isinstance(v, torch.Tensor): return v.sum()
    if isinstance(v, (list, tuple, dict)): return float(len(v)) * 2
    if v is None: return 0.5
    if isinstance(v, str): return float(len(v))
    return 0.25 if callable(v) else 0.125
def helper(o): return number(o.k) + number(o.a)
def counter():
    held = [1.0]
    return lambda: held[0], held
cell, held = counter()
glob, values, table, pair = 1.0, [1.0, 2.0], {"k": 1.0}, (1.0, 2.0)
"""


def class_text(r: random.Random, i: int) -> str:
    bases = sorted(r.sample([f"K{j}" for j in range(i)], min(i, r.choice([0, 1, 1, 2]))), reverse=True)
    lines = [f"{n} = {r.choice(CONSTANTS)}" for n in r.sample(NAMES, r.randint(0, 3))]
    lines += [f"def {m}(self, x=1.0): return {r.choice(BODIES)}" for m in r.sample(METHODS, r.randint(0, 2))]
    rare = [
        f"prop = property(lambda self: number(self.{r.choice(NAMES)}))",
        "def __len__(self): return int(number(self.n)) % 3",
        "def __eq__(self, other): return number(self.a) == number(getattr(other, 'a', 0))",
        "def __getattr__(self, n):\n        if n[0] == '_': raise AttributeError(n)\n        return 4.0",
        "def __call__(self, x): return number(self.k)",
        "make = classmethod(lambda cls: number(cls.k))",
    ]
    lines += [text for text in rare if r.random() < 0.15]
    return f"class K{i}({', '.join(bases)}):\n    " + "\n    ".join(lines or ["pass"])


def expression(r: random.Random, objects: list[str], classes: list[str]) -> str:
    o, kind, name = r.choice(objects), r.choice(classes), r.choice(NAMES)
    owner = r.choice([*objects, *classes, "listed[0]", "table['o']", "module", "space"])
    return r.choice([
        f"{owner}.{name}", f"{owner}.{name}", f"{o}.{name}.{r.choice(NAMES)}", f"getattr({o}, '{name}', 7.0)",
        f"hasattr({o}, '{name}')", f"{o}.meth()", f"{o}.scale(2.0)", f"{o}.get", f"isinstance({o}, {kind})",
        f"len({o}.items)", "sum(number(v) for v in values)", "len(table)", f"table.get('{name}', 1.0)", f"{o}.prop",
        f"({o} == {r.choice(objects)})", f"({o} in listed)", f"(1.0 if {o} else 2.0)", f"{o}(1.0)", "glob",
        f"helper({o})", "cell()", "pair[0]", f"{kind}.make()", f"type({o}).__name__ == 'K1'",
    ])  # fmt: skip


def function_text(r: random.Random, objects: list[str], classes: list[str]) -> str:
    lines = ["def f(x):", "    r = x"]
    for _ in range(r.randint(1, 5)):
        found, how = expression(r, objects, classes), r.randrange(4)
        if how == 0:
            lines.append(f"    if {found}: r = r + 2")
        elif how == 1:
            lines.append(f"    r = r + number({found})")
        else:
            error = r.choice(["Exception", "(AttributeError, TypeError, KeyError, IndexError)"])
            lines += [f"    try: r = r * 0.5 + number({found})", f"    except {error}: r = r + 1"]
    return "\n".join([*lines, "    return r"])


def value(r: random.Random, g: dict, objects: list[str]):
    number = float(r.randrange(4))
    return r.choice([
        lambda: number, lambda: int(number), lambda: None, lambda: number > 1, lambda: "x" * int(number),
        lambda: [1.0] * int(number), lambda: {"k": number}, lambda: torch.full((2,), number),
        lambda: g[r.choice(objects)], lambda: (lambda x=1.0: number),
    ])()  # fmt: skip


def change(r: random.Random, g: dict, objects: list[str], classes: list[str]) -> None:
    o, kind, name, number = g[r.choice(objects)], g[r.choice(classes)], r.choice(NAMES), float(r.randrange(5))
    new, method, other = value(r, g, objects), r.choice(METHODS), r.choice(objects)
    made = g[r.choice(classes)]
    r.choice([
        lambda: setattr(o, name, new), lambda: setattr(o, name, new), lambda: setattr(o, name, new),
        lambda: delattr(o, name), lambda: setattr(kind, name, new), lambda: setattr(kind, name, new),
        lambda: delattr(kind, name), lambda: setattr(kind, method, lambda self, x=1.0: number),
        lambda: setattr(o, method, lambda x=1.0: number), lambda: g["values"].append(number),
        lambda: g["values"].__setitem__(0, number), lambda: g["table"].__setitem__(name, new),
        lambda: g["table"].pop(r.choice([name, "o"]), None), lambda: g.__setitem__("glob", number),
        lambda: g["held"].__setitem__(0, number), lambda: g.__setitem__(other, made()),
        lambda: setattr(o, "__class__", made), lambda: g["listed"].append(o), lambda: g["listed"].reverse(),
        lambda: g.__setitem__("pair", (number,)), lambda: setattr(kind, "__bool__", lambda self: number > 2),
        lambda: setattr(kind, "__eq__", lambda self, other: number > 2), lambda: setattr(g["module"], name, new),
        lambda: delattr(g["module"], name), lambda: setattr(kind, "prop", property(lambda self: number)),
        lambda: [t.add_(1) for t in vars(o).values() if isinstance(t, torch.Tensor)],
        lambda: [v.append(1.0) for v in vars(kind).values() if isinstance(v, list)],
        lambda: o.__dict__.update({name: new}), lambda: setattr(o, "__dict__", {name: new}),
    ])()  # fmt: skip


def results(seed: int, wrap) -> list:
    r = random.Random(seed)
    classes = [f"K{i}" for i in range(r.randint(1, 4))]
    objects = [f"o{i}" for i in range(r.randint(1, 4))]
    parts = [class_text(r, i) for i in range(len(classes))]
    text = "\n".join([*parts, PRELUDE, function_text(r, objects, classes)])
    name = f"<world {seed}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    g = {"torch": torch, "__name__": "somewhere", "module": types.ModuleType("module_of_mine")}
    g["space"] = types.SimpleNamespace(a=1.0, k=2.0)
    try:
        exec(compile(text, name, "exec"), g)
    except TypeError:
        return []  # no order of the bases
    for o in objects:
        g[o] = g[r.choice(classes)]()
    g["listed"], g["table"]["o"] = [g[objects[0]]], g[objects[-1]]
    for _ in range(3 * len(objects)):
        setattr(g[r.choice(objects)], r.choice(NAMES), value(r, g, objects))
    f, x, found = wrap(g["f"]), torch.ones(2), []
    for call in range(24):
        try:
            result = f(x)
            found.append(result.tolist() if isinstance(result, torch.Tensor) else result)
        except MISSING as error:
            found.append(repr(error))
        if call % 4 == 3:
            for _ in range(r.choice([1, 1, 2])):
                with contextlib.suppress(MISSING):
                    change(r, g, objects, classes)
    return found


@pytest.mark.slow
def test_random_worlds():
    end, seed, replayed = time.monotonic() + SECONDS, FIRST, 0
    while time.monotonic() < end:
        made = []

        def wrap(fn, made=made):
            made.append(torch.compile(fn))
            return made[0]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert results(seed, wrap) == results(seed, lambda fn: fn), seed
        replayed += sum(f.counters.replayed for f in made)
        seed += 1
    print(seed - FIRST, "worlds", replayed, "replays")
    assert replayed > 2 * (seed - FIRST)
