"""Threads: same bits for any number of them, errors in order, every layer, forked and spawned children."""

import os
import sys

import numpy as np
import pytest
import sample
from sample import run_python, square, unary
from tapegrad import native
from tapegrad._layout import FRAME_ERROR, FRAME_IN, FRAME_OUT
from tapegrad.dtypes import float32 as T
from tapegrad.native import threads
from tapegrad.native.symbols import pointer, sqrt

LAYERS = ["workqueue", *([] if sys.platform == "darwin" else ["omp"])]


@pytest.fixture(autouse=True)
def _restore_threads():
    before = threads._asked
    yield
    threads._asked = before
    threads._decide()


def partial_sums(f, lo, hi):
    """One float32 sum for each chunk: shows any change in how items are cut."""
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], T)
    total = T(0.0)
    for i in range(lo, hi):
        total = total + sqrt(x[i])
    y[lo // 1000] = total
    return 0


def sums(count: int) -> np.ndarray:
    native.set_num_threads(count)
    x = np.random.default_rng(0).random(123_456, np.float32)
    y = np.zeros(124, np.float32)
    words = sample.frame(y, x)
    assert native.run_parallel(native.compile_kernel(partial_sums), words.ctypes.data, x.size, 1000) == 0
    return y


needs_two = pytest.mark.skipif(threads._pool_size() < 2, reason="one core")


@needs_two
def test_one_thread_and_two_give_the_same_bits():
    one, two = sums(1), sums(2)
    assert one.all()
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("count", [1, 2])
def test_every_item_is_done_once(count):
    native.set_num_threads(count)
    address = native.compile_kernel(unary, {"formula": square})
    for items, grain in ((0, 10), (1, 10), (10, 10), (11, 10), (1003, 10)):
        x = np.arange(items + 1, dtype=np.float32)
        y = np.full_like(x, -1)
        words = sample.frame(y, x)
        assert native.run_parallel(address, words.ctypes.data, items, grain) == 0
        np.testing.assert_array_equal(y[:items], x[:items] ** 2)
        assert y[items] == -1


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_failing_chunk_counts(count):
    native.set_num_threads(count)
    out = np.zeros(1000, np.float32)
    words = sample.frame(out, params=370)
    assert native.run_parallel(native.compile_kernel(sample.fail_at), words.ctypes.data, 1000, 100) == 7
    assert list(words[FRAME_ERROR : FRAME_ERROR + 2]) == [400, 500]


def test_number_of_threads():
    native.set_num_threads(1)
    assert native.get_num_threads() == 1
    native.set_num_threads(10_000)
    assert native.get_num_threads() == threads._pool_size()
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(RuntimeError, match="positive integer"):
            native.set_num_threads(wrong)


def test_listeners_hear_of_every_change():
    heard = []
    threads.when_changed(heard.append)
    native.set_num_threads(1)
    threads._listeners.remove(heard.append)
    assert heard[-1] == 1
    assert len(heard) == 2


def test_threads_from_the_environment(tmp_path):
    code = "from tapegrad import native; print(native.get_num_threads())"
    assert run_python(code, tmp_path, TAPEGRAD_NUM_THREADS="1", OMP_NUM_THREADS="2").strip() == "1"
    assert run_python(code, tmp_path, TAPEGRAD_NUM_THREADS="", OMP_NUM_THREADS="1").strip() == "1"
    bad = run_python(code, tmp_path, TAPEGRAD_NUM_THREADS="many", OMP_NUM_THREADS="").strip()
    assert int(bad) == threads.available_cores()


REGIONS = """
import os, sys, threading, multiprocessing, numpy as np
import sample, test_threads
from tapegrad import native
from tapegrad.native import parallel
def main():
    native.set_num_threads(2)
    bits = test_threads.sums(2).tobytes()
    results = []
    def worker():
        for _ in range(20):
            results.append(test_threads.sums(2).tobytes() == bits)
    workers = [threading.Thread(target=worker) for _ in range(8)]
    [w.start() for w in workers]; [w.join() for w in workers]
    print("layer", parallel.layer(), "results", len(results), all(results))
    if hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if native.get_num_threads() == 1 and test_threads.sums(2).tobytes() == bits else 1)
        print("forked child", os.waitpid(pid, 0)[1])
    if os.environ.get("SPAWN"):
        process = multiprocessing.get_context("spawn").Process(target=child, args=(bits,))
        process.start(); process.join()
        print("spawned child", process.exitcode)
def child(bits):
    assert native.get_num_threads() == 2
    assert test_threads.sums(2).tobytes() == bits
if __name__ == "__main__":
    main()
"""


@needs_two
@pytest.mark.parametrize("layer", LAYERS)
def test_eight_python_threads_and_children(tmp_path, layer):
    script = tmp_path / "regions.py"  # a file, since a spawned child imports its parent's script
    script.write_text(REGIONS)
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    environment = {"NUMBA_THREADING_LAYER": layer, "OMP_NUM_THREADS": "", "TAPEGRAD_NUM_THREADS": ""}
    text = run_python(code, tmp_path / "cache", **environment).splitlines()
    expected = [f"layer {layer} results 160 True", *(["forked child 0"] if hasattr(os, "fork") else [])]
    assert text == expected
    # From here on the driver comes from the folder, and a crash there would be silent elsewhere.
    again = run_python(code, tmp_path / "cache", **environment).splitlines()
    assert again == expected


@needs_two
def test_spawned_child(tmp_path):
    script = tmp_path / "regions.py"
    script.write_text(REGIONS)
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(script)!r}]))"
    text = run_python(code, tmp_path / "cache", SPAWN="1", OMP_NUM_THREADS="", TAPEGRAD_NUM_THREADS="")
    assert "spawned child 0" in text


@needs_two
def test_the_users_own_numba_threads_are_left_as_they_were(tmp_path):
    code = """
import numba, test_threads
numba.set_num_threads(1)
test_threads.sums(2)
print(numba.get_num_threads())
"""
    assert run_python(code, tmp_path, OMP_NUM_THREADS="").strip() == "1"
