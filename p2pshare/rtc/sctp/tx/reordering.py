"""How late a packet may be before it counts as lost: the reordering window of RACK (RFC 8985 section 6.2).

RFC 8985 begins with a quarter of the round trip and goes up by as much with each report of a duplicate. That
is right in the end, and needs many needless retransmissions until then. But each late packet that arrives
before it was sent again says how late it was: so the window is also what was seen lately, and a bit.
"""

from __future__ import annotations

from p2pshare.rtc.sctp.tx.rto import RoundTripTime

_STEPS_AT_MOST = 8
_KEPT_FOR_RECOVERIES = 16
_MEMORY_S = 10.0
_MARGIN = 1.25


class ReorderingWindow:
    """Adapts to what is seen of reordering."""

    def __init__(self, rtt: RoundTripTime) -> None:
        self._rtt = rtt
        self.is_seen = False
        "Packets have overtaken others."
        self._steps = 1
        self._stepped_at = -1.0
        self._keep_for = 0
        self._late_s = 0.0
        self._late_before_s = 0.0
        self._turned_at = 0.0

    def late(self, seconds: float, now: float) -> None:
        """A packet came so long after it should have, measured by those that overtook it."""
        self.is_seen = True
        if now - self._turned_at > _MEMORY_S:
            self._late_before_s = self._late_s if now - self._turned_at < 2 * _MEMORY_S else 0.0
            self._late_s = 0.0
            self._turned_at = now
        self._late_s = max(self._late_s, seconds)

    def needless(self, now: float) -> None:
        """A packet was sent again for nothing. At most once a round trip."""
        self.is_seen = True
        self._keep_for = _KEPT_FOR_RECOVERIES
        if now - self._stepped_at >= (self._rtt.smoothed_s or 0.0):
            self._stepped_at = now
            self._steps = min(self._steps + 1, _STEPS_AT_MOST)

    def recovery_began(self) -> None:
        """After enough recoveries without a needless retransmission the window is narrow again."""
        if self._keep_for:
            self._keep_for -= 1
            if not self._keep_for:
                self._steps = 1

    @property
    def seconds(self) -> float:
        """The window, once reordering was seen."""
        rtt = self._rtt
        late = _MARGIN * max(self._late_s, self._late_before_s)
        return min(max(self._steps * (rtt.min_s or 0.0) / 4, late), rtt.smoothed_s or 0.0)
