"""Start-up: what a process imports and compiles, and what a training script does with any object cache.

No times here; `asv_bench/first_step.py` measures those.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# One step of the classifier of the digits example; arrays come from a file, as scikit-learn is heavy itself.
SCRIPT = """
import json, sys, warnings
import tapegrad as torch
imported = sorted(sys.modules)
import numpy as np
{before}
data = np.load(sys.argv[1])
x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32), torch.nn.ReLU(),
                            torch.nn.Linear(32, 10))
optimizer = torch.optim.{optimizer}(model.parameters(), lr=0.1)
for _ in range({steps}):
    optimizer.zero_grad()
    loss = torch.nn.CrossEntropyLoss()(model(x), y)
    loss.backward()
    optimizer.step()
s = torch.native.statistics()
print(json.dumps(dict(
    loss=float(loss.item()).hex(), compiled=s["compiled"], loaded=s["loaded"], stored=s["stored"], imported=imported,
    modules=sorted(sys.modules))))
"""
HEAVY = ("numba", "llvmlite", "scipy", "sklearn", "matplotlib", "tqdm", "pytest")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "arrays.npz"
    random = np.random.default_rng(0)
    np.savez(path, x=random.random((32, 64), np.float32), y=random.integers(0, 10, 32))
    return path


def start(arrays: Path, cache: Path | str, optimizer: str = "SGD", steps: int = 1, before: str = "") -> Any:
    env = {**os.environ, "TAPEGRAD_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    code = SCRIPT.format(optimizer=optimizer, steps=steps, before=before)
    return subprocess.Popen(
        [sys.executable, "-c", code, arrays], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: Any) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return {**json.loads(out), "stderr": err}


def run(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return finish(start(*args, **kwargs))


@pytest.fixture(scope="module")
def filled(tmp_path_factory, arrays) -> tuple[Path, dict[str, Any]]:
    """A cache folder that one cold process has filled, and what that process said."""
    cache = tmp_path_factory.mktemp("filled")
    return cache, run(arrays, cache)


def copy_of(filled: tuple[Path, dict[str, Any]], folder: Path) -> list[Path]:
    """The kernels of the filled folder in another one, without the copy of BLAS."""
    target = folder / "objects"
    target.mkdir(mode=0o700)
    for path in sorted((filled[0] / "objects").glob("*.tgo")):
        (target / path.name).write_bytes(path.read_bytes())
    return sorted(target.glob("*.tgo"))


def test_importing_brings_in_numpy_and_little_else(filled):
    imported = filled[1]["imported"]
    assert "numpy" in imported
    for name in (*HEAVY, "argparse", "tempfile", "importlib.metadata", "multiprocessing", "asyncio"):
        assert name not in imported, name


def test_the_first_step_compiles_few_kernels(filled):
    """Fill, cast, linear and its three gradients, ReLU and its gradient, loss and gradient, update, sweep."""
    assert 1 <= filled[1]["compiled"] <= 13
    assert filled[1]["stored"] == filled[1]["compiled"]
    assert "numba" in filled[1]["modules"]


def test_later_steps_compile_what_accumulates_and_no_more(filled, arrays, tmp_path):
    copy_of(filled, tmp_path)
    more = run(arrays, tmp_path, steps=5)
    assert more["compiled"] <= 1
    assert run(arrays, tmp_path, steps=5)["compiled"] == 0


def test_a_warm_process_compiles_nothing_and_imports_no_compiler(filled, arrays):
    cache, cold = filled
    warm = run(arrays, cache)
    assert warm["loss"] == cold["loss"]
    assert warm["compiled"] == 0
    assert warm["loaded"] == cold["compiled"]
    for name in HEAVY:
        assert name not in warm["modules"], name


def test_another_optimizer_compiles_its_update_only(filled, arrays, tmp_path):
    copy_of(filled, tmp_path)
    assert run(arrays, tmp_path, optimizer="Adam")["compiled"] <= 2


def test_damaged_kernels_cost_time_only(filled, arrays, tmp_path):
    """Every kernel is damaged, in one of five ways."""
    paths = copy_of(filled, tmp_path)
    good = [path.read_bytes() for path in paths]
    for k, path in enumerate(paths):
        data = good[k]
        damaged = [
            data[: len(data) // 2],
            b"",
            data[:-30] + bytes([data[-30] ^ 1]) + data[-29:],
            b"not a kernel",
            good[k - 1],
        ]
        path.write_bytes(damaged[k % len(damaged)])
    again = run(arrays, tmp_path)
    assert again["loss"] == filled[1]["loss"]
    assert (again["compiled"], again["loaded"]) == (filled[1]["compiled"], 0)
    assert again["stderr"] == ""
    repaired = run(arrays, tmp_path)
    assert (repaired["compiled"], repaired["loss"]) == (0, filled[1]["loss"])


def test_one_damaged_kernel_is_compiled_again(filled, arrays, tmp_path):
    paths = copy_of(filled, tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    again = run(arrays, tmp_path)
    assert (again["compiled"], again["loss"]) == (1, filled[1]["loss"])


def test_kernels_of_another_machine_are_left_alone(filled, arrays, tmp_path):
    """They lie under other names: what the CPU is goes into the name."""
    paths = copy_of(filled, tmp_path)
    env = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    other = start_with(env, arrays, tmp_path)
    assert other["loaded"] == 0
    assert other["compiled"] > 0  # not as many: the panels of wide vectors are no kernel of that machine
    assert np.isclose(float.fromhex(other["loss"]), float.fromhex(filled[1]["loss"]), rtol=1e-5)
    assert len(list((tmp_path / "objects").glob("*.tgo"))) == len(paths) + other["compiled"]
    assert run(arrays, tmp_path)["compiled"] == 0


def start_with(environment: dict[str, str], *args: Any) -> dict[str, Any]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return run(*args)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.mark.skipif(os.name != "posix", reason="access modes of POSIX")
def test_a_folder_that_others_may_write_to_is_not_used(filled, arrays, tmp_path):
    copy_of(filled, tmp_path)
    (tmp_path / "objects").chmod(0o777)
    unused = run(arrays, tmp_path)
    assert (unused["compiled"], unused["loaded"]) == (filled[1]["compiled"], 0)
    assert unused["loss"] == filled[1]["loss"]
    assert "others may write to it" in unused["stderr"]


# Root may write anywhere, so the refusal is made by hand, as a read-only file system would give it.
READ_ONLY = """
import errno, os, tempfile
def refuse(*args, **kwargs):
    raise OSError(errno.EROFS, "Read-only file system")
