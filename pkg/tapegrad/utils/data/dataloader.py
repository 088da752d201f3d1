"""DataLoader: batches of a dataset in this process, with PyTorch's stream of random numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ... import api
from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset, TensorDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader", "get_worker_info"]

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


def get_worker_info() -> None:
    """None: there are no worker processes."""
    return None


class _Forever:
    """The sampler of an iterable dataset: indices nobody looks at."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader:
    """Iterates over batches of a dataset.

    Samples are fetched in the calling process. Batches of a plain TensorDataset are gathered with
    one indexing operation per tensor. `num_workers` above 0 raises NotImplementedError.

    >>> import tapegrad as torch
    >>> data = torch.utils.data.TensorDataset(torch.arange(4))
    >>> [x.tolist() for (x,) in torch.utils.data.DataLoader(data, batch_size=3)]
    [[0, 1, 2], [3]]
    """

    _initialized = False

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: api.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order

        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            for name, value in (
                ("shuffle", shuffle or None),
                ("sampler", sampler),
                ("batch_sampler", batch_sampler),
            ):
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, "
                        f"but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
                    "drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None:
            if self._iterable:
                sampler = _Forever()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler: Any = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self._reported_length: int | None = None
        self._initialized = True

    def __setattr__(self, attr: str, val: Any) -> None:
        if self._initialized and attr in _FIXED:
            raise ValueError(f"{attr} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(attr, val)

    def __iter__(self) -> Iterator[Any]:
        return _LoaderIterator(self)

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        if not self._iterable:
            return len(self._index_sampler)
        length: int = len(self.dataset)  # type: ignore[arg-type]
        self._reported_length = length
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)


def _check_workers(
    num_workers: int,
    timeout: float,
    prefetch_factor: int | None,
    persistent_workers: bool,
    context: Any,
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers > 0:
        raise NotImplementedError(
            f"DataLoader(num_workers={num_workers}): worker processes are not supported; use "
            "num_workers=0 (batches of a TensorDataset are gathered natively and need no workers)"
        )
    if prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if persistent_workers:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if context is not None:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), "
            f"but got num_workers={num_workers}"
        )


class _LoaderIterator:
    """One pass over a DataLoader."""

    def __init__(self, loader: DataLoader) -> None:
        if loader.pin_memory:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, "
                "then device pinned memory won't be used.",
                stacklevel=3,
            )
        if loader.timeout != 0:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        self._loader = loader
        self._yielded = 0
        self._batched = loader.batch_sampler is not None
        self._gather = (
            type(loader.dataset) is TensorDataset
            and loader.collate_fn is default_collate
            and self._batched
            and bool(loader.dataset.tensors)
        )
        self._indices: Iterator[Any]
        if self._gather and _is_private_shuffle(loader):
            self._indices = _shuffled_batches(loader)
        else:
            self._indices = iter(loader._index_sampler)
        # Worker processes would be seeded from this; drawn so that the stream stays PyTorch's.
        self._base_seed = api.empty((), dtype=api.int64).random_(generator=loader.generator).item()
        self._samples = iter(loader.dataset) if loader._iterable else None

    def __iter__(self) -> _LoaderIterator:
        return self

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def __next__(self) -> Any:
        index = next(self._indices)
        if self._gather:
            return [tensor[index] for tensor in self._loader.dataset.tensors]  # type: ignore[attr-defined]
        if self._samples is not None:
            return self._next_of_iterable(index)
        dataset = self._loader.dataset
        if not self._batched:
            return self._loader.collate_fn(dataset[index])
        many = getattr(dataset, "__getitems__", None)
        samples = many(index) if many else [dataset[i] for i in index]
        return self._loader.collate_fn(samples)

    def _next_of_iterable(self, index: Any) -> Any:
        loader = self._loader
        assert self._samples is not None
        if self._batched:
            samples = []
            for _ in index:
                try:
                    samples.append(next(self._samples))
                except StopIteration:
                    self._samples = iter(())
                    break
            if not samples or (loader.drop_last and len(samples) < len(index)):
                raise StopIteration
            data = loader.collate_fn(samples)
        else:
            data = loader.collate_fn(next(self._samples))
        self._yielded += 1
        if loader._reported_length is not None and self._yielded > loader._reported_length:
            warnings.warn(
                f"Length of IterableDataset {loader.dataset} was reported to be {loader._reported_length}"
                f"(when accessing len(dataloader)), but {self._yielded} samples have been fetched. ",
                stacklevel=3,
            )
        return data


def _is_private_shuffle(loader: DataLoader) -> bool:
    """Whether the order comes from a generator of this pass only, so that how much is drawn of it
    cannot be seen outside."""
    sampler = loader.sampler
    return (
        type(loader.batch_sampler) is BatchSampler
        and type(sampler) is RandomSampler
        and sampler.generator is None
        and not sampler.replacement
        and sampler._num_samples is None
    )


def _shuffled_batches(loader: DataLoader) -> Iterator[api.Tensor]:
    """The index batches of a shuffle as slices of one permutation, without Python integers."""
    n = len(loader.dataset)  # type: ignore[arg-type]
    size: int = loader.batch_size  # type: ignore[assignment]
    order = api.randperm(n, generator=loader.sampler._pass_generator())
    for start in range(0, n - size + 1 if loader.drop_last else n, size):
        yield order[start : start + size]
