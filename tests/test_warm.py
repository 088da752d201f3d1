"""`python -m tapegrad warm`: the list has what common programs use, and the command compiles what is listed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tapegrad import _warm
from tapegrad.dtypes import float32, float64
from tapegrad.ops.registry import BY_NAME


def run(code: str, cache: Path | str | None = None, status: int = 0) -> str:
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    if cache is not None:
        env["TAPEGRAD_CACHE_DIR"] = str(cache)
    done = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, timeout=300)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


ASKED = """
import _common_programs
from tapegrad import _warm, _wiring
from tapegrad.ops.registry import OPS
from tapegrad.tape import _execute
listed, missing = {tuple(w) for w in _warm.wanted()}, set()
def kernel(op, role, layout, dt):
    missing.update({(OPS[op].name, role, layout, dt)} - listed)
    return _wiring._kernel(op, role, layout, dt)
_execute.set_hook("compile_kernel", kernel)
_common_programs.run_all()
print(sorted(missing))
"""


def test_common_programs_find_every_kernel():
    assert run(ASKED) == "[]\n"


@pytest.mark.parametrize("real", [float32, float64])
def test_the_list_names_kernels_that_there_are(real):
    listed = _warm.wanted(real)
    assert len(listed) == len(set(listed)) > 150
    for one in listed:
        op = BY_NAME[one.op]
        assert one.dtype in {t.index for t in op.dtypes}
        assert one.role <= len(op.inputs)


FEW = """
import sys
from tapegrad import _warm
from tapegrad.__main__ import main
_warm.wanted = lambda real: [_warm.Wanted(*w) for w in (("exp", 0, 0, 0), ("exp", 1, 0, 0), ("sum", 0, 0, 0))]
_warm.OTHERS = {}
sys.exit(main(["warm", "--jobs", "2"]))
"""


def test_the_command_compiles_what_is_not_there(tmp_path):
    assert run(FEW, tmp_path).startswith("3 kernels compiled, 0 were there; ")
    again = run(FEW, tmp_path)
    assert again.startswith("0 kernels compiled, 3 were there; ")
    assert again.endswith(f"kept in {tmp_path}\n")
    used = "import tapegrad as torch; torch.ones(2).exp(); print(torch.native.statistics()['loaded'])"
    assert int(run(used, tmp_path)) >= 1


def test_without_a_folder_there_is_nothing_to_do():
    assert run(FEW, "", status=1) == "there is no folder to keep kernels in: off\n"


def test_the_configuration():
    text = run("from tapegrad.__main__ import main; main(['config'])")
    assert text.startswith("python: ")
    assert "kernels:\n" in text


@pytest.mark.parametrize("arguments", [[], ["heat"], ["warm", "--jobs", "0"], ["warm", "--dtype", "int64"]])
def test_wrong_arguments(arguments, capsys):
    from tapegrad.__main__ import main

    with pytest.raises(SystemExit):
        main(arguments)
    assert "usage: python -m tapegrad" in capsys.readouterr().err
