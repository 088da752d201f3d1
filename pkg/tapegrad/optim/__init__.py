"""Optimizers and learning-rate schedules under the names of torch.optim.

>>> import tapegrad as torch
>>> model = torch.nn.Linear(2, 1)
>>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
>>> optimizer.zero_grad()
"""

from typing import TYPE_CHECKING

from .._missing import names_missing
from . import lr_scheduler
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]

if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
