"""What all tests share.

`torch`      the module under test. TAPEGRAD_TEST_MODULE=torch puts PyTorch itself in its place, which
             proves that a test expects what PyTorch does.
`reference`  the real PyTorch on one thread; without it the test is skipped. Every test that takes it
             carries the marker `torch`, and so does every test of a module that imports PyTorch
             itself: `pytest -m torch` runs the comparisons and nothing else.

The compiled kernels of a test run go to a folder of their own, so that no test depends on what an
earlier run left in the user's cache: TAPEGRAD_CACHE_DIR overrides it.

Compiled functions record at once, which no user wants for calls of microseconds: TAPEGRAD_RECORD_AFTER overrides it,
and `test_recording_pays.py` tests what users get.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = os.environ.get("TAPEGRAD_TEST_MODULE", "tapegrad")

# Set before anything imports tapegrad: child processes that tests start inherit it.
_cache = None
if "TAPEGRAD_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="tapegrad-tests-", ignore_cleanup_errors=True)
    os.environ["TAPEGRAD_CACHE_DIR"] = _cache.name
os.environ.setdefault("TAPEGRAD_QUIET", "1")  # what compiles in a child process, and how long, differs

os.environ.setdefault("TAPEGRAD_RECORD_AFTER", "0")


def pytest_unconfigure() -> None:
    if _cache is not None:
        _cache.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "reference" in getattr(item, "fixturenames", ()) or _holds_pytorch(item):
            item.add_marker("torch")


def _holds_pytorch(item: pytest.Item) -> bool:
    """Whether the test's module imported PyTorch for itself: without PyTorch it was skipped."""
    real = sys.modules.get("torch")
    names = vars(getattr(item, "module", None) or object)
    return real is not None and any(value is real for value in names.values())


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout that the tests belong to."""
    return ROOT


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """The module under test, under the name its users give it."""
    return importlib.import_module(MODULE)


@pytest.fixture(scope="session")
def _real_torch() -> ModuleType | None:
    try:
        real = importlib.import_module("torch")
    except ImportError:
        return None
    real.set_num_threads(1)
    return real


@pytest.fixture
def reference(_real_torch: ModuleType | None) -> Iterator[ModuleType]:
    """The real PyTorch, or a skipped test."""
    if _real_torch is None:
        pytest.skip("the reference, PyTorch, is not installed")
    with _real_torch.random.fork_rng(devices=[]):
        yield _real_torch


@pytest.fixture
def no_gc_callbacks():
    """Without the test tools' callbacks on garbage collection: an interrupt in one is printed and forgotten."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks.extend(callbacks)
