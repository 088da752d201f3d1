from collections.abc import Callable
from typing import Any

from ._guards import Snapshot
from ._machine import Machine

class Form:
    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], not_used: frozenset[int | str] = ...
    ) -> None: ...

def without_unused(
    args: tuple[Any, ...], kwargs: dict[str, Any], not_used: frozenset[int | str]
) -> tuple[tuple[Any, ...], dict[str, Any]]: ...

def run_disabled(fn: Callable[..., Any], recursive: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

class Caller:
    fn: Callable[..., Any]
    replayed_fast: int
    until_due: int
    unseen: int
    plain_fast: int
    typical: int
    form: Form | None
    machine: Machine | None
    snapshot: Snapshot | None
    contents: Callable[[], bool] | None
    def remember_fast(self, form: Any, machine: Any, snapshot: Any, contents: Any = None) -> None: ...
    def forget_fast(self) -> None: ...
    def run_plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

