"""save and load: tensors, state dicts and plain Python data in one safetensors file.

The tensors are ordinary safetensors entries, so other programs can read them. The structure
around them (dictionaries with their key types, lists, tuples, numbers, strings, bytes, None) is JSON
in the file's metadata. Nothing is executed when a file is loaded.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import math
import os
import pathlib
import shutil
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from . import api
from .nn.parameter import Parameter

__all__ = ["load", "save"]

_KEY = "tapegrad"
_FORMAT = 1
_DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
_ARRAYS_ONLY = ("float16", "int8", "int16", "uint16", "uint32", "uint64")  # types that NumPy's arrays have besides
_SCALARS = (*_DTYPES, *_ARRAYS_ONLY)
FileLike = str | os.PathLike[str] | IO[bytes]


def save(obj: Any, f: FileLike, pickle_module: Any = None, pickle_protocol: Any = None) -> None:
    """Save tensors and plain data to a path or a file opened for writing.

    A path is replaced only when the whole file is written: a save that fails leaves the old file.
    TypeError for objects other than tensors, NumPy arrays, numbers (NumPy's too), strings, bytes,
    paths, None, dictionaries, lists, tuples, sets and namespaces of them; the message says where it
    is. Memory shared between tensors is not kept, but the same tensor object twice is. The pickle
    arguments are ignored.

    >>> import tapegrad as torch, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.pt")
    >>> torch.save({"epoch": 3, "weight": torch.ones(2)}, path)
    >>> torch.load(path)
    {'epoch': 3, 'weight': tensor([1., 1.])}
    """
    from safetensors.numpy import save as to_bytes

    writer = _Writer()
    tree = writer.encode(obj, [])
    text = json.dumps({"format": _FORMAT, "tree": tree}, allow_nan=False)
    data = to_bytes(writer.tensors, {_KEY: text})
    if hasattr(f, "write"):
        f.write(data)
    else:
        _write_atomically(os.fspath(f), data)


def load(
    f: FileLike,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
) -> Any:
    """Load what `save` wrote, or any safetensors file (as a dictionary of tensors).

    `map_location` may name the CPU, which is where everything is. The other arguments are accepted
    and change nothing: loading never executes code. RuntimeError for a damaged or foreign file.
    """
    _check_location(map_location)
    if hasattr(f, "read"):
        data, name = f.read(), getattr(f, "name", "the file object")
    else:
        name = os.fspath(f)
        with open(name, "rb") as file:
            data = file.read()
    tensors, metadata = _parse(data, name)
    if _KEY not in metadata:
        for key, array in tensors.items():
            if array.dtype.name not in _DTYPES:
                raise RuntimeError(f"{name}: tensor {key!r} has the unsupported element type {array.dtype}")
        return {key: _to_tensor(array) for key, array in tensors.items()}
    try:
        document = json.loads(metadata[_KEY])
        version = document["format"]
        if version > _FORMAT:
            raise RuntimeError(f"{name} was saved by a newer tapegrad (format {version}); update to load it")
        return _Reader(tensors).decode(document["tree"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RuntimeError(
            f"{name} is damaged: the description of its structure is wrong ({error!r})"
        ) from error


# -- the structure as JSON
#
# Literals of JSON stand for themselves (None, bool, int, str, finite float); everything else is a
# list whose first entry says what it is.


class _Writer:
    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}
        self._alive: list[Any] = []  # ids stay unique as long as their objects live
        self._open: set[int] = set()

    def encode(self, obj: Any, path: list[str]) -> Any:
        if obj is None or type(obj) in (bool, str, int):
            return obj
        if type(obj) is float:
            return obj if math.isfinite(obj) else ["float", repr(obj)]
        if isinstance(obj, api.Tensor):
            kind = "parameter" if isinstance(obj, Parameter) else "tensor"
            leaf = bool(obj.requires_grad)
            return [kind, self._add(obj, obj.detach().numpy(), path), leaf]
        if isinstance(obj, np.ndarray):
            return ["ndarray", self._add(obj, obj, path)]
        if isinstance(obj, api.Size):
            return ["size", list(obj)]
        for encode in (_encode_number, _encode_text, _encode_name):
            found = encode(obj)
            if found is not None:
                return found
        if id(obj) in self._open:
            raise ValueError(f"cannot save {_where(path)}: it contains itself")
        self._open.add(id(obj))
        try:
            return self._container(obj, path)
        finally:
            self._open.discard(id(obj))

    def _container(self, obj: Any, path: list[str]) -> Any:
        kinds: dict[Any, str] = {dict: "dict", defaultdict: "dict", OrderedDict: "odict", Counter: "counter"}
        if type(obj) in kinds:
            pairs = [
                [self.encode(self._key(k, path), path), self.encode(v, [*path, str(k)])]
                for k, v in obj.items()
            ]
            return [kinds[type(obj)], pairs]
        if type(obj) in (argparse.Namespace, types.SimpleNamespace):
            return ["namespace", type(obj).__name__, self.encode(vars(obj), path)]
        if type(obj) in (slice, range):
            parts = [self.encode(v, path) for v in (obj.start, obj.stop, obj.step)]
            return [type(obj).__name__, parts]
        if type(obj) is deque:
            return ["deque", [self.encode(v, [*path, str(i)]) for i, v in enumerate(obj)], obj.maxlen]
        if type(obj) in (list, tuple, set, frozenset):
            items = [self.encode(v, [*path, str(i)]) for i, v in enumerate(obj)]
            return [type(obj).__name__, items]
        hint = "; save its state_dict() instead" if hasattr(obj, "state_dict") else ""
        raise TypeError(
            f"cannot save {_where(path)}: an object of type {type(obj).__name__} is not plain data{hint}"
        )

    def _key(self, key: Any, path: list[str]) -> Any:
        if key is None or isinstance(key, (bool, int, float, str, bytes, tuple, frozenset, np.generic, api.dtype)):
            return key
        raise TypeError(f"cannot save {_where(path)}: a dictionary key is of type {type(key).__name__}")

    def _add(self, owner: Any, array: np.ndarray, path: list[str]) -> str:
        if id(owner) in self._names:
            return self._names[id(owner)]
        supported = _SCALARS if array is owner else _DTYPES
        if array.dtype.name not in supported or not array.dtype.isnative:
            raise TypeError(f"cannot save {_where(path)}: element type {array.dtype} is not supported")
        base = name = ".".join(path) or "value"
        count = 1
        while name in self.tensors or name == "__metadata__":
            count += 1
            name = f"{base}#{count}"
        self.tensors[name] = np.asarray(array, order="C")
        self._names[id(owner)] = name
        self._alive.append(owner)
        return name


class _Reader:
    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays
        self._made: dict[tuple[str, str], Any] = {}
        self._kinds: dict[str, Callable[..., Any]] = {
            "float": float,
            "complex": lambda parts: complex(*(self.decode(v) for v in parts)),
            "scalar": lambda kind, value: self._numpy_type(kind)(self.decode(value)),
            "numpy dtype": lambda kind: np.dtype(self._numpy_type(kind)),
            "numpy str": np.str_,
            "bytes": base64.b64decode,
            "bytearray": lambda text: bytearray(base64.b64decode(text)),
            "path": pathlib.Path,
            "device": api.device,
            "dtype": self._dtype,
            "slice": lambda parts: slice(*(self.decode(v) for v in parts)),
            "range": lambda parts: range(*(self.decode(v) for v in parts)),
            "deque": lambda items, length: deque((self.decode(v) for v in items), length),
            "namespace": self._namespace,
            "size": api.Size,
            "tensor": lambda name, leaf: self._tensor("tensor", name, leaf),
            "parameter": lambda name, leaf: self._tensor("parameter", name, leaf),
            "ndarray": lambda name: np.array(self._arrays[name]),
            "dict": lambda pairs: dict(self._pairs(pairs)),
            "odict": lambda pairs: OrderedDict(self._pairs(pairs)),
            "counter": lambda pairs: Counter(dict(self._pairs(pairs))),
            "list": lambda items: [self.decode(v) for v in items],
            "tuple": lambda items: tuple(self.decode(v) for v in items),
            "set": lambda items: {self.decode(v) for v in items},
            "frozenset": lambda items: frozenset(self.decode(v) for v in items),
        }

    def decode(self, node: Any) -> Any:
        if not isinstance(node, list):
            if isinstance(node, dict):
                raise ValueError("unexpected JSON object")
            return node
        return self._kinds[node[0]](*node[1:])

    def _pairs(self, pairs: list[list[Any]]) -> list[tuple[Any, Any]]:
        return [(self.decode(k), self.decode(v)) for k, v in pairs]

    def _tensor(self, kind: str, name: str, requires_grad: bool) -> Any:
        key = (kind, name)
        if key not in self._made:
            value = _to_tensor(self._arrays[name])
            if kind == "parameter":
                value = Parameter(value, requires_grad)
            elif requires_grad:
                value.requires_grad_()
            self._made[key] = value
        return self._made[key]

    def _namespace(self, kind: str, content: Any) -> Any:
        cls = argparse.Namespace if kind == "Namespace" else types.SimpleNamespace
        return cls(**self.decode(content))

    @staticmethod
    def _numpy_type(name: str) -> Any:
        if name not in _SCALARS:
            raise ValueError(f"unknown element type {name}")
        return np.dtype(name).type

    @staticmethod
    def _dtype(name: str) -> Any:
        if name not in _DTYPES:
            raise ValueError(f"unknown dtype {name}")
        return getattr(api, name)


# -- single values: None from each of these functions for what is not theirs


def _encode_number(obj: Any) -> Any:
    if isinstance(obj, np.generic) and obj.dtype.name in _SCALARS:
        value = obj.item()
        return ["scalar", obj.dtype.name, value if math.isfinite(value) else ["float", repr(value)]]
    if type(obj) is complex:
        return ["complex", [v if math.isfinite(v) else ["float", repr(v)] for v in (obj.real, obj.imag)]]
    return None


def _encode_text(obj: Any) -> Any:
    if type(obj) is np.str_:
        return ["numpy str", str(obj)]
    if isinstance(obj, str):
        return str(obj)
    if type(obj) in (bytes, bytearray):
        return [type(obj).__name__, base64.b64encode(obj).decode("ascii")]
    if isinstance(obj, pathlib.Path):
        return ["path", str(obj)]
    return None


def _encode_name(obj: Any) -> Any:
    if isinstance(obj, api.dtype):
        return ["dtype", obj.name]
    if isinstance(obj, api.device):
        return ["device", str(obj)]
    if isinstance(obj, np.dtype) and obj.name in _SCALARS:
        return ["numpy dtype", obj.name]
    return None


# -- bytes


def _parse(data: bytes, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file; RuntimeError if it is not a sound one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        arrays = from_bytes(bytes(data))
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        if data[:4] == b"PK\x03\x04" or data[:2] in (b"\x80\x02", b"\x80\x04"):
            raise RuntimeError(
                f"{name} is a PyTorch pickle file; load it with PyTorch and save the tensors with safetensors"
            ) from None
        raise RuntimeError(f"{name} is damaged or not a safetensors file ({error})") from error
    return arrays, metadata


def _to_tensor(array: np.ndarray) -> api.Tensor:
    return api.from_numpy(np.array(array))  # a copy: what was read may be read-only


def _write_atomically(path: str, data: bytes) -> None:
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        if os.path.isdir(path):
            raise IsADirectoryError(f"cannot save to {path}: it is a directory")
        with open(path, "wb") as file:  # a device or a pipe cannot be replaced
            file.write(data)
        return
    temporary = f"{path}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _check_location(location: Any) -> None:
    if location is None or callable(location):
        return
    places = location.values() if isinstance(location, dict) else [location]
    for place in places:
        if str(place).partition(":")[0] != "cpu":
            raise RuntimeError(f"map_location={location!r}: tapegrad loads to the CPU only; use 'cpu'")


def _where(path: list[str]) -> str:
    return "the object" if not path else "".join(f"[{part!r}]" for part in path)
