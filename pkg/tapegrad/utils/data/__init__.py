"""Datasets, samplers and the DataLoader, under the names of torch.utils.data.

>>> import tapegrad as torch
>>> data = torch.utils.data.TensorDataset(torch.arange(5), torch.zeros(5, 2))
>>> [len(y) for y, x in torch.utils.data.DataLoader(data, batch_size=2)]
[2, 2, 1]
"""

from typing import TYPE_CHECKING

from ..._missing import names_missing
from .collate import default_collate, default_convert
from .dataloader import DataLoader, get_worker_info
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
