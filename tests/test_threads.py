"""Eight Python threads at once, on both threading layers, give the numbers of one, bit for bit."""

from __future__ import annotations

import pytest
from _training import LAYERS, run
from tapegrad.native.threads import available_cores


@pytest.fixture(scope="module")
def alone() -> dict[str, list[str]]:
    """One thread after the other, kernels serial."""
    return {size: run("alone", size, "one")[:-1] for size in ("small", "large")}


needs_two = pytest.mark.skipif(available_cores() < 2, reason="one core")


@needs_two
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_eight_threads_train_as_one_does(alone, layer, size):
    *digests, used = run("threads", size, NUMBA_THREADING_LAYER=layer)
    assert digests == alone[size]
    assert len(set(digests)) == 8
    # The large size is there for its parallel regions, the small one must do without.
    assert used == (f"layer {layer}" if size == "large" else "layer yet")


@needs_two
@pytest.mark.parametrize("layer", LAYERS)
def test_kernels_on_two_threads_give_the_bits_of_one(alone, layer):
    *digests, used = run("alone", "large", NUMBA_THREADING_LAYER=layer)
    assert digests == alone["large"]
    assert used == f"layer {layer}"


@needs_two
@pytest.mark.parametrize("layer", LAYERS)
def test_the_number_of_threads_may_change_meanwhile(alone, layer):
    *digests, _ = run("busy", "large", NUMBA_THREADING_LAYER=layer)
    assert digests == alone["large"]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("how", [("small",), ("large",), ("large", "one")], ids=" ".join)
def test_threads_sum_their_gradients_in_shared_leaves(layer, how):
    alone, first, second, _ = run("shared", *how, NUMBA_THREADING_LAYER=layer)
    assert alone == first == second


def test_one_graph_under_several_threads_is_an_error_at_worst():
    assert run("trunk")[0] == "fine"
