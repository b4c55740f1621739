"""Credit: how many bytes of messages a job stream, or all of a connection's, may carry.

Limits are absolute counts since the stream's (the connection's) start, so a repeated or merged WINDOW does
no harm. Pure: no I/O, no clock. See PROTOCOL.md, section Credit.
"""

from __future__ import annotations

from typing import Final

from p2pshare.errors import LocalProtocolError, RemoteProtocolError

TURNAROUND_S: Final = 0.02
"""Seconds that a grant may take through the threads and event loops of two busy ends, whatever the path.

With a round trip of 0.2 ms alone as the measure the window stayed at 256 KiB, and file to file at 100 MB/s
on a path that carries 370.
"""


class SendWindow:
    """The uploader's side: what it may still send."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.used = 0

    @property
    def credit(self) -> int:
        """Bytes that may be sent now."""
        return self.limit - self.used

    def spend(self, size: int) -> None:
        """Count a message that is sent."""
        if size > self.credit:
            raise LocalProtocolError(f"a message of {size} bytes on a credit of {self.credit}")
        self.used += size

    def raise_to(self, limit: int) -> None:
        """Take a grant; one that came late or twice changes nothing."""
        self.limit = max(self.limit, limit)


class ReceiveWindow:
    """The downloader's side: what it has promised, and when to promise more.

    ``size`` is how far the limit runs ahead of what is stored. It doubles, up to ``maximum``, as long as a
    whole window is stored within two round trips, or 20 ms where they are shorter: then the window, not the
    disk, holds the sender back.
    """

    def __init__(self, size: int, maximum: int) -> None:
        self.size = size
        self.maximum = maximum
        self.limit = size
        "What the peer has been told."
        self.received = 0
        self.stored = 0
        self._measured_at = 0.0
        self._measured_from = 0

    def take(self, size: int, word: str = "DATA") -> None:
        """Count a frame that arrived. Raises RemoteProtocolError where the peer had no credit for it."""
        self.received += size
        if self.received > self.limit:
            raise RemoteProtocolError(f"{word}: {self.received - self.limit:,} bytes beyond the credit")

    def store(self, size: int, now: float, rtt: float) -> None:
        """Count bytes of messages that no longer occupy memory; without a round trip nothing grows."""
        self.stored += size
        if self.stored > self.received:
            raise LocalProtocolError("stored more than was received")
        if self.stored - self._measured_from >= self.size:
            if rtt and now - self._measured_at < max(2 * rtt, TURNAROUND_S):
                self.size = min(2 * self.size, self.maximum)
            self._measured_at = now
            self._measured_from = self.stored

    def grant(self) -> int | None:
        """The new limit, when it is worth a WINDOW: a quarter of the window is free again."""
        limit = self.stored + self.size
        if limit - self.limit < self.size // 4:
            return None
        return self.raise_limit()

    def raise_limit(self) -> int:
        """Promise all that can be promised now; never takes a promise back."""
        self.limit = max(self.limit, self.stored + self.size)
        return self.limit

    @property
    def held(self) -> int:
        """Bytes that are received but not stored: what this stream occupies in memory."""
        return self.received - self.stored
