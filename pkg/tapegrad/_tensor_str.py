"""How a tensor is printed: character by character as PyTorch prints it.

Pure NumPy and Python, knows nothing of Tensor: the caller hands over an array and what goes into
the suffix. The format has two passes. The first looks at all elements that will be shown and picks
one column layout for them (integers with a trailing dot, fixed point, or scientific) and one width;
the second writes rows of such columns, `...` in the middle of long dimensions.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["format_tensor", "get_printoptions", "printoptions", "set_printoptions"]

Array = npt.NDArray[Any]


@dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Choose how tensors are printed, for the whole process; what is not named stays.

    `precision` digits after the point (4), `threshold` elements above which the middle is left out
    (1000), `edgeitems` shown at each end then (3), `linewidth` in characters (80), `profile` one of
    "default", "short", "full", `sci_mode` True or False to force or forbid scientific notation. As
    in PyTorch, a call that does not name `sci_mode` puts it back to automatic, and an unknown
    profile changes nothing.

    >>> import tapegrad as torch
    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([1.12345])
    tensor([1.12])
    >>> torch.set_printoptions(profile="default")
    >>> torch.tensor([1.12345])
    tensor([1.1235])
    """
    chosen = dict(_PROFILES.get(profile, {})) if profile is not None else {}
    named = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen.update((name, value) for name, value in named.items() if value is not None)
    for name, value in chosen.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The present options, as keyword arguments of `set_printoptions`.

    >>> from tapegrad._tensor_str import get_printoptions
    >>> get_printoptions()["precision"]
    4
    """
    return asdict(_options)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Other print options inside a `with` block, the old ones after it.

    >>> import tapegrad as torch
    >>> from tapegrad._tensor_str import printoptions
    >>> with printoptions(precision=1):
    ...     print(torch.tensor([0.25, 0.5]))
    tensor([0.2, 0.5])
    """
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


class _Column:
    """The layout that all shown elements share."""

    def __init__(self, shown: Array) -> None:
        self.floating = shown.dtype.kind == "f"
        self.whole = True  # all finite values are integers: "3."
        self.scientific = False
        self.width = 1
        flat = shown.reshape(-1)
        if not self.floating:
            self.width = max((len(str(v)) for v in flat.tolist()), default=1)
            return
        flat = flat.astype(np.float64)
        # Zeros and non-finite values do not take part in choosing the layout, nor the width.
        values = flat[np.isfinite(flat) & (flat != 0)]
        if values.size == 0:
            return
        self.whole = bool(np.all(values == np.ceil(values)))
        smallest, largest = float(np.min(np.abs(values))), float(np.max(np.abs(values)))
        if _options.sci_mode is None:
            with np.errstate(over="ignore"):
                ratio = float(np.float64(largest) / np.float64(smallest))
            self.scientific = ratio > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4
        else:
            self.scientific = bool(_options.sci_mode)
        self.width = max(self.width, max(len(self._digits(v)) for v in values.tolist()))

    def _digits(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{_options.precision}e}"
        if self.whole:
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{_options.precision}f}"

    def __call__(self, value: Any) -> str:
        return (self._digits(value) if self.floating else str(value)).rjust(self.width)


def _ends(a: Array) -> Array:
    """Only the elements that a summarised print shows."""
    edge = _options.edgeitems
    if a.ndim == 0:
        return a
    if a.ndim > 1 and not edge:
        return np.empty((0,) * a.ndim, a.dtype)
    if a.shape[0] > 2 * edge:
        # a[-0:] is everything: with no edge items PyTorch measures a whole vector.
        a = np.concatenate((a[:edge], a[-edge:]))
    return a if a.ndim == 1 else np.stack([_ends(row) for row in a])


def _rows(a: Array, column: _Column, indent: int, summarise: bool) -> str:
    edge = _options.edgeitems
    if a.ndim == 0:
        return column(a.item())
    cut = summarise and a.shape[0] > 2 * edge
    if a.ndim == 1:
        if summarise and not edge:
            cells = ["..."]
        elif cut:
            cells = [*map(column, a[:edge].tolist()), " ...", *map(column, a[-edge:].tolist())]
        else:
            cells = [column(v) for v in a.tolist()]
        per_line = max(1, math.floor((_options.linewidth - indent) / (column.width + 2)))
        lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    picked = [*range(edge), *range(len(a) - edge, len(a))] if cut else [*range(len(a))]
    parts = [_rows(a[i], column, indent + 1, summarise) for i in picked]
    if cut:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def format_tensor(
    array: Array,
    dtype_name: str,
    requires_grad: bool = False,
    grad_fn_name: str | None = None,
    tensor_prefix: str = "tensor(",
    *,
    parameter: bool = False,
    default_dtype_name: str = "float32",
) -> str:
    """The text of a tensor whose elements are `array` (any shape, a view will do).

    `dtype_name` is the tensor's type without "torch."; it is shown where the digits do not tell it.
    A `grad_fn_name` such as "MulBackward0" takes the place of `requires_grad=True`. `tensor_prefix`
    is the class name with its bracket, `parameter` puts "Parameter containing:" on top.

    >>> import numpy as np
    >>> from tapegrad._tensor_str import format_tensor
    >>> print(format_tensor(np.array([1.0, 2.5]), "float64", grad_fn_name="MulBackward0"))
    tensor([1.0000, 2.5000], dtype=torch.float64, grad_fn=<MulBackward0>)
    """
    indent = len(tensor_prefix)
    suffixes = []
    if array.size == 0:
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
        if dtype_name != default_dtype_name:
            suffixes.append(f"dtype=torch.{dtype_name}")
        text = "[]"
    else:
        if not _options.edgeitems:
            suffixes.append(f"size={tuple(array.shape)}")
        if dtype_name not in (default_dtype_name, "int64", "bool"):
            suffixes.append(f"dtype=torch.{dtype_name}")
        summarise = array.size > _options.threshold
        column = _Column(_ends(array) if summarise else array)
        text = _rows(array, column, indent, summarise)
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")

    text = tensor_prefix + text
    # PyTorch counts the last line two characters long when there is a line break before it
    # (rfind gives the break itself, -1 if there is none), and a suffix moves down as a whole.
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return ("Parameter containing:\n" if parameter else "") + text + ")"
