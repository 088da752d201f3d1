"""Whether replays lose: those that do not go the fast way may take longer than the plain calls that they stand for.

Kept as an account in nanoseconds. Calls on the slow way put in what they took beyond a plain call, calls on the fast
way take out half of one. When it has grown to many plain calls, calls run plainly for a while, longer each time.
"""

from __future__ import annotations

__all__ = ["LOSES", "Losses"]

LOSES = "finding the program of a call that is not like the last one takes longer than the call"
MOST_LOST = 32  # plain calls, until replays are given up for a while
LEFT = 28  # of them after a while: a few more lost ones are enough
OUTLIER = 4  # a call counts for at most so many plain ones
FIRST_PAUSE = 64  # calls
LONGEST_PAUSE = 4096


class Losses:
    """The account of one compiled function."""

    def __init__(self) -> None:
        self._lost = 0
        self._pause = FIRST_PAUSE

    def note(self, took: int, typical: int, fast: int) -> int:
        """How many calls are to run plainly after a slow replay of so many ns.

        `typical` is what a plain call takes, `fast` how many calls went the fast way since the last slow replay.
        """
        if not typical:
            return 0
        self._lost -= fast * typical // 2
        if self._lost < 0:
            self._lost, self._pause = 0, FIRST_PAUSE
        self._lost = max(self._lost + min(took, OUTLIER * typical) - typical, 0)
        if self._lost <= MOST_LOST * typical:
            return 0
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._lost = LEFT * typical
        return pause
