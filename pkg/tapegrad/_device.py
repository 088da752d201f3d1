"""Devices: this build computes on the CPU."""

from __future__ import annotations

__all__ = ["device", "get_default_device", "set_default_device"]


class device:
    """Where a tensor lives: `device("cpu")`.

    Raises RuntimeError for a device that does not exist here, when a tensor is asked to live on it.

    >>> import tapegrad as torch
    >>> torch.device("cpu")
    device(type='cpu')
    """

    __slots__ = ("index", "type")

    def __init__(self, type: str | device = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            index = type.index
            type = type.type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        name, _, number = type.partition(":")
        if number:
            if index is not None:
                raise RuntimeError("type (string) must not include an index because index was passed explicitly")
            if not number.isdecimal():
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if name not in ("cpu", "cuda", "mps", "meta"):
            raise RuntimeError(f"Expected one of cpu, cuda, mps, meta device type at start of device string: {type}")
        self.type: str = name
        self.index: int | None = index

    # `with device("cpu"):` makes tensors on it, where they are made in any case.
    def __enter__(self) -> device:
        require_cpu(self)
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __repr__(self) -> str:
        number = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{number})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU = device("cpu")


def require_cpu(where: object) -> None:
    """RuntimeError unless `where` (None, a string or a device) names the CPU."""
    if where is None or where is CPU:
        return
    d = where if isinstance(where, device) else device(where)  # type: ignore[arg-type]
    if d.type != "cpu":
        raise RuntimeError(f"tapegrad has no {d.type} device in this build; use device='cpu'")


def get_default_device() -> device:
    """The device that tensors are made on: the CPU."""
    return CPU


def set_default_device(device: device | str | None) -> None:
    """Sets where tensors are made; RuntimeError for anything but the CPU.

    >>> import tapegrad as torch
    >>> torch.set_default_device("cpu")
    """
    require_cpu(device)