tempfile.mkstemp = os.makedirs = os.mkdir = os.replace = os.utime = refuse
"""


def test_a_read_only_folder_is_read(filled, arrays, tmp_path):
    paths = copy_of(filled, tmp_path)
    paths[0].unlink()
    before = sorted(os.listdir(tmp_path / "objects"))
    makedirs = "\nos.makedirs = lambda path, mode=0o777, exist_ok=False: None\n"
    result = run(arrays, tmp_path, before=READ_ONLY + makedirs)
    assert (result["compiled"], result["loaded"]) == (1, len(paths) - 1)
    assert result["stored"] == 0
    assert result["loss"] == filled[1]["loss"]
    assert sorted(os.listdir(tmp_path / "objects")) == before


def test_a_file_where_the_folder_should_be(filled, arrays, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    result = run(arrays, in_the_way)
    assert (result["compiled"], result["stored"]) == (filled[1]["compiled"], 0)
    assert result["loss"] == filled[1]["loss"]


def test_two_processes_that_fill_one_folder_at_once(filled, arrays, tmp_path):
    processes = [start(arrays, tmp_path) for _ in range(2)]
    results = [finish(process) for process in processes]
    assert [r["loss"] for r in results] == [filled[1]["loss"]] * 2
    assert [r["stderr"] for r in results] == ["", ""]
    names = os.listdir(tmp_path / "objects")
    assert len(names) == filled[1]["compiled"]
    assert not [name for name in names if name.endswith(".tmp")]
    assert run(arrays, tmp_path)["compiled"] == 0


def test_a_folder_that_vanishes_meanwhile(filled, arrays, tmp_path):
    copy_of(filled, tmp_path)
    before = f"import shutil; torch.ones(2) + 1.0; shutil.rmtree({str(tmp_path)!r})"
    result = run(arrays, tmp_path, before=before)
    assert result["loss"] == filled[1]["loss"]
