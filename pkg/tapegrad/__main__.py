"""Commands: `python -m tapegrad warm` compiles common kernels, `python -m tapegrad config` says what was found here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import dtypes, native
from ._warm import warm


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m tapegrad", description="Work around the library, not on tensors.")
    commands = parser.add_subparsers(dest="command", required=True)
    text = "compile what common training programs use and keep it, so that first runs need not"
    make = commands.add_parser("warm", help=text, description=text)
    make.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    make.add_argument("--jobs", type=_positive, help="processes that compile; by default one per core, at most four")
    text = "print what the library found on this machine: versions, CPU, folder of kernels, threads"
    commands.add_parser("config", help=text, description=text)
    given = parser.parse_args(arguments)
    if given.command == "config":
        print(native.show_config())
        return 0
    return warm(getattr(dtypes, given.dtype), given.jobs)


if __name__ == "__main__":
    sys.exit(main())
