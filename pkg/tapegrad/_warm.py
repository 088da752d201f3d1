"""Compiles ahead of time what common training programs use, so that their first run is as fast as the others.

The list names operations; which kernels an operation has, for forward, backward and layouts with gaps, is read
off the registry. It covers classification, regression and recurrent models of dense layers, with what is
written around them by hand. `tests/test_warm.py` runs such programs and asks whether anything is missing.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import _wiring, native
from ._config import settings
from ._layout import KIND_POINTWISE, LAYOUT_FLAT, LAYOUT_GENERAL
from .dtypes import DTYPES, bool_, dtype, float32, int64
from .native import kernels, threads
from .ops.registry import BY_NAME, FLOATS, NOT_IMPLEMENTED, Op

__all__ = ["Wanted", "wanted", "warm"]

REAL = """
    add sub mul div neg abs square cube sqrt rsqrt reciprocal pow maximum minimum clamp clamp_min clamp_max where lerp
    add_scaled exp log log1p sin cos tanh sigmoid relu leaky_relu gelu silu softplus elu
    eq ne lt le gt ge isnan isfinite to_float32 to_float64 to_int64 to_bool
    sum mean var std amax amin max_dim min_dim argmax argmin logsumexp softmax log_softmax linalg_vector_norm
    cross_entropy nll_loss mse_loss l1_loss linear mm bmm
    cat stack take_rows put_rows index_select gather scatter_add tril triu view unview copy_slices
    linspace arange eye draw_bernoulli draw_bernoulli_float32 draw_normal_scalar draw_normal_float32
    draw_uniform_float32 check_total_norm update_sgd update_sgd_momentum update_adam
"""
GENERAL = "add sub mul div square to_float32 to_float64 to_int64"  # these of tensors with gaps and broadcast ones, too
INTEGER = """
    add sub mul eq ne lt gt to_float32 to_float64 to_int64 to_bool integer_sum integer_arange cat stack take_rows
    index_select gather scatter_add flat_index count_nonzero amax amin argmax check_classes draw_randint_32
    draw_randperm
"""
BOOL = """
    to_float32 to_float64 to_int64 integer_sum count_nonzero nonzero any all
    bitwise_and bitwise_or bitwise_not take_rows
"""


class Wanted(NamedTuple):
    """One kernel, in numbers and names that mean the same in every process."""

    op: str
    role: int
    layout: int
    dtype: int


def _roles(op: Op, t: dtype) -> Iterator[int]:
    """The forward, and the derivatives that there are."""
    if op.kind == KIND_POINTWISE:
        yield 0
        if t in FLOATS:
            yield from (1 + k for k, d in enumerate(op.derivatives) if d is not None and d != NOT_IMPLEMENTED)
        return
    if op.rule is not None or op.forward is not None:
        yield 0
    if t in FLOATS:
        yield from (1 + k for k, name in enumerate(op.inputs) if name in op.backward)


def wanted(real: dtype = float32) -> list[Wanted]:
    """The kernels of operations, those first that take long to compile."""
    found = []
    lists = (
        (REAL, real, (LAYOUT_FLAT,)),
        (GENERAL, real, (LAYOUT_GENERAL,)),
        (INTEGER, int64, (LAYOUT_FLAT,)),
        ("to_int64", int64, (LAYOUT_GENERAL,)),
        (BOOL, bool_, (LAYOUT_FLAT,)),
    )
    for names, t, layouts in lists:
        for name in names.split():
            op = BY_NAME[name]
            if t in op.dtypes:
                found += [Wanted(name, role, layout, t.index) for layout in layouts for role in _roles(op, t)]
    return sorted(found, key=lambda w: BY_NAME[w.op].kind == KIND_POINTWISE)


def _chunks() -> None:
    threads._chunk_driver()
    if threads.available_cores() > 1:
        threads._pool().start()


# What is no kernel of an operation.
OTHERS: dict[str, Callable[[dtype], object]] = {
    "sweep": lambda _: _wiring._load_sweep(),
    "products": native.blas_table,
    "threads": lambda _: _chunks(),
}


def _make(one: Wanted | str, real: int) -> bool:
    """Compiles one kernel in a worker, and says whether that was necessary."""
    before = native.statistics()["compiled"]
    if isinstance(one, str):
        OTHERS[one](DTYPES[real])
    else:
        _wiring._kernel(BY_NAME[one.op].id, one.role, one.layout, one.dtype)
    return native.statistics()["compiled"] > before


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    settings.quiet = True


def warm(real: dtype = float32, jobs: int | None = None) -> int:
    """Compiles the common kernels in `jobs` processes; returns the exit status of the command."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    from tqdm import tqdm

    if not kernels.store.usable():
        print(f"there is no folder to keep kernels in: {kernels.store.state}", file=sys.stderr)
        return 1
    work: list[Wanted | str] = [*OTHERS, *wanted(real)]
    jobs = jobs or min(threads.available_cores(), 4)
    started = time.perf_counter()
    compiled = 0
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin_worker)
    try:
        futures = [pool.submit(_make, one, real.index) for one in work]
        quiet = True if settings.quiet else None  # None: where it is no terminal
        for future in tqdm(as_completed(futures), "compiling", len(work), unit=" kernels", disable=quiet):
            compiled += future.result()
    except KeyboardInterrupt:
        print("stopping when the kernels at hand are done; what has been compiled is kept", file=sys.stderr)
        return 130
    finally:
        pool.shutdown(cancel_futures=True)
    seconds = time.perf_counter() - started
    there = len(work) - compiled
    print(f"{compiled} kernels compiled, {there} were there; {seconds:.0f} s; kept in {kernels.store.root}")
    return 0
