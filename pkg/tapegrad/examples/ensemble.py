"""An ensemble: many small classifiers, each with its own seed and learning rate, trained as one.

    python -m tapegrad.examples.ensemble --models 64 --epochs 10

The parameters of all models are stacked along a leading axis, so that a layer of the ensemble is one
batched product, and the whole step is compiled. Each model gets the numbers that it gets when it is
trained alone: its own start, its own order of the data, its own rate. Beside it the same models are
trained one after the other in PyTorch, where that is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tapegrad.examples.command_line import (
    exit_status,
    make_parser,
    positive_int,
    positive_number,
    readable_file,
    seed_number,
)
from tapegrad.examples.digits import Data, build_model, load_arrays, prepare

MOMENTUM = 0.9


class Config(NamedTuple):
    """What a run depends on."""

    models: int = 64
    epochs: int = 10
    batch_size: int = 32
    hidden: int = 32
    lr: float = 0.1
    seed: int = 0
    threads: int = 1
    data: str | None = None
    eager: bool = False
    alone: bool = True
    quiet: bool = False

    def weight(self, model: int) -> float:
        """A model's learning rate over `lr`: 1/8 to 2 in five steps, powers of two, which round nothing."""
        return 2.0 ** (model % 5 - 3)

    def rate(self, model: int) -> float:
        """The learning rate of a model."""
        return self.lr * self.weight(model)


class Result(NamedTuple):
    """The losses (models, steps) and held-out accuracies (models,) as tensors, and the seconds of training."""

    losses: Any
    accuracies: Any
    seconds: float


def start(torch: Any, config: Config, data: Data, model: int) -> tuple[list[Any], Any]:
    """A model's first parameters and its orders of the data (epochs, n), by its seed alone.

    Weights are (in, out) and biases (1, out): so they need no views in a product.
    """
    torch.manual_seed(config.seed + model)
    first = build_model(torch, data.x_train.shape[1], config.hidden, data.classes)
    orders = [torch.randperm(len(data.x_train)) for _ in range(config.epochs)]
    parameters = [p.detach() for p in first.parameters()]
    return [p.t().contiguous() if p.ndim == 2 else p.unsqueeze(0) for p in parameters], torch.stack(orders)


def forward(torch: Any, parameters: list[Any], x: Any) -> Any:
    """Scores of one model, (n, classes), or of a stack, (models, n, classes)."""
    w1, b1, w2, b2, w3, b3 = parameters
    x = torch.tanh(x @ w1 + b1)
    x = torch.tanh(x @ w2 + b2)
    return x @ w3 + b3


def accuracies(torch: Any, parameters: list[Any], x: Any, y: Any) -> Any:
    """The share of rows whose largest score is at their class, per model."""
    with torch.no_grad():
        return (forward(torch, parameters, x).argmax(dim=-1) == y).float().mean(dim=-1)


