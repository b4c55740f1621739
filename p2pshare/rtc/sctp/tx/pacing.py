"""When the next train may leave: at the congestion control's rate, in units of trains.

A timer of an event loop is exact to about a millisecond, so pacing lets a millisecond's worth through early
and has no say at all where trains leave faster than that: on a LAN it costs one comparison a train. A timer
that comes late costs no rate: what might have left since it was due leaves at once, up to what the path's
queue takes for an eighth of a round trip.
"""

from __future__ import annotations

_SLACK_S = 0.001
_LATE_AT_LEAST_S = 0.004
_LATE_AT_MOST_S = 0.02
_LATE_SHARE = 1 / 8
_TRAIN_S = 0.002
_TRAIN_PACKETS_AT_LEAST = 2


class Pacer:
    """A debt of time: each train sent at a rate keeps the next one waiting."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def wait(self, now: float) -> float | None:
        """The time when something may be sent again, None: now."""
        return self._free_at if self._free_at - now > _SLACK_S else None

    def sent(self, size: int, rate: float, now: float, rtt_s: float = 0.0) -> None:
        """So many bytes have left."""
        late = min(max(_LATE_SHARE * rtt_s, _LATE_AT_LEAST_S), _LATE_AT_MOST_S)
        self._free_at = max(self._free_at, now - late) + size / rate

    @staticmethod
    def train(rate: float, packet_size: int, most: int) -> int:
        """How many packets a train may have: 2 ms of the rate."""
        return max(_TRAIN_PACKETS_AT_LEAST, min(most, int(rate * _TRAIN_S / packet_size)))
