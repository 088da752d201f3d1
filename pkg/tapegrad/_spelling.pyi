from collections.abc import Callable
from typing import Any

class Spelled:
    function: Callable[..., Any]
    names: tuple[str, ...]
    star: str | None
    others: dict[str, str]
    is_short: bool
    __name__: str
    __qualname__: str
    def __init__(
        self,
        function: Callable[..., Any],
        names: tuple[str, ...],
        defaults: tuple[Any, ...],
        others: dict[str, str],
        shown: dict[str, str],
        target: Callable[..., Any] | None = None,
        op: int = -1,
        tensors_only: bool = False,
        star: str | None = None,
        check: Callable[[str, str, int, Any], None] | None = None,
    ) -> None: ...
    def __get__(self, instance: Any, kind: Any) -> Any: ...
    def __call__(self, *args: Any, **named: Any) -> Any: ...
