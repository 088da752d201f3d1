"""The cost of one op and of a chain of a thousand, forward and with backward, on 32 numbers."""

from __future__ import annotations

from . import common


class _Timed:
    warmup_time = 0.2
    work: common.Work


class SmallOpForward(_Timed):
    """2,000 ops, so a reading in ms is half the microseconds of one op."""

    params = (common.LIBRARIES, ["add", "mul", "tanh", "sum"])
    param_names = ("library", "op")

    def setup(self, library: str, op: str) -> None:
        self.work = common.Forward(common.load(library), op)
        self.work.run(10)

    def time_2000(self, library: str, op: str) -> None:
        self.work.run(2000)


class SmallOpForwardBackward(_Timed):
    params = (common.LIBRARIES, ["add", "mul", "tanh"])
    param_names = ("library", "op")

    def setup(self, library: str, op: str) -> None:
        self.work = common.ForwardBackward(common.load(library), op)
        self.work.run(10)

    def time_500(self, library: str, op: str) -> None:
        self.work.run(500)


class ChainOfThousand(_Timed):
    params = (common.LIBRARIES,)
    param_names = ("library",)

    def setup(self, library: str) -> None:
        self.work = common.Chain(common.load(library))
        self.work.run(2)

    def time_forward_backward(self, library: str) -> None:
        self.work.run(1)
