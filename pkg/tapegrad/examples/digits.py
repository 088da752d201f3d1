"""Handwritten digits: train a small classifier, measure it, save it and load it again.

    python -m tapegrad.examples.digits --epochs 10 --out results --plot

Every function that computes takes the framework as its argument `torch`, so that the same text
runs on tapegrad and on PyTorch: `train(config, torch, data)` returns the loss of every step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tapegrad.examples.command_line import (
    ExampleError,
    exit_status,
    folder,
    make_parser,
    positive_int,
    positive_number,
    readable_file,
    seed_number,
)


class Config(NamedTuple):
    """What a run depends on."""

    epochs: int = 10
    batch_size: int = 32
    hidden: int = 128
    lr: float = 0.1
    seed: int = 0
    optimizer: str = "sgd"
    data: str | None = None
    out: str = "."
    plot: bool = False
    quiet: bool = False

    @property
    def model_file(self) -> str:
        """Where the model is saved."""
        return os.path.join(self.out, "digits.safetensors")

    @property
    def plot_file(self) -> str:
        """Where the curves are written."""
        return os.path.join(self.out, "digits.png")


class Data(NamedTuple):
    """Inputs (n, features) float32 in [0, 1] and classes (n,) int64, split for training and testing."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int


@dataclass
class History:
    """What a run measured: the loss of every step, and the accuracies after every epoch."""

    losses: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


# -- data


def load_arrays(path: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and classes from an .npz file with arrays `x` and `y`, or scikit-learn's digits."""
    if path is None:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise ExampleError(
                "this example needs scikit-learn for its data: pip install 'tapegrad[examples]' "
                "(or give your own arrays with --data file.npz)"
            ) from None
        x, y = load_digits(return_X_y=True)
        return x, y
    try:
        with np.load(path) as arrays:
            x, y = arrays["x"], arrays["y"]
    except KeyError:
        raise ExampleError(f"{path}: expected arrays named x and y") from None
    except (OSError, ValueError) as error:
        raise ExampleError(f"cannot read {path}: {error}") from None
    if y.ndim != 1 or len(x) != len(y) or len(y) < 5:
        raise ExampleError(
            f"{path}: expected x of shape (n, ...) and y of shape (n,) with n >= 5, "
            f"got {x.shape} and {y.shape}"
        )
    if y.dtype.kind not in "iu" or y.min() < 0:
        raise ExampleError(f"{path}: y must hold classes 0, 1, 2, ... as integers")
    if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
        raise ExampleError(f"{path}: x must hold finite numbers")
    return x, y


def prepare(x: np.ndarray, y: np.ndarray, seed: int) -> Data:
    """Scale the inputs to [0, 1] and split 80/20 by a seeded permutation."""
    x = x.reshape(len(x), -1).astype(np.float32)
    low, high = x.min(), x.max()
    x = (x - low) / (high - low if high > low else 1)
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = np.split(order, [len(x) // 5])
    y = y.astype(np.int64)
    return Data(x[train], y[train], x[test], y[test], int(y.max()) + 1)


# -- model and training


def build_model(torch: Any, features: int, hidden: int, classes: int) -> Any:
    """A classifier with two hidden layers, written as one writes a PyTorch module."""

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = torch.nn.Linear(features, hidden)
            self.fc2 = torch.nn.Linear(hidden, hidden)
            self.out = torch.nn.Linear(hidden, classes)

        def forward(self, x: Any) -> Any:
            x = torch.tanh(self.fc1(x))
            x = torch.tanh(self.fc2(x))
            return self.out(x)

    return Classifier()


def build_optimizer(torch: Any, model: Any, config: Config) -> Any:
    """SGD with momentum 0.9, or Adam with a fiftieth of the learning rate."""
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr / 50)
    return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9)


def accuracy(torch: Any, model: Any, x: Any, y: Any) -> float:
    """The share of rows whose largest score is at their class."""
    model.eval()
    with torch.no_grad():
        right = (model(x).argmax(dim=1) == y).float().mean().item()
    model.train()
    return right


def train_epoch(
    torch: Any, model: Any, loader: Any, loss_fn: Any, optimizer: Any, report: Callable[[float], None]
) -> Iterator[float]:
    """One pass over the data; yields the loss of every step."""
    for x, y in loader:
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        report(value)
        yield value


def train(config: Config, torch: Any, data: Data, bar: Any = None) -> tuple[Any, History]:
    """Train a model; returns it with what was measured."""
    torch.manual_seed(config.seed)
    x_train, y_train = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    x_test, y_test = torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)
    dataset = torch.utils.data.TensorDataset(x_train, y_train)
    loader = torch.utils.data.DataLoader(dataset, batch_size=config.batch_size, shuffle=True)
    model = build_model(torch, data.x_train.shape[1], config.hidden, data.classes)
    loss_fn = torch.nn.CrossEntropyLoss()
    optimizer = build_optimizer(torch, model, config)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
    history = History()
    running: list[float] = []

    def report(value: float) -> None:
        if bar is not None:
            running.append(running[-1] * 0.9 + value * 0.1 if running else value)
            bar.set_postfix(loss=f"{running[-1]:.4f}", refresh=False)
            bar.update()

    for epoch in range(config.epochs):
        if bar is not None:
            bar.set_description(f"epoch {epoch + 1}/{config.epochs}", refresh=False)
        history.losses += train_epoch(torch, model, loader, loss_fn, optimizer, report)
        schedule.step()
        history.train_accuracy.append(accuracy(torch, model, x_train, y_train))
        history.test_accuracy.append(accuracy(torch, model, x_test, y_test))
    return model, history


