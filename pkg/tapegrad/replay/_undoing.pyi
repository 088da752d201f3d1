class Undoing:
    def __init__(
        self,
        steps: frozenset[int],
        spans: tuple[tuple[int, int, int, int], ...],
        states: tuple[tuple[int, int], ...],
    ) -> None: ...
