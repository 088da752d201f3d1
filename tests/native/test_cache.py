"""The folder of compiled kernels: warm starts without Numba, damage, races, unsafe folders, limits."""

import os
import subprocess
import sys

import pytest
from sample import run_python, square, unary
from tapegrad.dtypes import float32, float64
from tapegrad.native import symbols
from tapegrad.native.keys import kernel_key
from tapegrad.native.objects import ObjectStore, StoredObject, folder_problem

RUN = """
import sys, numpy as np, sample
from sample import *
from tapegrad.native import Formula
x = np.arange(100, dtype=np.float32)
for name in {names}:
    y = apply(unary, {{"T": T, "formula": Formula(getattr(sample, name))}}, np.empty_like(x), x)
    assert (y == (x * x if name == "square" else x)).all()
s = native.statistics()
print("compiled", s["compiled"], "loaded", s["loaded"], "numba", "numba" in sys.modules)
"""
ONE = RUN.format(names=["square"])
TWO = RUN.format(names=["square", "formula"])
COLD, WARM = "compiled 1 loaded 0 numba True", "compiled 0 loaded 1 numba False"


def objects(cache):
    return sorted((cache / "objects").glob("*.tgo"))


def test_a_warm_process_does_not_import_numba(tmp_path):
    assert run_python(TWO, tmp_path).strip() == "compiled 2 loaded 0 numba True"
    assert run_python(TWO, tmp_path).strip() == "compiled 0 loaded 2 numba False"


@pytest.mark.parametrize("damage", ["truncated", "one bit", "foreign"])
def test_a_damaged_file_is_compiled_again_and_replaced(tmp_path, damage):
    run_python(ONE, tmp_path)
    (path,) = objects(tmp_path)
    good = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "one bit":
        path.write_bytes(good[:-20] + bytes([good[-20] ^ 4]) + good[-19:])
    else:  # a sound file of another kernel under this name
        run_python(RUN.format(names=["formula"]), tmp_path)
        (other,) = [p for p in objects(tmp_path) if p != path]
        path.write_bytes(other.read_bytes())
    assert run_python(ONE, tmp_path).strip() == COLD
    assert len(path.read_bytes()) == len(good)
    assert run_python(ONE, tmp_path).strip() == WARM


def test_only_the_file_that_was_written_is_accepted(tmp_path):
    store = ObjectStore(str(tmp_path), 1 << 20)
    value = StoredObject(b"machine code", "symbol", ())
    assert store.put("a" * 40, value)
    path = store._path("a" * 40)
    with open(path, "rb") as file:
        good = file.read()
    for bad in (b"", good[:10], good[:-1], good + b" ", os.urandom(len(good)), bytes(len(good))):
        with open(path, "wb") as file:
            file.write(bad)
        assert store.get("a" * 40) is None
    os.rename(path, store._path("b" * 40))
    assert store.get("b" * 40) is None


@pytest.mark.skipif(os.name != "posix", reason="access modes of POSIX")
def test_a_folder_others_may_write_to_is_not_used(tmp_path):
    cache = tmp_path / "cache"
    run_python(ONE, cache)
    os.chmod(cache / "objects", 0o777)
    text = run_python(TWO, cache)
    assert "compiled 2 loaded 0 numba True" in text
    assert text.count("RuntimeWarning: tapegrad does not keep compiled kernels") == 1
    assert "others may write to it" in text
    os.chmod(cache / "objects", 0o700)
    assert run_python(ONE, cache).strip() == WARM
    os.chmod(tmp_path, 0o777)  # without the sticky bit anybody could put another folder in its place
    assert "anybody may write to" in run_python(ONE, cache)


@pytest.mark.skipif(os.name != "posix", reason="access modes of POSIX")
def test_folder_problem(tmp_path):
    assert folder_problem(str(tmp_path)) is None
    assert folder_problem(str(tmp_path / "missing")) is not None
    os.chmod(tmp_path, 0o770)
    assert folder_problem(str(tmp_path)) == "others may write to it"


