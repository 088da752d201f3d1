"""Warnings say what to write instead."""

from __future__ import annotations

import collections
import re
from pathlib import Path

import pytest
import tapegrad as torch
from tapegrad.replay.advice import ADVICE, advice_for

PACKAGE = Path(torch.__file__).parent
OTHERS = [p for p in sorted(PACKAGE.rglob("*.py*")) if p.suffix in (".py", ".pyx") and p.name != "advice.py"]
SOURCES = "\n".join(p.read_text() for p in OTHERS)
REASON = re.compile(r'(?:Unfit|note_refusal|\.watch|refused\.append)\(\s*f?"([^"]*)"')
# Nothing that users write leads there, or what they should write depends on the case.
WITHOUT = {
    "there was no memory to note every storage",
    "memory is read that no recorded operation has filled (NumPy has, say)",
    "what .data gave is returned or kept",
    "the function returns memory that the recording does not know",
    "the result depends on a leaf made inside the function",
    "a hook on a tensor made inside",
    "memory that another thread made meanwhile is used",
    "a value is saved for backward that the recording does not know",
    "what the function returns holds itself, or is nested too deep",
}


def test_every_part_is_of_a_reason():
    for part in ADVICE:
        assert part in SOURCES, part


def test_every_reason_has_its_advice():
    reasons = set(REASON.findall(SOURCES))
    assert len(reasons) > 25
    for reason in reasons:
        made = "makes a {type(t).__name__} that outlives it" in reason
        assert bool(advice_for(reason)) != (reason in WITHOUT or made), reason


def counted(x, *, log=collections.Counter()):  # noqa: B006
    log["calls"] += 1
    return x * 2


def branching(x):
    return x * 2 if x.sum() > 0 else x


def scaled(x, factor):
    return x * (factor if isinstance(factor, float) else len(factor))


@pytest.mark.parametrize(
    ("fn", "arguments", "end"),
    [
        (counted, lambda k: (), "log.calls is changed inside .*; change it outside the compiled function, or in"),
        (branching, lambda k: (), "; torch.where chooses without a branch; or compile the parts and branch outside$"),
        (scaled, lambda k: (k * 0.5,), "argument factor is another number .*as a tensor of one element; one that"),
        (scaled, lambda k: ([2.0] * k,), "argument factor is a list of other things .*of the same length"),
    ],
)
def test_warnings_end_with_it(fn, arguments, end):
    compiled = torch.compile(fn)
    with pytest.warns(UserWarning, match=end) as caught:
        called(compiled, [(torch.ones(3), *arguments(k)) for k in range(300)])
    assert len(caught) == 1


def called(compiled, calls):
    for arguments in calls:
        compiled(*arguments)
