"""The ensemble example: every model gets the numbers it gets alone, and the command line says what is wrong."""

import importlib.util

import numpy as np
import pytest
import tapegrad as torch
from tapegrad.examples import digits, ensemble


@pytest.fixture
def data():
    """Blobs of four classes in eight dimensions."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % 4
    return digits.prepare(rng.normal(size=(150, 8)) + 6 * np.eye(8)[y], y, 0)


@pytest.fixture
def small(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    path = tmp_path / "small.npz"
    np.savez(path, x=rng.normal(size=(60, 4)) + 4 * y[:, None], y=y)
    return str(path)


@pytest.mark.parametrize("eager", [False, True])
def test_models_get_their_own_numbers(data, eager):
    config = ensemble.Config(models=4, epochs=5, batch_size=16, hidden=12, lr=0.4, seed=7, eager=eager)
    together = ensemble.train_stacked(torch, config, data)
    assert tuple(together.losses.shape) == (4, 5 * 8)
    rates = [config.rate(i) for i in range(4)]
    assert len(set(rates)) == 4
    for i in range(4):
        alone = ensemble.train_alone(torch, config, data, i)
        np.testing.assert_allclose(together.losses[i].numpy(), alone.losses.numpy(), rtol=0, atol=1e-5)
        assert together.accuracies[i].item() == alone.accuracies.item()
        assert alone.losses[-8:].mean().item() < alone.losses[0].item()


def test_models_differ_by_seed_and_rate(data):
    config = ensemble.Config(models=6, epochs=1, batch_size=16, hidden=12, eager=True)
    losses = ensemble.train_stacked(torch, config, data).losses.numpy()
    assert config.rate(0) == config.rate(5) != config.rate(1)
    assert len(np.unique(losses[:, 0])) == 6  # every seed another start
    other = ensemble.train_stacked(torch, config._replace(seed=1), data).losses.numpy()
    np.testing.assert_array_equal(other[:5, 0], losses[1:, 0])  # model i + 1 of one is model i of the other


def test_the_step_is_replayed(data, monkeypatch):
    made = []
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: made.append(compile_(f)) or made[-1])
    ensemble.train_stacked(torch, ensemble.Config(models=3, epochs=4, batch_size=16, hidden=12), data)
    (step,) = made
    assert step.counters.eager == 0
    assert step.counters.replayed >= 4 * 8 - 6  # two forms of batches, up to three recordings each


def test_pytorch_gets_the_same_losses(data, reference):
    config = ensemble.Config(models=3, epochs=2, batch_size=16, hidden=12)
    ours = ensemble.train_stacked(torch, config, data)
    theirs = ensemble.pytorch_alone(config, data, quiet=True)
    np.testing.assert_allclose(ours.losses.numpy(), theirs.losses.numpy(), rtol=2e-4, atol=1e-5)


def test_command_line(small, capsys):
    arguments = ["--data", small, "--models", "3", "--epochs", "4", "--batch-size", "8", "--hidden", "8"]
    assert ensemble.main([*arguments, "--no-alone", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "3 models at once" in printed.out
    assert "best: " in printed.out
    assert "PyTorch" not in printed.out
    assert printed.err == ""
    assert ensemble.main(arguments) == 0
    printed = capsys.readouterr()
    assert "loss=" in printed.err
    installed = importlib.util.find_spec("torch") is not None
    assert ("times as long" if installed else "not installed") in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "0"], "expected a whole number of at least 1, got '0'"),
        (["--threads", "x"], "expected a whole number of at least 1, got 'x'"),
        (["--lr", "-1"], "greater than 0"),
        (["--seed", "-1"], "from 0 to"),
        (["--data", "/none.npz"], "there is no file"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        ensemble.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_wrong_data_is_one_line(tmp_path, capsys):
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.ones((9, 2)))
    assert ensemble.main(["--data", str(path), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ensemble: ")
    assert error.count("\n") == 1