def test_without_a_folder_kernels_live_in_memory(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert run_python(ONE, "").strip() == COLD
    text = run_python(TWO, in_the_way)
    assert text.startswith("compiled 2 loaded 0 numba True")
    assert text.count("RuntimeWarning: tapegrad does not keep compiled kernels in") == 1
    assert "Not a directory" in text or "File exists" in text
    assert in_the_way.read_text() == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_read(tmp_path):
    run_python(ONE, tmp_path)
    os.chmod(tmp_path / "objects", 0o500)
    try:
        assert run_python(TWO, tmp_path).strip() == "compiled 1 loaded 1 numba True"
    finally:
        os.chmod(tmp_path / "objects", 0o700)


def test_a_folder_that_cannot_take_a_file_is_no_error(tmp_path, monkeypatch):
    store = ObjectStore(str(tmp_path), 1 << 20)
    assert store.usable()

    def refuse(*args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.warns(RuntimeWarning, match="Read-only file system. Every process will compile its own") as caught:
        kept = [store.put("a" * 40, StoredObject(b"code", "name", ())) for _ in range(3)]
    assert kept == [False] * 3
    assert len(caught) == 1
    assert store.where().startswith("each process does it again")
    assert os.listdir(store.folder) == []
    assert store.state == "read only (Read-only file system)"


def test_processes_that_start_together(tmp_path):
    env = dict(os.environ, TAPEGRAD_CACHE_DIR=str(tmp_path))
    env["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    started = [
        subprocess.Popen([sys.executable, "-c", TWO], env=env, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        assert process.communicate(timeout=300)[1] == ""
        assert process.returncode == 0
    assert len(objects(tmp_path)) == 2
    assert not list((tmp_path / "objects").glob("*.tmp"))
    assert run_python(TWO, tmp_path).strip() == "compiled 0 loaded 2 numba False"


def test_equal_names_of_several_processes_do_not_mix(tmp_path):
    """Numba numbers its functions from 1 in each process; the objects must not share those names."""
    for name in ("square", "formula"):
        run_python(RUN.format(names=[name]), tmp_path)
    assert run_python(TWO, tmp_path).strip() == "compiled 0 loaded 2 numba False"


def test_the_oldest_used_go_first(tmp_path):
    store = ObjectStore(str(tmp_path), 10_000)
    for i in range(8):
        key = f"{i:040x}"
        assert store.put(key, StoredObject(bytes(2000), "symbol", ("memset",)))
        os.utime(store._path(key), (1e9 + i, 1e9 + i))
    assert store.get(f"{1:040x}") == StoredObject(bytes(2000), "symbol", ("memset",))  # now it is in use
    store.trim()
    kept = [i for i in range(8) if store.get(f"{i:040x}") is not None]
    assert kept == [1, 6, 7]
    assert store.clear() == 3


def make_kernel(body):
    space = {"SCALE": 2.0, "T": float32}
    exec(body, space)
    return space


def test_the_key_covers_what_matters():
    def key(kernel, **bindings):
        return kernel_key(kernel, bindings)

    base = key(unary, T=float32, formula=square)
    assert key(unary, T=float32, formula=square) == base
    assert key(unary, T=float64, formula=square) != base
    assert key(unary, T=float32, formula=lambda x: x * x * x) != base
    text = "def kernel(f, lo, hi):\n    return helper(lo)\ndef helper(x):\n    return x * SCALE + 1\n"
    first = make_kernel(text)
    same = key(first["kernel"])
    assert key(make_kernel(text)["kernel"]) == same
    assert key(make_kernel("\n\n" + text)["kernel"]) == same  # where the text stands does not matter
    assert key(make_kernel(text.replace("+ 1", "+ 2"))["kernel"]) != same
    assert key(make_kernel(text.replace("lo)", "hi)"))["kernel"]) != same
    first["SCALE"] = 3.0
    assert key(first["kernel"]) != same
    first["SCALE"] = 2
    assert key(first["kernel"]) != same  # an int is another type than 2.0
    assert key(first["kernel"], SCALE=2.0) == same
    first["SCALE"] = 2.0
    symbols.outlined(first["helper"])
    assert key(first["kernel"]) != same
    del first["helper"].outlined
    assert key(first["kernel"], SCALE=2.0, T=float64) == same  # T is not used there


def test_the_key_covers_cpu_and_compiler_settings(tmp_path):
    code = "from sample import *; from tapegrad.native.keys import kernel_key; print(kernel_key(unary, {}))"
    plain = run_python(code, tmp_path)
    assert run_python(code, tmp_path) == plain
    assert run_python(code, tmp_path, NUMBA_CPU_NAME="generic") != plain
    assert run_python(code, tmp_path, NUMBA_OPT="1") != plain


def test_clear_cache(tmp_path):
    code = ONE + "\nprint(native.clear_cache(), native.clear_cache())"
    assert run_python(code, tmp_path).splitlines()[-1] == "1 0"
    assert objects(tmp_path) == []


def test_generic_cpu_without_fma(tmp_path):
    """The plain fallback of every symbol compiles and loads where the CPU is known to have nothing."""
    code = ONE + "print(apply(unary, {'formula': lambda x: fma(x, x, x)}, np.empty_like(x), x)[2])"
    code = "from tapegrad.native.symbols import fma\n" + code
    assert run_python(code, tmp_path, NUMBA_CPU_NAME="generic").splitlines()[-1] == "6.0"


def test_a_symbol_the_process_lacks_is_noticed_before_it_ends_the_process(tmp_path):
    from tapegrad.native.engine import EngineError, load_object

    with pytest.raises(EngineError, match="no_such_function"):
        load_object(b"", "kernel", ("no_such_function",))


def test_loading_from_many_threads(tmp_path):
    code = """
import threading, sample
from sample import *
def worker():
    for t in (dtypes.float32, dtypes.float64):
        for f in (sample.square, sample.formula):
            found.append(native.compile_kernel(unary, {"T": t, "formula": f}))
from tapegrad import dtypes
found = []
threads = [threading.Thread(target=worker) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
s = native.statistics()
print(len(found), len(set(found)), s["compiled"], s["loaded"])
"""
    assert run_python(code, tmp_path).strip() == "32 4 4 0"
    assert run_python(code, tmp_path).strip() == "32 4 0 4"


def test_show_config_tells_about_the_cache(tmp_path):
    text = run_python("from tapegrad import native; print(native.show_config())", tmp_path)
    assert f"cache: {tmp_path} (in use, at most 256 MiB)" in text
    assert "compiled: 0" in text
    assert "cpu: " in text


def test_forked_child_compiles_and_loads(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this platform")
    code = f"""
import os
{ONE}
pid = os.fork()
if pid == 0:
    y = apply(unary, {{"formula": lambda v: v + T(1)}}, np.empty_like(x), x)
    os._exit(0 if (y == x + 1).all() else 1)
print("child", os.waitpid(pid, 0)[1])
"""
    assert run_python(code, tmp_path).splitlines()[-1] == "child 0"
