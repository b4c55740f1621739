"""Round trip time and what follows from it: the retransmission timeout and the probe timeout.

RFC 9260 section 6.3.1 for the smoothing, with a lower floor; RFC 8985 section 7.2 for the probe.
"""

from __future__ import annotations

from p2pshare.rtc.sctp.config import AssociationConfig

_PROBE_SLACK_S = 0.002
_DELAYED_SACK_SLACK_S = 0.05
_MIN_RTT_WINDOW_S = 30.0


class RoundTripTime:
    """Smoothed round trip time of a path."""

    def __init__(self, config: AssociationConfig) -> None:
        self._config = config
        self.smoothed_s: float | None = None
        self.variation_s = 0.0
        self.latest_s = 0.0
        self.min_s: float | None = None
        self._min_at = 0.0
        self.backoff = 0

    def sample(self, rtt_s: float, now: float) -> None:
        """Take a measurement of something that was sent once."""
        rtt_s = max(rtt_s, 1e-6)
        self.latest_s = rtt_s
        if self.smoothed_s is None:
            self.smoothed_s = rtt_s
            self.variation_s = rtt_s / 2
        else:
            self.variation_s += (abs(self.smoothed_s - rtt_s) - self.variation_s) / 4
            self.smoothed_s += (rtt_s - self.smoothed_s) / 8
        if self.min_s is None or rtt_s <= self.min_s or now - self._min_at > _MIN_RTT_WINDOW_S:
            self.min_s = rtt_s
            self._min_at = now

    @property
    def timeout_s(self) -> float:
        """After so long without an acknowledgement everything is taken for lost."""
        config = self._config
        if self.smoothed_s is None:
            timeout = config.rto_initial_s
        else:
            timeout = max(self.smoothed_s + 4 * self.variation_s, config.rto_min_s)
        return min(timeout * float(1 << self.backoff), config.rto_max_s)

    def probe_timeout_s(self, *, may_be_delayed: bool) -> float:
        """After so long a tail loss probe asks for an acknowledgement.

        A receiver may hold back the SACK for a single packet, up to 200 ms (RFC 9260 section 6.2); a needless
        probe costs one packet.
        """
        if self.smoothed_s is None:
            return self.timeout_s
        slack = _DELAYED_SACK_SLACK_S if may_be_delayed else _PROBE_SLACK_S
        return min(2 * self.smoothed_s + max(slack, 2 * self.variation_s), self.timeout_s)
