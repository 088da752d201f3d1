"""Calls of the ops of `indexing`, for the tests; `registry.structured` says how to read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..dtypes import int64
from .registry import Given, Index

SAMPLES: dict[str, list[Any]] = {
    "take_rows": [
        ((4, 3), Given([2, 0, 0, -1], int64)),
        ((4,), Given([[1, -4], [3, 1]], int64)),
        ((3, 2), Index((0,), 3)),
        ((3, 2, 2), Given(1, int64)),
        ((500, 80), Index((600,), 500, -500)),
    ],
    "index_select": [
        ((4, 3), Given([2, 0, 0, 3], int64), {"dim": 0}),
        ((4, 3), Given([2, 0, 0, 1, 2], int64), {"dim": 1}),
        ((2, 4, 3), Given([2, 0, 3], int64), {"dim": -2}),
        ((3, 2), Index((0,), 3), {"dim": 0}),
        ((3,), Given(1, int64), {"dim": 0}),
        ((0, 3), Given([1, 2], int64), {"dim": 1}),
        ((500, 80), Index((600,), 500), {"dim": 0}),
        ((80, 500), Index((600,), 500), {"dim": 1}),
        ((6, 70, 130), Index((90,), 70), {"dim": 1}),
    ],
    "put_rows": [
        ((4, 3), Given([2, 0, -1], int64), (3, 3)),
        ((4, 3), Given([2, 0, -2], int64), (3, 3), {"accumulate": True}),
        ((4,), Given([[1, -4]], int64), (1, 2)),
        ((4, 2), Index((0,), 4), (0, 2)),
        ((500, 80), Index((600,), 500, -500), (600, 80), {"accumulate": True}),
    ],
    "flat_index": [
        (Index((5,), 3, -3), Index((5,), 4, -4), {"sizes": (3, 4), "dims": (0, 1)}),
        (Index((2, 3), 2), Index((2, 3), 5, -5), Index((2, 3), 3), {"sizes": (2, 5, 3), "dims": (0, 1, 3)}),
        (Index((0,), 2), Index((0,), 2), {"sizes": (2, 2), "dims": (0, 1)}),
        (Index((50000,), 30), Index((50000,), 40, -40), {"sizes": (30, 40), "dims": (0, 1)}),
    ],
    "gather": [
        ((3, 4), Index((3, 2), 4), {"dim": 1}),
        ((2, 3, 4), Index((2, 1, 3), 3), {"dim": -2}),
        ((), Given(0, int64), {"dim": 0}),
        ((3, 4), Index((5, 3), 3), {"dim": 0}),
        ((4,), Index((0,), 4), {"dim": 0}),
        ((200, 100), Index((200, 210), 100), {"dim": 1}),
    ],
    "scatter_add": [
        ((3, 4), Index((3, 5), 4), (3, 5), {"dim": 1}),
        ((3, 4), Index((2, 3), 3), (4, 5), {"dim": 0}),
        ((2, 3, 2), Index((2, 4, 1), 3), (2, 4, 1), {"dim": 1}),
        ((4,), Index((0,), 4), (3,), {"dim": 0}),
        ((200, 100), Index((200, 210), 100), (200, 210), {"dim": 1}),
    ],
    "nonzero": [
        (Given([0, 3, 0, 1]), {"count": 2}),
        (Given([[0, 1], [1, 1]]), {"count": 3}),
        (Given([[0, 0]]), {"count": 0}),
        (Given(1), {"count": 1}),
        (Given([[1, 0, 1]] * 15000), {"count": 30000}),
    ],
}

# Per op: what brings a size that its kernels name to n; see `structured`.
CONSTANTS: dict[str, Mapping[str, Callable[[int], Any] | None]] = {
    "take_rows": {
        "GRAIN": lambda n: ((9, 5), Index((n // 5,), 9)),
        "COLUMNS": lambda n: ((9, n), Index((12,), 9)),
    },
    "put_rows": {
        "GRAIN": lambda n: ((n // 64, 70), Index((9,), n // 64), (9, 70), {"accumulate": True}),
        "COLUMNS": lambda n: ((9, n), Given([1, 7, 3], int64), (3, n)),
    },
    "index_select": {
        "GRAIN": lambda n: ((3, 9, 5), Index((n // 15,), 9), {"dim": 1}),
        "COLUMNS": lambda n: ((2, 9, n), Index((12,), 9), {"dim": 1}),
    },
    "flat_index": {"GRAIN": lambda n: (Index((n,), 3), Index((n,), 4), {"sizes": (3, 4), "dims": (0, 1)})},
    "gather": {"GRAIN": lambda n: ((7, 4), Index((n // 4, 4), 7), {"dim": 0})},
    "scatter_add": {"GRAIN": lambda n: ((7, 4), Index((n // 4, 4), 7), (n // 4, 4), {"dim": 0})},
    "count_nonzero": {"GRAIN": lambda n: ((n,),)},
    "nonzero": {},
}
