"""What an error must leave alone: tensors, their history and gradients, the random generator, the modes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tapegrad as torch

SEEN = ("values", "shape", "stride", "dtype", "version", "requires_grad", "is_leaf", "grad_fn", "grad")


def state_of(t: Any) -> tuple[Any, ...] | None:
    """All that can be seen of a tensor."""
    if not isinstance(t, torch.Tensor):
        return None
    grad = t.grad if t.is_leaf else None
    return (
        t.detach().numpy().tobytes() if t.numel() < 100000 else b"", tuple(t.shape), t.stride(), t.dtype, t._version,
        t.requires_grad, t.is_leaf, t.grad_fn, None if grad is None else (id(grad), grad.detach().numpy().tobytes()),
    )  # fmt: skip


def tensors_in(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)) and depth < 3:
        for item in value:
            yield from tensors_in(item, depth + 1)
    elif isinstance(value, dict) and depth < 3:
        for item in value.values():
            yield from tensors_in(item, depth + 1)


class Unchanged:
    """Remembers what the tensors in `values` are, the generator and the modes; `differences` compares."""

    def __init__(self, *values: Any) -> None:
        self.tensors = list(tensors_in(values))
        self.before = [state_of(t) for t in self.tensors]
        self.random = torch.get_rng_state().numpy().tobytes()
        self.modes = self.modes_now()

    @staticmethod
    def modes_now() -> tuple[Any, ...]:
        return (
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
            torch.get_num_threads(),
        )  # fmt: skip

    def differences(self) -> Iterator[str]:
        """What is not as it was: nothing, or one line for each difference."""
        for t, before in zip(self.tensors, self.before, strict=True):
            after = state_of(t)
            if after != before:
                assert before is not None
                assert after is not None
                yield "an argument's " + ", ".join(
                    f"{n} {a!r:.60} -> {b!r:.60}" for n, a, b in zip(SEEN, before, after, strict=True) if a != b
                )
        if torch.get_rng_state().numpy().tobytes() != self.random:
            yield "the generator's state"
        if self.modes_now() != self.modes:
            yield "a mode"

    def check(self, what: str) -> None:
        changes = list(self.differences())
        assert not changes, f"{what} raised and changed {'; '.join(changes)}"
