"""README's recipe: a model moved to PyTorch and back, by arrays and by files, and an optimizer with it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tapegrad

reference = pytest.importorskip("torch")
README = Path(__file__).resolve().parents[1] / "README.md"
RECIPE = re.compile(r"<!-- recipe: needs PyTorch -->\n```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines() -> list[str]:
    (text,) = RECIPE.findall(README.read_text(encoding="utf-8"))
    return text.splitlines()


def values(model):
    return {name: t.detach().numpy().copy() for name, t in model.state_dict().items()}


def equal(a, b):
    return list(a) == list(b) and all(np.array_equal(a[k], b[k]) for k in a)


def test_each_line_of_the_recipe_moves_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    moves = [k for k, line in enumerate(lines()) if "load_state_dict" in line]
    exec("\n".join(lines()[: moves[0]]), names)
    ours, theirs = names["ours"], names["theirs"]
    begin = moves[0]
    for end in moves:
        source, target = (ours, theirs) if lines()[end].startswith("theirs") else (theirs, ours)
        with tapegrad.no_grad(), reference.no_grad():
            for p in source.parameters():
                p.add_(1.0)  # so that each line has something to move
        assert not equal(values(source), values(target))
        exec("\n".join(lines()[begin : end + 1]), names)
        assert equal(values(ours), values(theirs))
        begin = end + 1
    x = np.linspace(-1, 1, 3 * 64, dtype=np.float32).reshape(3, 64)
    np.testing.assert_allclose(
        ours(tapegrad.from_numpy(x)).detach().numpy(),
        theirs(reference.from_numpy(x)).detach().numpy(),
        rtol=1e-4,
        atol=1e-5,
    )


def converted(value, framework):
    if isinstance(value, dict):
        return {k: converted(v, framework) for k, v in value.items()}
    if isinstance(value, list):
        return [converted(v, framework) for v in value]
    return framework.from_numpy(value.numpy().copy()) if hasattr(value, "numpy") else value


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("there", [True, False])
def test_an_optimizer_goes_on_in_the_other_library(kind, there):
    options = {"lr": 0.1, "momentum": 0.9} if kind == "SGD" else {"lr": 0.1}

    def begin(framework):
        model = framework.nn.Linear(4, 3)
        with framework.no_grad():
            for p in model.parameters():
                p.copy_(framework.linspace(-1, 1, p.numel()).reshape(p.shape))
        return framework, model, getattr(framework.optim, kind)(model.parameters(), **options)

    def train(side, steps):
        framework, model, optimizer = side
        for _ in range(steps):
            optimizer.zero_grad()
            (model(framework.ones(2, 4)) ** 2).sum().backward()
            optimizer.step()

    first, second = (begin(f) for f in ((tapegrad, reference) if there else (reference, tapegrad)))
    train(first, 3)
    second[1].load_state_dict(converted(dict(first[1].state_dict()), second[0]))
    second[2].load_state_dict(converted(first[2].state_dict(), second[0]))
    train(first, 3)
    train(second, 3)
    for name, value in values(first[1]).items():
        np.testing.assert_allclose(value, values(second[1])[name], rtol=1e-5, atol=1e-6)
