"""The random stream of the CPU by PyTorch's second names, and `fork_rng`, which puts it back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ._generator import get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from ._missing import names_missing

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


@contextlib.contextmanager
def fork_rng(devices: Sequence[Any] | None = None, enabled: bool = True, **_options: Any) -> Iterator[None]:
    """What is drawn and seeded inside does not move the stream outside.

    >>> import tapegrad as torch
    >>> with torch.random.fork_rng():
    ...     a = torch.rand(1)
    >>> bool(torch.rand(1) == a)
    True
    """
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
