"""Recorded steps with all passes, and with passes pushed further than they go by themselves: the same bits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from _passes import check
from _steps import BUILDS
from tapegrad.replay import passes
from tapegrad.replay.passes.recompute import recompute
from tapegrad.replay.passes.update_early import split_updates


@pytest.mark.parametrize("name", BUILDS)
def test_all_passes(name: str) -> None:
    entry = check(BUILDS[name])
    assert len(entry.program.steps) < len(entry.before.steps)


@pytest.mark.parametrize("name", BUILDS)
def test_every_update_split_and_everything_computed_again(name: str, monkeypatch: Any) -> None:
    pushed: tuple[Callable[[Any], Any], ...] = (
        passes.remove_dead,
        passes.remove_copies,
        functools.partial(split_updates, least=1),
        functools.partial(recompute, limit=0),
        passes.write_in_place,
    )
    monkeypatch.setattr(passes, "PASSES", pushed)
    check(BUILDS[name])
