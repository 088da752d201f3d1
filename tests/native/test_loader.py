"""Object code put into memory by our own loader: the same results as LLVM's, W^X, damage, what it leaves to LLVM."""

from __future__ import annotations

import os
import random
import sys

import numpy as np
import pytest
from sample import call, frame, run_python
from tapegrad import native
from tapegrad._layout import FRAME_OUT
from tapegrad.dtypes import float32 as T
from tapegrad.dtypes import float64
from tapegrad.native import _cpu, _loader, engine, kernels
from tapegrad.native.keys import kernel_key
from tapegrad.native.symbols import exp, pointer, sin

needs_loader = pytest.mark.skipif(not _loader.available, reason="the loader does not know this platform")


def plain(f, lo, hi):
    x = pointer(f[1], T)
    y = pointer(f[0], T)
    for i in range(lo, hi):
        y[i] = x[i] + T(1.0)
    return 0


def with_constants(f, lo, hi):
    x = pointer(f[1], T)
    y = pointer(f[0], T)
    for i in range(lo, hi):
        y[i] = exp(x[i]) * sin(x[i])
    return 0


def clearing(f, lo, hi):
    """LLVM makes a call of memset of this."""
    x = pointer(f[1], T)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = T(0.0)
    y[lo] = x[lo]
    return 0


KERNELS = [(f, t) for f in (plain, with_constants, clearing) for t in (T, float64)]


def stored(function, t):
    native.compile_kernel(function, {"T": t})
    found = kernels.store.get(kernel_key(function, {"T": t}))
    assert found is not None
    return found


def run(address, t):
    x = np.linspace(-3, 3, 100, dtype=t.name)
    y = np.empty_like(x)
    assert call(address, frame(y, x), 0, 100) == 0
    return y


@needs_loader
@pytest.mark.parametrize(("function", "t"), KERNELS)
def test_the_same_results_as_where_llvm_loads(function, t):
    found = stored(function, t)
    ours = _loader.load(found.code, found.symbol)
    theirs = engine._load_with_llvm(found.code, found.symbol, found.undefined)
    assert 0 not in (ours, theirs)
    assert ours != theirs
    assert run(ours, t).tobytes() == run(theirs, t).tobytes()


@needs_loader
def test_a_kernel_with_constants_and_a_foreign_symbol_is_among_them():
    assert stored(clearing, T).undefined == ("memset",)
    assert b".rodata" in stored(with_constants, T).code


@needs_loader
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_code_is_not_writable():
    found = stored(with_constants, T)
    address = _loader.load(found.code, found.symbol)
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for span, access, *_ in lines:
        start, end = (int(word, 16) for word in span.split("-"))
        if start <= address < end:
            assert access == "r-xp"
            break
    else:
        pytest.fail("the code is nowhere")


@needs_loader
@pytest.mark.parametrize("function", [plain, with_constants, clearing])
def test_damaged_objects_are_refused_or_loaded_but_never_read_past(function):
    """The checksum keeps them out; should one come in, its offsets lead nowhere outside. None of these is run."""
    found = stored(function, T)
    draw = random.Random(0)
    code = found.code
    header = len(code) - int.from_bytes(code[40:48], "little")  # the section headers stand at the end
    refused = 0
    for k in range(6000):
        bad = bytearray(code)
        for _ in range(draw.randint(1, 3)):
            where = draw.randrange(64) if k % 3 == 0 else len(code) - 1 - draw.randrange(header + 300)
            bad[where % len(code)] = draw.choice((0, 255, draw.randrange(256)))
        refused += _loader.load(bytes(bad), found.symbol) == 0
    assert refused > 500
    for n in range(0, len(code), 7):
        assert _loader.load(code[:n], found.symbol) == 0
    assert _loader.load(b"", found.symbol) == 0
    assert _loader.load(code, "no_such_symbol") == 0


@needs_loader
def test_what_the_loader_does_not_know_goes_to_llvm(monkeypatch):
    found = stored(with_constants, T)
    monkeypatch.setattr(_loader, "load", lambda code, symbol: 0)
    before = len(engine._keep)
    address = engine.load_object(found.code, found.symbol, found.undefined)
    assert run(address, T).tobytes() == run(_address_of(with_constants), T).tobytes()
    assert engine.how_loaded() == f"{before + 1} by LLVM, the others by tapegrad"


def _address_of(function):
    return native.compile_kernel(function, {"T": T})


@needs_loader
def test_another_relocation_is_refused():
    found = stored(with_constants, T)
    code = bytearray(found.code)
    sections, size, count = int.from_bytes(code[40:48], "little"), 64, int.from_bytes(code[60:62], "little")
    changed = 0
    for k in range(count):
        at = sections + k * size
        kind = int.from_bytes(code[at + 4 : at + 8], "little")
        if kind == 4:  # SHT_RELA: the type of a relocation is the low half of its second word
            offset = int.from_bytes(code[at + 24 : at + 32], "little")
            code[offset + 8] = 2  # R_X86_64_PC32
            changed += 1
    assert changed > 0
    assert _loader.load(bytes(code), found.symbol) == 0


def test_show_config_says_who_loads(tmp_path):
    text = run_python("from tapegrad import native; print(native.show_config())", tmp_path)
    assert "put into memory: by tapegrad" in text or "does not know this platform" in text


@pytest.mark.skipif(_cpu.words() is None, reason="another processor")
def test_the_cpu_is_what_llvm_says_it_is():
    import llvmlite.binding as llvm

    there = llvm.get_host_cpu_features()
    for name in ("fma", "avx2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"):
        assert (name in engine.host_features()) == there[name], name


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot choose a core")
def test_every_core_says_the_same():
    before = os.sched_getaffinity(0)
    seen = set()
    try:
        for core in before:
            os.sched_setaffinity(0, {core})
            seen.add(_cpu.words())
    finally:
        os.sched_setaffinity(0, before)
    assert len(seen) == 1


def test_features_that_the_environment_asks_for(monkeypatch):
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx2,-avx512f")
    assert engine.target_features() == {"avx2"}
    monkeypatch.delenv("NUMBA_CPU_FEATURES")
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert engine.target_features() == frozenset()