def save_and_check(torch: Any, model: Any, config: Config, data: Data) -> float:
    """Save the model, load it into a fresh one, and return that one's held-out accuracy."""
    try:
        os.makedirs(config.out, exist_ok=True)
        torch.save(model.state_dict(), config.model_file)
    except OSError as error:
        raise ExampleError(f"cannot write {config.model_file}: {error.strerror or error}") from None
    fresh = build_model(torch, data.x_train.shape[1], config.hidden, data.classes)
    fresh.load_state_dict(torch.load(config.model_file))
    return accuracy(torch, fresh, torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))


def plot(history: History, path: str) -> None:
    """Write the loss of every step and the accuracies of every epoch as one picture."""
    try:
        import matplotlib
    except ImportError:
        raise ExampleError("--plot needs matplotlib: pip install 'tapegrad[examples]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(history.losses, linewidth=0.8)
    left.set(title="Training loss", xlabel="step", ylabel="cross entropy", yscale="log")
    epochs = range(1, len(history.test_accuracy) + 1)
    right.plot(epochs, history.train_accuracy, marker="o", label="training")
    right.plot(epochs, history.test_accuracy, marker="o", label="held out")
    right.set(title="Accuracy", xlabel="epoch", ylabel="share of digits recognised")
    right.legend()
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise ExampleError(f"cannot write {path}: {error}") from None
    finally:
        plt.close(figure)


# -- command line


def parse_arguments(argv: list[str] | None = None) -> Config:
    """The configuration; exits with status 2 and a message for what makes no sense."""
    parser = make_parser("digits", "Train a small network to recognise handwritten digits.")
    default = Config()
    add = parser.add_argument
    add("--epochs", type=positive_int, default=default.epochs, help="passes over the training data")
    add("--batch-size", type=positive_int, default=default.batch_size, help="rows per step")
    add("--hidden", type=positive_int, default=default.hidden, help="width of the two hidden layers")
    add("--lr", type=positive_number, default=default.lr, help="learning rate (adam takes a fiftieth of it)")
    add("--seed", type=seed_number, default=default.seed, help="for the split, the weights and the order")
    add("--optimizer", choices=("sgd", "adam"), default=default.optimizer, help="sgd has momentum 0.9")
    add("--data", type=readable_file, metavar="FILE.npz", help="train on its arrays x and y instead")
    add("--out", type=folder, default=default.out, metavar="FOLDER", help="where the model and the curves go")
    add("--plot", action="store_true", help="write curves of loss and accuracy, digits.png")
    add("--quiet", action="store_true", help="no progress bar")
    return Config(**vars(parser.parse_args(argv)))


def run(config: Config, torch: Any) -> History:
    """Everything the program does, with what it prints."""
    data = prepare(*load_arrays(config.data), config.seed)
    steps = config.epochs * -(-len(data.x_train) // config.batch_size)
    from tqdm import tqdm

    with tqdm(total=steps, unit="step", disable=config.quiet) as bar:
        model, history = train(config, torch, data, bar)
    print(f"training accuracy  {history.train_accuracy[-1]:.2%} of {len(data.x_train)}")
    print(f"held-out accuracy  {history.test_accuracy[-1]:.2%} of {len(data.x_test)}")
    reloaded = save_and_check(torch, model, config, data)
    if reloaded != history.test_accuracy[-1]:
        raise ExampleError(f"the model loaded from {config.model_file} scores {reloaded:.2%}, which is not the same")
    print(f"saved to {config.model_file}; the reloaded model scores the same")
    if config.plot:
        plot(history, config.plot_file)
        print(f"curves in {config.plot_file}")
    return history


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, 1 for a failure, 2 for wrong arguments."""
    config = parse_arguments(argv)
    import tapegrad as torch

    return exit_status("digits", lambda: run(config, torch))


if __name__ == "__main__":
    sys.exit(main())
