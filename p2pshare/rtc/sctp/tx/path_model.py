"""What `Bbr` knows of a path: its rate, its round trip, how much it loses when nobody presses it.

Filters over the samples that acknowledgements bring, and rounds: a round is over when something that left
after its beginning has arrived.
"""

from __future__ import annotations

from p2pshare.rtc.sctp.tx.congestion import Acknowledgement

_MIN_RTT_KEPT_S = 9.0  # two looks for it that come every 5 s
# A round trip within so much of the shortest one shows that it is still the shortest: there is no queue.
_NEAR = 1.05
_NEAR_S = 0.002
# Round trips that are longer than this, all through a round, show a queue.
_QUEUED = 1.2
_QUEUED_S = 0.002

_PACKETS_LOST_AT_LEAST = 3
_LOSS_BORNE_QUEUED = 0.005
_LOSS_BORNE_PROBING = 0.02
_LOSS_BORNE = 0.10
_BASELINE_WEIGHT = 1.5
_BASELINE_AT_MOST = 0.10
_BASELINE_MEMORY_PACKETS = 4_000


class PathModel:
    """Updated with each acknowledgement, before anything is decided from it."""

    def __init__(self) -> None:
        self.min_rtt: float | None = None
        self.seen_near_at = 0.0
        "When a round trip was last about as short as the shortest."
        self.probed_at = 0.0
        "When little was in flight, the last time, so that it might show."
        self.round_began = False
        "The acknowledgement that was taken last began a round."
        self.rounds = 0
        self.latest_rate = 0.0
        "The highest sample of the round that is under way,"
        self.round_rate = 0.0
        "and of the one before."
        self.latest_flight = 0
        "The most that is known to have arrived of what was in flight at one time, in this round."
        self.round_lost = 0
        self.round_arrived = 0
        "Bytes that the last whole round lost, and those that arrived in it."
        self.is_limited = False
        "All samples of the round before tell of the application rather than of the path."
        self._highest = [0.0, 0.0]
        self._round_ends = 0
        self._delivered_before = 0
        self._lost_before = 0
        self._all_limited = True
        self._latest_rtt: float | None = None
        self._round_rtt: float | None = None
        self._was_gentle = False
        self._is_gentle = False
        self._quiet_sent = 0.0
        self._quiet_lost = 0.0

    @property
    def rate(self) -> float:
        """Bytes a second that the path delivers: the highest of this and the last cycle."""
        return max(self._highest)

    def begin_cycle(self) -> None:
        """Forget the samples of the cycle before the last."""
        if self._highest[1] > 0.0:
            self._highest = [self._highest[1], 0.0]

    @property
    def is_queued(self) -> bool:
        """Every packet of the last round, and of this so far, has waited in a queue."""
        shortest = self.min_rtt
        lately = [rtt for rtt in (self._round_rtt, self._latest_rtt) if rtt is not None]
        return (
            shortest is not None
            and bool(lately)
            and min(lately) > max(_QUEUED * shortest, shortest + _QUEUED_S)
        )

    def confirm_round_trip(self, now: float) -> None:
        """Little was in flight for a while: the shortest round trip of now is the path's."""
        if now - self.seen_near_at > _MIN_RTT_KEPT_S and self._latest_rtt is not None:
            self.min_rtt = self._latest_rtt
            self.seen_near_at = now
        self.probed_at = now

    @property
    def baseline(self) -> float:
        """The share of packets that the path loses while less is sent than it carries: not by congestion."""
        if self._quiet_sent <= 0:
            return 0.0
        return min(self._quiet_lost / self._quiet_sent, _BASELINE_AT_MOST)

    def is_too_much(self, lost: int, sent: int, packet: int, *, probing: bool) -> bool:
        """Whether so many lost bytes of so many sent are congestion.

        The excess over what the path loses anyway counts, when there is a queue, or when it is our probing
        that filled one too short to be measured. Otherwise only a loss that none but a broken path has.
        """
        if lost < _PACKETS_LOST_AT_LEAST * packet or sent <= 0:
            return False
        borne = _LOSS_BORNE_PROBING if probing else _LOSS_BORNE
        if self.is_queued:
            borne = _LOSS_BORNE_QUEUED
        return lost > (borne + _BASELINE_WEIGHT * self.baseline) * sent

    def update(self, ack: Acknowledgement, packet: int, *, is_gentle: bool) -> None:
        """Take an acknowledgement; ``is_gentle``: less is being sent than the path carries."""
        self._is_gentle = self._is_gentle and is_gentle
        self.round_began = ack.delivery_rate is not None and ack.sent_delivered >= self._round_ends
        if self.round_began:
            self._end_round(ack, packet, is_gentle=is_gentle)
        if ack.rtt_s is not None:
            self._note_rtt(ack.rtt_s, ack.now)
        rate = ack.delivery_rate
        if rate is not None:
            self.latest_rate = max(self.latest_rate, rate)
            self.latest_flight = max(self.latest_flight, ack.delivered - ack.sent_delivered)
            self._all_limited = self._all_limited and ack.rate_is_limited
            if not ack.rate_is_limited or rate >= self.rate:
                self._highest[1] = max(self._highest[1], rate)

    def _end_round(self, ack: Acknowledgement, packet: int, *, is_gentle: bool) -> None:
        self.rounds += 1
        self._round_ends = ack.delivered
        self.round_rate, self.latest_rate = self.latest_rate, 0.0
        self.latest_flight = 0
        self._round_rtt, self._latest_rtt = self._latest_rtt, None
        self.is_limited, self._all_limited = self._all_limited, True
        self.round_lost = ack.lost - self._lost_before
        self.round_arrived = ack.delivered - self._delivered_before
        self._lost_before, self._delivered_before = ack.lost, ack.delivered
        # What is lost in a round was sent in the one before.
        if self._was_gentle and not self.is_queued:
            self._quiet_sent += self.round_arrived + self.round_lost
            self._quiet_lost += self.round_lost
            if self._quiet_sent > _BASELINE_MEMORY_PACKETS * packet:
                self._quiet_sent /= 2
                self._quiet_lost /= 2
        self._was_gentle, self._is_gentle = self._is_gentle, is_gentle

    def _note_rtt(self, rtt: float, now: float) -> None:
        self._latest_rtt = rtt if self._latest_rtt is None else min(rtt, self._latest_rtt)
        shortest = self.min_rtt
        if shortest is None or rtt <= shortest:
            self.min_rtt = rtt
            self.seen_near_at = now
        elif rtt <= max(_NEAR * shortest, shortest + _NEAR_S):
            self.seen_near_at = now
