"""Settings that come from the environment, read once, and the text of `show_config()`.

Every variable the library looks at is named here, so that one page documents them all. The floors
above add what they found at run time (CPU, threads, BLAS, cache) through `add_section`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Settings", "add_section", "settings", "show_config"]

_DEFAULT_CACHE_BYTES = 256 << 20


def _positive(environment: Mapping[str, str], name: str, least: int = 1) -> int | None:
    """The integer in a variable, None if it is unset, less than `least` or says nothing usable."""
    try:
        value = int(environment.get(name, "").split(",")[0])
    except ValueError:
        return None
    return value if value >= least else None


def _default_cache_dir(environment: Mapping[str, str]) -> str:
    """The folder where this platform expects files that may be thrown away."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
        return os.path.join(base, "tapegrad", "Cache")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "tapegrad")
    base = environment.get("XDG_CACHE_HOME", "")
    # The XDG rules say that a relative path there is to be ignored.
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".cache"), "tapegrad")


@dataclass
class Settings:
    """What the environment asks for.

    `cache_dir` (TAPEGRAD_CACHE_DIR): where compiled kernels are kept; an empty string keeps
    nothing on disk. `cache_bytes` (TAPEGRAD_CACHE_MB): above this the oldest-used are removed.
    `num_threads` (TAPEGRAD_NUM_THREADS, else OMP_NUM_THREADS): None means one per available core.
    `blas_coretype` (TAPEGRAD_BLAS_CORETYPE): OpenBLAS kernels to use; None chooses by CPU.
    `quiet` (TAPEGRAD_QUIET, anything but 0): nothing is said on stderr while kernels are compiled.
    `record_after` (TAPEGRAD_RECORD_AFTER): calls of a compiled function before the first is recorded; None measures.
    """

    cache_dir: str
    cache_bytes: int
    num_threads: int | None
    blas_coretype: str | None
    quiet: bool = False
    record_after: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings as the given variables (those of the process by default) say."""
        env = os.environ if environment is None else environment
        chosen = env.get("TAPEGRAD_CACHE_DIR")
        folder = os.path.abspath(chosen) if chosen else ""
        megabytes = _positive(env, "TAPEGRAD_CACHE_MB")
        return cls(
            cache_dir=_default_cache_dir(env) if chosen is None else folder,
            cache_bytes=_DEFAULT_CACHE_BYTES if megabytes is None else megabytes << 20,
            num_threads=_positive(env, "TAPEGRAD_NUM_THREADS") or _positive(env, "OMP_NUM_THREADS"),
            blas_coretype=env.get("TAPEGRAD_BLAS_CORETYPE") or None,
            quiet=env.get("TAPEGRAD_QUIET", "") not in ("", "0"),
            record_after=_positive(env, "TAPEGRAD_RECORD_AFTER", least=0),
        )


settings = Settings.from_environment()
_sections: list[tuple[str, Callable[[], dict[str, object]]]] = []


def add_section(title: str, entries: Callable[[], dict[str, object]]) -> None:
    """Let `show_config()` print `entries()` under a title."""
    _sections.append((title, entries))


def show_config() -> str:
    """What the library found on this machine and what it was told, as text to paste into a report.

    >>> from tapegrad._config import show_config
    >>> "python" in show_config()
    True
    """
    lines = [f"python: {sys.version.split()[0]} on {sys.platform}"]
    for title, entries in _sections:
        lines.append(f"{title}:")
        lines.extend(f"  {key}: {value}" for key, value in entries().items())
    return "\n".join(lines)
