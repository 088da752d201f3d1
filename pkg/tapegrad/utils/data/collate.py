"""Making a batch of a list of samples."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ... import api

__all__ = ["default_collate", "default_convert"]


def _wrong_type(kind: object) -> TypeError:
    return TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}"
    )


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples: tensors, arrays and numbers to a tensor with a new first dimension; strings stay.

    Tuples, lists, named tuples and mappings are collated per entry; a tuple gives a list.
    TypeError for anything else, RuntimeError for sequences of different lengths.

    >>> import tapegrad as torch
    >>> torch.utils.data.default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    first = batch[0]
    if isinstance(first, api.Tensor):
        return api.stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise _wrong_type(first.dtype)
        return api.stack([api.as_tensor(b) for b in batch], 0)
    if isinstance(first, (np.bool_, np.number)):
        return api.from_numpy(np.asarray(batch))
    if isinstance(first, float):
        return api.tensor(list(batch), dtype=api.float64)
    if isinstance(first, int):
        return api.tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _collate_mapping(first, batch)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(samples) for samples in zip(*batch, strict=False)))
    if isinstance(first, Sequence):
        return _collate_sequence(first, batch)
    raise _wrong_type(type(first))


def _collate_mapping(first: Mapping[Any, Any], batch: Sequence[Any]) -> Any:
    collated = {key: default_collate([sample[key] for sample in batch]) for key in first}
    try:
        if isinstance(first, MutableMapping):
            clone = copy.copy(first)  # keeps what the type has beyond its entries
            clone.update(collated)
            return clone
        return type(first)(collated)  # type: ignore[call-arg]
    except TypeError:
        return collated


def _collate_sequence(first: Sequence[Any], batch: Sequence[Any]) -> Any:
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    collated = [default_collate(samples) for samples in zip(*batch, strict=True)]
    if isinstance(first, tuple):
        return collated
    try:
        if isinstance(first, MutableSequence):
            clone = copy.copy(first)
            for i, value in enumerate(collated):
                clone[i] = value
            return clone
        return type(first)(collated)  # type: ignore[call-arg]
    except TypeError:
        return collated


def default_convert(data: Any) -> Any:
    """Without batching: arrays to tensors, also inside containers; everything else stays."""
    if isinstance(data, np.ndarray) and data.dtype.kind in "SUO":
        return data
    if isinstance(data, (np.ndarray, np.bool_, np.number)):
        return api.as_tensor(data)
    if isinstance(data, Mapping):
        return type(data)({k: default_convert(v) for k, v in data.items()})  # type: ignore[call-arg]
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(v) for v in data))
    if isinstance(data, tuple):
        return [default_convert(v) for v in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return type(data)([default_convert(v) for v in data])  # type: ignore[call-arg]
    return data
