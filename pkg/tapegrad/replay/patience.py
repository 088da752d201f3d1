"""Whether recordings of a function still pay."""

from __future__ import annotations

from typing import Any

__all__ = ["Patience"]

MOST_FRUITLESS = 256  # recordings one after the other, of whatever signature, without a replay
ALIKE = 8  # calls of one form, one after the other, that are worth another try
TRIES = 8  # recordings then


class Patience:
    """Whether a recording may still pay: not after very many without a replay, until calls are alike again."""

    def __init__(self) -> None:
        self.fruitless = 0  # recordings since one became a program or a program ran
        self._replayed = 0
        self._form: Any = None  # of the last call
        self._alike = 0  # calls of this form one after the other

    def spent(self, replayed: int, form: Any) -> bool:
        """Whether a call of this form is not to be recorded, after so many replays of the function."""
        if replayed != self._replayed:
            self._replayed, self.fruitless = replayed, 0
        if self.fruitless < MOST_FRUITLESS:
            return False
        self._alike = self._alike + 1 if form == self._form else 0
        self._form = form
        if self._alike < ALIKE:
            return True
        self._form, self._alike, self.fruitless = None, 0, MOST_FRUITLESS - TRIES
        return False
