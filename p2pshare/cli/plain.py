"""Progress as lines, for pipes: at the start, every tenth or every few seconds, at the end; and for logs."""

from __future__ import annotations

import os
import time
from typing import Final

from p2pshare.cli import words
from p2pshare.cli.courses import Course, Courses
from p2pshare.cli.display import say

EVERY_S: Final = 5.0
"""A line at least this often while something moves, beside one at each tenth."""


class Plain(Courses):
    """One line after another on standard error."""

    def note(self, text: str) -> None:
        """A line for a person."""
        say(text)

    def began(self, course: Course) -> None:
        """Say so, once it starts."""
        if course.is_started:
            self.note(f"{course.label}: started")

    def moved(self, course: Course) -> None:
        """Say how far it is, now and then."""
        progress = course.progress
        assert progress is not None
        percent = words.percent(progress)
        tenth = (percent or 0) // 10
        now = self._clock()
        if tenth <= course.told_tenth and now < course.told_at + EVERY_S:
            return
        course.told_tenth, course.told_at = tenth, now
        share = f"{percent}%, " if percent is not None else ""
        left = f", {words.duration(progress.seconds_left)} left" if progress.size else ""
        self.note(
            f"{course.label}: {share}{words.amount(progress)}, {words.rate(progress.rate)}{left}, "
            f"{words.files_done(progress)}"
        )

    def ended(self, course: Course) -> None:
        """The outcome has a line of its own."""


class Log(Plain):
    """What a receiver that runs for months says: a line an offer and its outcome, with the time."""

    def __init__(self) -> None:
        super().__init__()
        self._is_stamped = "JOURNAL_STREAM" not in os.environ  # the journal has the time already

    def note(self, text: str) -> None:
        """A line, with the local time before it."""
        say(self._stamp() + text)

    def error(self, text: str) -> None:
        """So has an error."""
        say(f"{self._stamp()}error: {text}")

    def began(self, course: Course) -> None:
        """Its end has a line."""

    def moved(self, course: Course) -> None:
        """No line."""

    def _stamp(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S ") if self._is_stamped else ""
