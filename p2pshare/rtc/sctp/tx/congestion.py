"""How many bytes may be in flight and how fast they leave: what a congestion control is told, and says.

Counted in bytes, so that one SACK for a train of packets tells as much as a SACK a packet would. There are
`Cubic`, `Bbr`, and `ByDistance`, which takes the one or the other by the path's round trip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Acknowledgement:
    """What one SACK told."""

    now: float
    acked: int
    "Bytes that had not been acknowledged before."
    flight: int
    "Bytes in flight after it."
    rtt_s: float | None
    "Round trip that it showed, if any."
    smoothed_rtt_s: float | None
    min_rtt_s: float | None
    cumulative: int
    "Extended TSN up to which everything has arrived."
    next_tsn: int
    "Extended TSN that will be sent next."
    was_limited: bool
    "The window held the sender back since the last SACK."
    is_recovering: bool
    "Losses of before the last cut are still being repaired."
    delivery_rate: float | None
    "Bytes a second, over about a round trip, of the newest train that has arrived; None: there is none new."
    rate_is_limited: bool
    "The sender had less to send than it might have: the path may be faster."
    delivered: int = 0
    "Bytes that have arrived so far, in all."
    lost: int = 0
    "Bytes that were taken for lost so far, in all."
    sent_delivered: int = 0
    "What `delivered` was when the train of the sample left,"
    sent_lost: int = 0
    "what `lost` was,"
    sent_flight: int = 0
    "and how many bytes were in flight, with it."


class CongestionControl(Protocol):
    """Decides on the window and the pace. Sizes are bytes of payload, time is the caller's."""

    window: int
    "Bytes that may be in flight."

    @property
    def pacing_rate(self) -> float | None:
        """Bytes a second to send at; None: as fast as the window allows."""

    def on_acknowledgement(self, ack: Acknowledgement) -> None:
        """A SACK brought news."""

    def on_loss(self, now: float, flight: int) -> None:
        """Packets were lost, for the first time since the last such call was repaired."""

    def on_timeout(self, now: float) -> None:
        """Nothing was acknowledged for a whole retransmission timeout."""

    def undo(self, now: float) -> None:
        """What the last `on_loss` or `on_timeout` was about had not been lost: it came late."""

    def on_idle(self, now: float) -> None:
        """Data is about to be sent after nothing was in flight."""

    def set_packet_size(self, size: int) -> None:
        """Packets carry so many bytes of payload from now on."""
