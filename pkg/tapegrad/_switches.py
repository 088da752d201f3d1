"""Settings that PyTorch's programs make and that change nothing here.

Results are the same in every run and with any number of threads, and products are never computed in less
than their own precision: so there is nothing to switch. What is set is checked, kept and given back.
"""

from __future__ import annotations

import warnings

__all__ = [
    "are_deterministic_algorithms_enabled",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_warn_always_enabled",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_num_interop_threads",
    "set_warn_always",
    "use_deterministic_algorithms",
]

_MODES = ("default", "warn", "error")
_deterministic = 0  # a place in _MODES
_precision = "highest"
_warn_always = False
_interop_threads = 1


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Kept and given back; every algorithm here is deterministic."""
    global _deterministic
    for name, value in (("mode", mode), ("warn_only", warn_only)):
        if not isinstance(value, bool):
            raise TypeError(
                f"use_deterministic_algorithms(): argument '{name}' must be bool, not {type(value).__name__}"
            )
    _deterministic = (1 if warn_only else 2) if mode else 0


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was given."""
    return _deterministic > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was to warn only."""
    return _deterministic == 1


def get_deterministic_debug_mode() -> int:
    """0 if deterministic algorithms were not asked for, 1 if with warnings, 2 if with errors."""
    return _deterministic


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` by number or name: "default", "warn", "error"."""
    global _deterministic
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if isinstance(debug_mode, str):
        if debug_mode not in _MODES:
            raise RuntimeError(
                f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got {debug_mode}"
            )
        debug_mode = _MODES.index(debug_mode)
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    _deterministic = debug_mode


def set_float32_matmul_precision(precision: str) -> None:
    """Kept and given back: float32 products are computed in float32 whatever it says."""
    global _precision
    if precision not in ("highest", "high", "medium"):
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current setFloat32MatmulPrecision "
            "call has no effect.",
            stacklevel=2,
        )
        return
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given."""
    return _precision


def set_warn_always(mode: bool) -> None:
    """Kept and given back."""
    global _warn_always
    _warn_always = bool(mode)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was given."""
    return _warn_always


def set_num_interop_threads(n: int) -> None:
    """Kept and given back: operations are not run beside each other. RuntimeError unless n >= 1."""
    global _interop_threads
    if n < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _interop_threads = int(n)


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was given."""
    return _interop_threads
