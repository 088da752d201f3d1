"""One training step, and its parts."""

from __future__ import annotations

from . import common

SIZES = [f"{batch}x{hidden}" for batch, hidden in common.SIZES]


class _Step:
    warmup_time = 0.3
    work: common.Work


class ArticleLoop(_Step):
    params = (common.LIBRARIES,)
    param_names = ("library",)

    def setup(self, library: str) -> None:
        self.work = common.ArticleLoop(common.load(library))
        self.work.run(10)

    def time_step(self, library: str) -> None:
        self.work.run(1)


class DigitsStep(_Step):
    params = (common.LIBRARIES, SIZES, ["SGD", "Adam"])
    param_names = ("library", "batch_x_hidden", "optimizer")

    def setup(self, library: str, size: str, optimizer: str) -> None:
        batch, hidden = map(int, size.split("x"))
        self.work = common.TrainingStep(common.load(library), batch, hidden, optimizer)
        self.work.run(3)

    def time_step(self, library: str, size: str, optimizer: str) -> None:
        self.work.run(1)


class OptimizerParts(_Step):
    params = (common.LIBRARIES, ["SGD", "Adam"])
    param_names = ("library", "optimizer")

    def setup(self, library: str, optimizer: str) -> None:
        module = common.load(library)
        self.stepping = common.OptimizerStep(module, optimizer=optimizer)
        self.zeroing = common.ZeroGrad(module, optimizer=optimizer)

    def time_step_alone(self, library: str, optimizer: str) -> None:
        self.stepping.run(1)

    def time_zero_grad_alone(self, library: str, optimizer: str) -> None:
        self.zeroing.run(1)
