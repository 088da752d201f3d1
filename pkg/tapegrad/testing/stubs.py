"""Writes the type stubs that follow from the registry and the tables: `python -m tapegrad.testing.stubs`.

`api.pyi` lists the public functions, `_layout.pyi` the words, and `_tensor.pyi` gets, behind what is
written by hand, the methods that Tensor is given when tapegrad is imported. A test asserts that the
files are up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import _layout, _wiring, api
from .._functions.base import FUNCTIONS

PACKAGE = Path(__file__).resolve().parents[1]
COMMAND = "python -m tapegrad.testing.stubs"
MARK = f"    # From here on written by `{COMMAND}`: what Tensor is given when tapegrad is imported.\n"
HEADER = f"# Written by `{COMMAND}` from the tables of public names.\n"

# Names that mean something else in these namespaces, as they are written in annotations there.
_SHADOWED = {"bool": "_bool", "dtype": "_dtype", "float": "_float", "int": "_int"}
# What functions without a full annotation return; tensors if they are not here.
_RETURNS = {
    "element_size": "_int",
    "ndimension": "_int",
    "nelement": "_int",
    "max": "Any",
    "min": "Any",
    "where": "Any",
    "type": "Any",
}
_UNLISTED = "former"  # arguments in an order that PyTorch deprecates
_HANDLES = {"register_hook", "register_post_accumulate_grad_hook"}


def _annotation(text: Any) -> str:
    """An annotation of the source in the words of the stub."""
    if not isinstance(text, str):
        text = "None" if text is None else getattr(text, "__name__", "Any")
    text = text.replace("Dims", "int | Sequence[int] | None").replace("Tensors", "Tensor | Sequence[Tensor]")
    return re.sub(r"\b(bool|dtype|float|int)\b", lambda m: _SHADOWED[m[0]], text)


def _parameters(function: Callable[..., Any], method: bool) -> str:
    """The parameter list; functions of the ops floor, which knows no Tensor, take tensors first."""
    from_ops = (inspect.unwrap(function).__module__ or "").startswith("tapegrad.ops")
    parts: list[str] = []
    kinds = inspect.Parameter
    starred = False
    for k, p in enumerate(inspect.signature(function).parameters.values()):
        if k == 0 and method:
            parts.append("self")
            continue
        if p.name == _UNLISTED:
            continue
        unknown = p.annotation is kinds.empty or (from_ops and p.annotation == "Any")
        name = ("*" if p.kind is kinds.VAR_POSITIONAL else "**" if p.kind is kinds.VAR_KEYWORD else "") + p.name
        if p.kind is kinds.VAR_POSITIONAL:
            starred = True
        elif p.kind is kinds.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        text = f"{name}: " + ("Tensor" if unknown and k == 0 else "Any" if unknown else _annotation(p.annotation))
        parts.append(text if p.default is kinds.empty else f"{text} = {p.default!r}")
    return ", ".join(parts)


def _result(name: str, function: Callable[..., Any]) -> str:
    if name in _RETURNS:
        return _RETURNS[name]
    if name in _HANDLES:
        return "RemovableHandle"
    given = inspect.signature(function).return_annotation
    return "Tensor" if given in (inspect.Signature.empty, "Any") else _annotation(given)


def _definition(name: str, function: Callable[..., Any], method: bool = False) -> str:
    return f"def {name}({_parameters(function, method)}) -> {_result(name, function)}: ..."


def api_text() -> str:
    """The text of `api.pyi`."""
    dtypes = {name for name in api.__all__ if type(getattr(api, name)).__name__ == "dtype"}
    lines = [
        HEADER,
        "from builtins import bool as _bool, float as _float, int as _int",
        "from collections.abc import Callable, Sequence",
        "from typing import Any",
        "",
        "from ._runtime import _multi_tensor_update as _multi_tensor_update",
        "from .dtypes import dtype as _dtype",
    ]
    constants: list[str] = []
    definitions: list[str] = []
    for name in sorted(api.__all__):
        value = getattr(api, name)
        if name in FUNCTIONS:
            definitions.append(_definition(name, value))
        elif name in dtypes:
            constants.append(f"{name}: _dtype")
        elif isinstance(value, float):
            constants.append(f"{name}: _float")
        elif value is None:
            constants.append(f"{name}: None")
        elif name.endswith("Tensor") and name != "Tensor":
            constants.append(f"{name}: type[Tensor]")
        else:
            lines.append(f"from .{_home(name, value)} import {name} as {name}")
    listed = ["__all__ = [", *(f'    "{name}",' for name in sorted(api.__all__)), "]"]
    if not any("Callable" in line for line in (*constants, *definitions)):
        lines[2] = "from collections.abc import Sequence"
    return "\n".join([*lines, "", *listed, "", *constants, "", *definitions, ""])


def _home(name: str, value: Any) -> str:
    """The module that a name of the public namespace is defined in."""
    home = getattr(value, "__module__", None) or type(value).__module__
    if getattr(sys.modules[home], name, None) is not value:
        home = type(value).__module__
    return home.removeprefix("tapegrad.")


def tensor_text(by_hand: str) -> str:
    """The text of `_tensor.pyi`: what is written by hand, then the installed methods."""
    if MARK not in by_hand:
        raise ValueError(f"_tensor.pyi has lost the line {MARK.strip()!r}")
    lines = [by_hand[: by_hand.index(MARK)] + MARK.rstrip("\n")]
    for name, value in sorted(_wiring.installed().items()):
        if isinstance(value, property):
            result = "_bool" if name.startswith("is_") else "Tensor"
            lines += ["    @property", f"    def {name}(self) -> {result}: ..."]
        elif name == "__deepcopy__":
            lines.append("    def __deepcopy__(self, memo: dict[Any, Any]) -> Tensor: ...")
        elif name != "__reduce_ex__":  # every object has that one
            lines.append("    " + _definition(name, value, method=True))
    return "\n".join([*lines, ""])


def layout_text() -> str:
    """The text of `_layout.pyi`."""
    words = sorted(name for name in vars(_layout) if not name.startswith("_"))
    return "\n".join([HEADER, *(f"{name}: int" for name in words), ""])


def texts() -> dict[Path, str]:
    """Every file that is written here, with what has to stand in it."""
    tensor = PACKAGE / "_tensor.pyi"
    return {
        PACKAGE / "api.pyi": api_text(),
        PACKAGE / "_layout.pyi": layout_text(),
        tensor: tensor_text(tensor.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
        print(path)
