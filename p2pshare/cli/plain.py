"""Progress as lines, for logs and pipes: at the start, every tenth or every few seconds, at the end."""

from __future__ import annotations

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
        """Say so."""
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
