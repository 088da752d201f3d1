"""The private OpenBLAS: right numbers through pointers, one thread, nobody else touched."""

import ctypes

import numpy as np
import pytest
import sample
from sample import run_python
from tapegrad import native
from tapegrad.dtypes import float32, float64, int64
from tapegrad.dtypes import float32 as T
from tapegrad.native import blas
from tapegrad.native.engine import host_features
from tapegrad.native.symbols import call_dgemm, call_sgemm, pointer

call_gemm = call_sgemm


def product(f, lo, hi):
    """f: table, routine, ta, tb, m, n, k, then addresses and leading dimensions, then alpha and beta."""
    table = pointer(f[0], int64)
    scalars = pointer(f[13], float64)
    for _ in range(lo, hi):
        call_gemm(
            table[f[1]],
            f[2],
            f[3],
            f[4],
            f[5],
            f[6],
            scalars[0],
            f[7],
            f[8],
            f[9],
            f[10],
            scalars[1],
            f[11],
            f[12],
        )
    return 0


def through_pointers(f, lo, hi):
    """The same, unscaled, with typed pointers instead of addresses."""
    table = pointer(f[0], int64)
    a, b, c = pointer(f[7], T), pointer(f[9], T), pointer(f[11], T)
    call_gemm(table[f[1]], f[2], f[3], f[4], f[5], f[6], 1.0, a, f[8], b, f[10], 0.0, c, f[12])
    return 0


@pytest.mark.parametrize("t", [float32, float64], ids=str)
@pytest.mark.parametrize("ta", [0, 1])
@pytest.mark.parametrize("tb", [0, 1])
def test_products(t, ta, tb):
    rng = np.random.default_rng(1)
    m, n, k = 5, 7, 3
    a = np.asfortranarray(rng.random((k, m) if ta else (m, k)).astype(t.numpy))
    b = np.asfortranarray(rng.random((n, k) if tb else (k, n)).astype(t.numpy))
    start = rng.random((m, n)).astype(t.numpy)
    routine = blas.SGEMM if t is float32 else blas.DGEMM
    scalars = np.array([1.5, 0.5])
    bindings = {"T": t, "call_gemm": call_sgemm if t is float32 else call_dgemm}
    plain = (a.T if ta else a) @ (b.T if tb else b)
    for kernel, expected in ((product, 1.5 * plain + 0.5 * start), (through_pointers, plain)):
        c = np.asfortranarray(start.copy())
        words = [
            native.blas_table(),
            routine,
            ta,
            tb,
            m,
            n,
            k,
            a.ctypes.data,
            a.shape[0],
            b.ctypes.data,
            b.shape[0],
        ]
        f = np.array([*words, c.ctypes.data, m, scalars.ctypes.data], np.int64)
        assert sample.call(native.compile_kernel(kernel, bindings), f, 0, 1) == 0
        np.testing.assert_allclose(c, expected, rtol=1e-5)


def test_many_calls_in_a_loop_do_not_grow_the_stack():
    a = np.ones((1, 1), np.float32)
    c = np.zeros((1, 1), np.float32)
    scalars = np.array([1.0, 1.0])
    words = [native.blas_table(), 0, 0, 0, 1, 1, 1, a.ctypes.data, 1, a.ctypes.data, 1, c.ctypes.data, 1]
    f = np.array([*words, scalars.ctypes.data], np.int64)
    assert sample.call(native.compile_kernel(product, {"call_gemm": call_sgemm}), f, 0, 300_000) == 0
    assert c[0, 0] == 300_000


def test_the_table_stays_and_has_every_routine():
    address = native.blas_table()
    assert native.blas_table() == address
    words = (ctypes.c_int64 * len(blas.ROUTINES)).from_address(address)
    assert len(set(words)) == len(blas.ROUTINES)
    assert all(words)
    assert blas.ROUTINES[blas.SGEMV] == "sgemv"


def test_dot_through_the_table():
    kind = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_void_p] * 5)
    dot = kind(blas.call_table()[blas.DDOT])
    x, n, one = np.arange(4.0), ctypes.c_int(4), ctypes.c_int(1)
    assert (
        dot(ctypes.addressof(n), x.ctypes.data, ctypes.addressof(one), x.ctypes.data, ctypes.addressof(one))
        == 14
    )


PROBE = """
import os
os.environ.pop("OPENBLAS_NUM_THREADS", None)
before = dict(os.environ)
from tapegrad import native
native.blas_table()
assert dict(os.environ) == before
text = native.show_config()
print(text[text.index("blas:"):])
"""


def test_the_library_is_a_private_copy_with_one_thread(tmp_path):
    text = run_python(PROBE, tmp_path)
    assert "library: kept copy" in text
    assert "threads: 1" in text
    (copy,) = (tmp_path / "blas").iterdir()
    original = blas._original()
    with open(original, "rb") as a, open(copy, "rb") as b:
        assert a.read() == b.read()
    copy.write_bytes(b"truncated")
    assert "library: kept copy" in run_python(PROBE, tmp_path)
    assert copy.stat().st_size > 1 << 20


def test_without_a_folder_a_temporary_copy_serves(tmp_path):
    assert "library: temporary copy" in run_python(PROBE, "")


def test_the_users_own_library_is_another_one(tmp_path):
    code = """
import ctypes
from tapegrad.native import blas
theirs = ctypes.CDLL(blas._original())
theirs.scipy_openblas_set_num_threads(2)
blas.table_address()
assert ctypes.cast(theirs.scipy_sgemm_, ctypes.c_void_p).value != blas.call_table()[0]
print(theirs.scipy_openblas_get_num_threads(), blas._library.scipy_openblas_get_num_threads())
"""
    assert run_python(code, tmp_path, OPENBLAS_NUM_THREADS="2").strip() == "2 1"


def test_core_type(monkeypatch):
    from tapegrad._config import settings

    avx512 = frozenset(["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"])
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(settings, "blas_coretype", None)
    monkeypatch.setattr(blas, "host_features", lambda: avx512)
    assert blas.core_type() == "SKYLAKEX"
    monkeypatch.setattr(blas, "host_features", lambda: avx512 - {"avx512dq"})
    assert blas.core_type() is None
    monkeypatch.setattr(settings, "blas_coretype", "HASWELL")
    assert blas.core_type() == "HASWELL"


@pytest.mark.skipif("avx2" not in host_features(), reason="these kernels need AVX2")
def test_core_type_from_the_environment(tmp_path):
    assert "kernels: Haswell" in run_python(PROBE, tmp_path, TAPEGRAD_BLAS_CORETYPE="HASWELL")
    if "avx512dq" in host_features():
        assert "kernels: SkylakeX" in run_python(PROBE, tmp_path)
