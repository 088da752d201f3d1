"""What a graph costs in memory, and what a training loop leaves behind."""

from __future__ import annotations

import gc
from typing import Any

from . import common

RECORDS = 1_000_000
ITERATIONS = 10_000


def _element_bytes(torch: Any) -> int:
    """Bytes of tensors' elements now held; PyTorch's small blocks are counted at their smallest, 64."""
    return int(torch.memory_stats()["live_bytes"]) if hasattr(torch, "memory_stats") else -1


class MillionRecords:
    """Growth of resident memory per record of a graph of a million small ops, element data aside."""

    params = (common.LIBRARIES,)
    param_names = ("library",)
    timeout = 300
    unit = "bytes"

    def setup(self, library: str) -> None:
        self.torch = common.load(library)
        self.build(1000).backward()

    def build(self, records: int) -> Any:
        x = self.torch.ones(1, requires_grad=True)
        step = self.torch.ones(1)
        y = x
        for _ in range(records):
            y = y + step
        return y.sum()

    def track_bytes_per_record(self, library: str) -> float:
        gc.collect()
        before, elements = common.resident_bytes(), _element_bytes(self.torch)
        loss = self.build(RECORDS)
        grown = common.resident_bytes() - before
        if elements >= 0:
            grown -= _element_bytes(self.torch) - elements
        del loss
        return grown / RECORDS

    track_bytes_per_record.unit = "bytes"  # type: ignore[attr-defined]


class LongTraining:
    """Growth over ten thousand steps, after a hundred to settle."""

    params = (common.LIBRARIES,)
    param_names = ("library",)
    timeout = 300

    def setup(self, library: str) -> None:
        self.torch = common.load(library)
        self.work = common.TrainingStep(self.torch)
        self.work.run(100)
        gc.collect()

    def track_resident_growth(self, library: str) -> int:
        before = common.resident_bytes()
        self.work.run(ITERATIONS)
        return common.resident_bytes() - before

    def track_live_blocks_growth(self, library: str) -> int:
        return self._growth("live_blocks")

    def track_system_allocations(self, library: str) -> int:
        return self._growth("system_allocations")

    def _growth(self, name: str) -> int:
        if not hasattr(self.torch, "memory_stats"):
            raise NotImplementedError("only tapegrad counts its storage cache")
        before = self.torch.memory_stats()[name]
        self.work.run(ITERATIONS)
        return int(self.torch.memory_stats()[name] - before)

    track_resident_growth.unit = "bytes"  # type: ignore[attr-defined]
    track_live_blocks_growth.unit = "blocks"  # type: ignore[attr-defined]
    track_system_allocations.unit = "allocations"  # type: ignore[attr-defined]
