"""The states of an association, and the timer that repeats a control chunk."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """RFC 9260 section 4."""

    CLOSED = auto()
    COOKIE_WAIT = auto()
    COOKIE_ECHOED = auto()
    ESTABLISHED = auto()
    SHUTDOWN_PENDING = auto()
    SHUTDOWN_SENT = auto()
    SHUTDOWN_RECEIVED = auto()
    SHUTDOWN_ACK_SENT = auto()
    GONE = auto()
    "Closed for good: an association object has one life."


class RepeatTimer:
    """Runs out again and again, each time after twice as long, until it is stopped."""

    def __init__(self, max_delay_s: float) -> None:
        self._max_delay_s = max_delay_s
        self._delay_s = 0.0
        self.due: float | None = None
        self.repeats = 0

    def start(self, now: float, delay_s: float) -> None:
        """Run out after this time."""
        self._delay_s = min(delay_s, self._max_delay_s)
        self.due = now + self._delay_s
        self.repeats = 0

    def stop(self) -> None:
        """Run out no more."""
        self.due = None

    def has_expired(self, now: float) -> bool:
        """Whether it has run out; then it runs on with twice the time."""
        if self.due is None or now < self.due:
            return False
        self.repeats += 1
        self._delay_s = min(2 * self._delay_s, self._max_delay_s)
        self.due = now + self._delay_s
        return True
