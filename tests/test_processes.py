"""Children of a training process can train: forked and spawned, before and after parallel regions."""

from __future__ import annotations

import multiprocessing
import os
import sys

import _training
import pytest
from _training import LAYERS, run
from tapegrad.native.threads import available_cores

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@forks
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_forked_child_trains_as_its_parent_does(layer, size):
    """Before the parent has computed anything, and after it has used a parallel region."""
    early, parent, late, again, used = run("fork", size, NUMBA_THREADING_LAYER=layer)
    assert early == parent == late == again
    assert used == (f"layer {layer}" if size == "large" and available_cores() > 1 else "layer yet")


@forks
def test_a_child_forked_by_a_thread_trains():
    """The child has only the thread that forked; locks of the others must not be held in it."""
    expected = _training.train(3)

    def work(k: int) -> str:
        return _training.in_fork(lambda: _training.train(3)) if k == 0 else _training.train(3)

    assert _training.together(work, 4) == [expected] * 4


@forks
def test_the_graph_of_the_parent_is_there_in_the_child(torch):
    x = torch.arange(6.0, requires_grad=True)
    loss = (x * x).sum()

    def work() -> str:
        loss.backward()
        return str(x.grad.tolist())

    assert _training.in_fork(work) == str([0.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    assert x.grad is None
    loss.backward()
    assert x.grad.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


@pytest.mark.parametrize("size", [_training.SMALL, _training.LARGE], ids=["small", "large"])
def test_spawned_children_train_as_their_parent_does(size):
    work = (5, size, 4)
    before = spawned(work)
    here = _training.train(*work)
    assert before == here
    assert spawned(work) == here


def spawned(work: tuple[int, tuple[int, int], int]) -> str:
    context = multiprocessing.get_context("spawn")
    assert sys.modules[_training.__name__] is _training
    with context.Pool(1) as pool:
        return pool.apply_async(_training.train, work).get(timeout=120)