def train_stacked(
    torch: Any, config: Config, data: Data, report: Callable[[float], None] = lambda loss: None
) -> Result:
    """All models at once.

    The loss of each model is weighted with its own rate over the optimizer's: SGD's change of a
    parameter is proportional to the gradients, with momentum too.
    """
    starts = [start(torch, config, data, i) for i in range(config.models)]
    parameters = [torch.stack(column).requires_grad_() for column in zip(*(p for p, _ in starts), strict=True)]
    orders = torch.stack([order for _, order in starts], dim=1)  # (epochs, models, n)
    weights = torch.tensor([config.weight(i) for i in range(config.models)])
    x_train, y_train = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    optimizer = torch.optim.SGD(parameters, lr=config.lr, momentum=MOMENTUM)

    def step(rows: Any) -> Any:
        x, y = x_train[rows], y_train[rows]
        scores = forward(torch, parameters, x)
        each = torch.nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="none")
        losses = each.reshape(rows.shape).mean(dim=1)
        optimizer.zero_grad()
        (losses * weights).sum().backward()
        optimizer.step()
        return losses.detach()

    run = step if config.eager else torch.compile(step)
    losses = []
    started = time.perf_counter()
    for order in orders:
        for first in range(0, order.shape[1], config.batch_size):
            losses.append(run(order[:, first : first + config.batch_size]))
            report(losses[-1])
    seconds = time.perf_counter() - started
    right = accuracies(torch, parameters, torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
    return Result(torch.stack(losses, dim=1), right, seconds)


def train_alone(torch: Any, config: Config, data: Data, model: int) -> Result:
    """One model of the ensemble by itself, in an ordinary eager loop."""
    parameters, orders = start(torch, config, data, model)
    for p in parameters:
        p.requires_grad_()
    x_train, y_train = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    optimizer = torch.optim.SGD(parameters, lr=config.rate(model), momentum=MOMENTUM)
    losses = []
    started = time.perf_counter()
    for order in orders:
        for first in range(0, len(order), config.batch_size):
            rows = order[first : first + config.batch_size]
            loss = torch.nn.functional.cross_entropy(forward(torch, parameters, x_train[rows]), y_train[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    seconds = time.perf_counter() - started
    right = accuracies(torch, parameters, torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
    return Result(torch.stack(losses), right, seconds)


# -- command line


def parse_arguments(argv: list[str] | None = None) -> Config:
    """The configuration; exits with status 2 and a message for what makes no sense."""
    parser = make_parser("ensemble", "Train many small networks to recognise handwritten digits, all at once.")
    default = Config()
    add = parser.add_argument
    add("--models", type=positive_int, default=default.models, help="how many classifiers")
    add("--epochs", type=positive_int, default=default.epochs, help="passes over the training data")
    add("--batch-size", type=positive_int, default=default.batch_size, help="rows per step and model")
    add("--hidden", type=positive_int, default=default.hidden, help="width of the two hidden layers")
    add(
        "--lr",
        type=positive_number,
        default=default.lr,
        help="learning rate; models get 1/8, 1/4, 1/2, 1 and 2 times as much",
    )
    add("--seed", type=seed_number, default=default.seed, help="of the split and of the first model; others count up")
    add("--threads", type=positive_int, default=default.threads, help="threads to compute with")
    add("--data", type=readable_file, metavar="FILE.npz", help="train on its arrays x and y instead")
    add("--eager", action="store_true", help="do not compile the step")
    add("--no-alone", dest="alone", action="store_false", help="do not train the models in PyTorch as well")
    add("--quiet", action="store_true", help="no progress bar")
    return Config(**vars(parser.parse_args(argv)))


def pytorch_alone(config: Config, data: Data, quiet: bool) -> Result | None:
    """The models one after the other in PyTorch, with the same threads; None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from tqdm import trange

    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        models = trange(config.models, desc="PyTorch, one by one", unit="model", disable=quiet)
        results = [train_alone(torch, config, data, i) for i in models]
    finally:
        torch.set_num_threads(threads)
    losses, right = (torch.stack(column) for column in list(zip(*results, strict=True))[:2])
    return Result(losses, right, sum(r.seconds for r in results))


def run(config: Config, torch: Any) -> Result:
    """Everything the program does, with what it prints."""
    data = prepare(*load_arrays(config.data), config.seed)
    steps = config.epochs * -(-len(data.x_train) // config.batch_size)
    from tqdm import tqdm

    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with tqdm(total=steps, unit="step", disable=config.quiet) as bar:
            seen = 0

            def report(losses: Any) -> None:
                nonlocal seen
                seen += 1
                if seen % 10 == 0 and not config.quiet:  # reading a number costs as much as a step of a small model
                    bar.set_postfix(loss=f"{losses.mean().item():.4f}", refresh=False)
                bar.update()

            result = train_stacked(torch, config, data, report)
    finally:
        torch.set_num_threads(threads)
    right = result.accuracies.tolist()
    for first in range(min(5, config.models)):
        share = right[first::5]
        rate = f"rate {config.rate(first):<8.4g}"
        print(f"{rate} held-out accuracy {min(share):.2%} to {max(share):.2%}, {len(share)} models")
    best = max(range(config.models), key=lambda i: right[i])
    print(f"best: {right[best]:.2%} of {len(data.x_test)}, seed {config.seed + best}, rate {config.rate(best):.4g}")
    print(f"{config.models} models at once: {result.seconds:.2f} s, {result.seconds / steps * 1e6:.0f} us a step")
    if config.alone:
        theirs = pytorch_alone(config, data, config.quiet)
        if theirs is None:
            print("PyTorch is not installed: nothing to compare with")
        else:
            ratio = theirs.seconds / result.seconds
            print(f"PyTorch, one by one: {theirs.seconds:.2f} s, {ratio:.1f} times as long")
            off = abs(theirs.losses[:, 0].numpy() - result.losses[:, 0].numpy()).max()
            print(f"first losses differ by at most {off:.1g}")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, 1 for a failure, 2 for wrong arguments."""
    config = parse_arguments(argv)
    import tapegrad as torch

    return exit_status("ensemble", lambda: run(config, torch))


if __name__ == "__main__":
    sys.exit(main())
