"""What Ctrl-C does: end the command, or cancel what runs where the command goes on without it.

The second press ends at once, wherever the first one is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from p2pshare.session.handles import Handle

Jobs = Sequence[Handle[object]]


class Press(Enum):
    """What a Ctrl-C is answered with."""

    CANCELLED_JOBS = "cancelled jobs"
    "The running jobs are cancelled; the command goes on."
    END = "end"
    "The command is to end, in order."
    AT_ONCE = "at once"
    "Somebody is out of patience."


class Interrupts:
    """A command's part in being interrupted."""

    def __init__(self) -> None:
        self.jobs: Callable[[], Jobs] | None = None
        "Set by a command that goes on when these are cancelled."
        self.is_persons_wish = True
        "Whether a person cancels; else the system, or a terminal that was closed, ends the process."
        self.is_ending = False
        "Whether the command has been told to end."
        self._cancelling: Jobs = ()

    def press(self) -> Press:
        """Somebody pressed Ctrl-C: what follows; jobs are cancelled here."""
        if self.is_ending or any(not job.done for job in self._cancelling):
            return Press.AT_ONCE
        jobs = self.jobs() if self.jobs is not None else ()
        if not jobs:
            return self.end()
        self._cancelling = jobs
        for job in jobs:
            job.cancel()
        return Press.CANCELLED_JOBS

    def terminate(self) -> Press:
        """The system wants the process to end, whatever runs; what has come is worth keeping."""
        if self.is_ending:
            return Press.AT_ONCE
        self.is_persons_wish = False
        return self.end()

    def end(self) -> Press:
        """The command ends."""
        self.is_ending = True
        return Press.END
