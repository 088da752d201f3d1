"""What the examples' command lines share: kinds of arguments, the parser, and how a program ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


class ExampleError(Exception):
    """Something the user can put right; the text is all that is shown."""


def positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value


def seed_number(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2^63 - 1, got {text!r}")
    return value


def positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number greater than 0, got {text!r}")
    return value


def folder(text: str) -> str:
    if not text or (os.path.exists(text) and not os.path.isdir(text)):
        raise argparse.ArgumentTypeError(f"expected the name of a folder, got {text!r}")
    existing = os.path.abspath(text)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write into {existing}")
    return text


def readable_file(text: str) -> str:
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return text


def make_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser whose help shows the defaults; it exits with status 2 and a message for what makes no sense."""
    return argparse.ArgumentParser(
        prog=f"python -m tapegrad.examples.{program}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def exit_status(program: str, run: Callable[[], object]) -> int:
    """Runs a program; its exit status is 0, 1 for an ExampleError, which is shown as one line, 130 if interrupted."""
    try:
        run()
    except ExampleError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    return 0
