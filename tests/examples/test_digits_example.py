"""The digits example: that it learns, prints what it promises, and fails with one line."""

import sys

import numpy as np
import pytest
import tapegrad as torch
from tapegrad.examples import digits


@pytest.fixture
def small(tmp_path):
    """Two blobs that a line separates, in the file format of --data."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    path = tmp_path / "small.npz"
    np.savez(path, x=rng.normal(size=(60, 4)) + 4 * y[:, None], y=y)
    return str(path)


def test_reaches_97_percent():
    pytest.importorskip("sklearn")
    config = digits.Config()
    data = digits.prepare(*digits.load_arrays(None), config.seed)
    assert len(data.x_train) + len(data.x_test) == 1797
    assert (data.x_train.min(), data.x_train.max()) == (0.0, 1.0)
    _, history = digits.train(config, torch, data)
    assert len(history.losses) == 10 * 45
    assert history.test_accuracy[-1] >= 0.97
    assert history.losses[-1] < history.losses[0] / 10


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_losses_are_those_of_torch(optimizer):
    reference = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    config = digits.Config(epochs=1, optimizer=optimizer, seed=3)
    data = digits.prepare(*digits.load_arrays(None), config.seed)
    ours = digits.train(config, torch, data)[1].losses
    theirs = digits.train(config, reference, data)[1].losses
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)


def test_defaults_give_pytorchs_losses_and_97_percent(reference):
    pytest.importorskip("sklearn")
    config = digits.Config()
    data = digits.prepare(*digits.load_arrays(None), config.seed)
    ours = digits.train(config, torch, data)[1]
    theirs = digits.train(config, reference, data)[1]
    assert len(ours.losses) == 10 * 45
    assert np.abs(np.subtract(ours.losses, theirs.losses)).max() < 1e-4
    assert ours.test_accuracy[-1] >= 0.97


def test_command_line(small, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "made" / "here"
    arguments = ["--data", small, "--epochs", "20", "--batch-size", "8", "--out", str(out), "--plot"]
    assert digits.main([*arguments, "--quiet", "--optimizer", "adam"]) == 0
    printed = capsys.readouterr()
    assert "training accuracy  100.00% of 48" in printed.out
    assert "the reloaded model scores the same" in printed.out
    assert printed.err == ""
    assert (out / "digits.png").read_bytes()[:4] == b"\x89PNG"
    assert "out.weight" in torch.load(out / "digits.safetensors")
    assert digits.main(["--data", small, "--epochs", "1", "--out", str(out)]) == 0
    assert "loss=" in capsys.readouterr().err  # the progress bar


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "expected a whole number of at least 1, got '0'"),
        (["--batch-size", "x"], "expected a whole number of at least 1, got 'x'"),
        (["--hidden", "-3"], "at least 1"),
        (["--lr", "0"], "greater than 0"),
        (["--lr", "nan"], "greater than 0"),
        (["--seed", "-1"], "from 0 to"),
        (["--optimizer", "lion"], "invalid choice"),
        (["--data", "/none.npz"], "there is no file"),
        (["--out", __file__], "expected the name of a folder"),
        (["--out", __file__ + "/x"], "cannot write into"),
        (["--what"], "unrecognized"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        digits.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((9, 2))}, "arrays named x and y"),
        ({"x": np.ones((9, 2)), "y": np.zeros(8, int)}, "expected x of shape"),
        ({"x": np.ones((9, 2)), "y": np.zeros(9)}, "as integers"),
        ({"x": np.full((9, 2), np.nan), "y": np.zeros(9, int)}, "finite"),
    ],
)
def test_wrong_data_is_one_line(arrays, message, tmp_path, capsys):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    assert digits.main(["--data", str(path), "--quiet", "--out", str(tmp_path / "m")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_packages_are_named(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = str(tmp_path / "m")
    assert digits.main(["--quiet", "--out", out]) == 1
    assert "tapegrad[examples]" in capsys.readouterr().err
    assert digits.main(["--quiet", "--epochs", "1", "--data", small, "--out", out, "--plot"]) == 1
    assert "matplotlib" in capsys.readouterr().err
