"""Whether a recording may still pay: what was spent on recordings against what the function's calls take.

Nothing is recorded before calls have taken so long that a recording is a small part of it. Eight recordings one
after the other without a replay are the end for a while, which is longer each time; calls between are not looked at,
but for some that tell whether a program fits again.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MOST_FRUITLESS", "NOT_YET", "Patience"]

NOT_YET = "calls have not taken long enough for a recording to pay"
MOST_FRUITLESS = 8  # recordings one after the other, of whatever signature, without a replay
MOST_WITHOUT_WARNING = 64  # the same where the user wants an error instead of a warning
MOST_NEW = 128  # calls one after the other, each of a form that was not there before, or was there once
WORTH = 16  # replays that make up for a recording
MOST_SEEN = 1024  # forms of calls
FIRST_PAUSE = 32  # calls
ALIKE = 4  # calls of one form, one after the other, that are worth another try
SHARE = 8  # of the time of plain calls that recordings may take, one part in so many
FIRST_COST = 750_000  # ns that a recording takes, before one was measured
AT_A_STRETCH = 64  # calls that run without a look, before it is seen how long they take now
MOST_SKIPPED = 4096


class Patience:
    """When a compiled function records, and how many calls it does not look at.

    `record_after` is the number of calls before the first recording, or None: it is found by measuring.
    """

    def __init__(self, record_after: int | None, most_fruitless: int = MOST_FRUITLESS) -> None:
        self._most_fruitless = most_fruitless
        self.record_after = record_after
        self.fruitless = 0  # recordings since a program ran; those that became one count half
        self.unfit = 0  # of these, those that cannot become one
        self._new = 0  # calls since then of a form that was not there before, and were not recorded
        self.again = False  # whether the last form that was taken had been there before
        self._again = 0  # recordings since then of a form that was there before, and was not recorded
        self._careful = record_after is None  # forms are recorded when they come again
        self._replayed = 0  # replays when these were last forgiven
        self._in_vain = 0  # calls since a program ran for which there was none
        self._seen: set[int] = set()
        self._pause = FIRST_PAUSE
        self._rests_until = 0  # in calls
        self._form = 0  # of the last call for which there was no program
        self._alike = 0  # such calls of this form one after the other
        self._varied = False  # whether there were others since recordings began to be in vain
        self._rested = False  # whether recordings were given up since a program ran
        self._share = SHARE
        self._spent = 0
        self._cost = FIRST_COST

    def look(self, replayed: int) -> None:
        """Takes note of how often programs have run."""
        if replayed != self._replayed:
            self._replayed = replayed
            self.fruitless = self.unfit = self._new = self._again = self._in_vain = self._rests_until = 0
            self._careful, self._rested = self.record_after is None, False

    def until_paid(self, plain: int, typical: int) -> int:
        """How many calls are to run before a recording pays, after so many that took so many ns each."""
        if self.record_after is not None:
            return max(self.record_after - plain, 0)
        if not typical:
            return 1
        missing = self._spent + 2 * self._cost - typical * (plain // self._share + self._replayed // 4)
        return 0 if missing <= 0 else min(AT_A_STRETCH, missing * self._share // typical + 1)

    def resting(self, calls: int, form: Any) -> bool:
        """Whether recordings were given up for a while, which is not over after so many calls.

        It is over too when calls that were of different forms are of one form.
        """
        same = hash(form) == self._form
        self._form, self._alike = hash(form), self._alike + 1 if same else 0
        self._varied |= not same and self.fruitless + self._new > 0
        if self._rests_until and (calls >= self._rests_until or self.settled()):
            self._varied = False
            self._rests_until = self.fruitless = self.unfit = self._new = self._again = 0
        return self._rests_until > 0

    def worn_out(self, new: bool) -> bool:
        """Whether so much was in vain that recordings are to be given up for a while, given whether the form is new."""
        if new and self._most_fruitless == MOST_FRUITLESS:
            return self._new >= MOST_NEW or self._again >= MOST_NEW
        return self.fruitless >= self._most_fruitless

    def takes(self, form: Any) -> bool:
        """Whether a call of a form without recordings is recorded: the first few are, and those that come again."""
        if self.is_new(form):
            self.again = False
            if not self._careful and self.fruitless < self._most_fruitless:
                return True
            self._new += not self._rested
            return False
        self.again = True
        self._again += 1
        return True

    def rest(self, calls: int) -> None:
        """Gives up for a while, after so many calls."""
        self._rests_until, self._pause, self._share = calls + self._pause, 2 * self._pause, 2 * self._share
        self._careful = self._rested = True

    def settled(self) -> bool:
        """Whether the last calls were of one form, after others."""
        return self._varied and self._alike >= ALIKE

    def is_new(self, form: Any) -> bool:
        """Whether there was no call of this form before, for all that is known."""
        number = hash(form)
        if number in self._seen:
            return False
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        self._seen.add(number)
        return True

    def took(self, time: int, typical: int) -> None:
        """A recording took so many ns with the call in it."""
        self._cost = max(time - typical, 0)
        self._spent += self._cost

    def made(self, first: bool) -> None:
        """A recording became a program, the first one of calls of its form or another one."""
        self.fruitless = max(self.fruitless - 1 - first, 0)
        self.unfit = 0

    @property
    def tells(self) -> bool:
        """Whether calls that are not recorded are still looked at, to tell what changes between them."""
        return self._new > 0 and not self._rested

    def skipped(self, calls: int) -> int:
        """How many calls are not looked at, after one for which there was no program: an eighth of such calls."""
        if self.tells:
            return 0
        self._in_vain += 1
        n = min(self._in_vain // 8, MOST_SKIPPED)
        if self._rests_until:
            n = min(n, max(self._rests_until - calls, 0))
        self._in_vain += n
        return n
