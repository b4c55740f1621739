"""Packets that try out a size: HEARTBEAT and PAD, sent when the search asks for it or by `Association.probe`.

A lost probe says something of the path's packet size, not of congestion (RFC 8899 section 3), so it touches
neither the window nor the retransmission timeout.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pshare.rtc.sctp.events import AssociationEvent, ProbeAcked, ProbeLost
from p2pshare.rtc.sctp.heartbeat import Heartbeat
from p2pshare.rtc.sctp.packet import Kind, encode_chunk
from p2pshare.rtc.sctp.pmtu import PacketSizeSearch
from p2pshare.rtc.sctp.tx.outbox import Outbox, Train
from p2pshare.rtc.sctp.tx.rto import RoundTripTime

_PATIENCE_AT_LEAST_S = 0.3


class Probing:
    """At most one probe is on its way."""

    def __init__(
        self,
        outbox: Outbox,
        heartbeat: Heartbeat,
        search: PacketSizeSearch,
        emit: Callable[[AssociationEvent], None],
    ) -> None:
        self._outbox = outbox
        self._heartbeat = heartbeat
        self.search = search
        self._emit = emit
        self._wanted: int | None = None
        self._size: int | None = None
        self._lost_at = 0.0

    def ask(self, size: int) -> None:
        """Try this size next."""
        self._wanted = size & ~3

    def write(self, rtt: RoundTripTime, now: float) -> Train | None:
        """The probe that is due, if any."""
        if self._size is not None:
            return None
        size = self._wanted if self._wanted is not None else self.search.next_probe(now)
        self._wanted = None
        if size is None:
            return None
        request = encode_chunk(Kind.HEARTBEAT, self._heartbeat.request(now, size))
        rest = size - 12 - len(request)
        if rest < 4 or size > self._outbox.size:
            return None
        self._size = size
        self._lost_at = now + max(rtt.timeout_s, _PATIENCE_AT_LEAST_S)
        train = self._outbox.control(request + encode_chunk(Kind.PAD, bytes(rest - 4)))
        return Train(train.size, train.packet_size, 1, is_probe=True)

    def acked(self, size: int, now: float) -> bool:
        """A probe was answered; returns whether the packet size has changed."""
        if size == self._size:
            self._size = None
        self._emit(ProbeAcked(size))
        return self.search.acked(size, now)

    def failed(self, now: float, is_certain: bool = False) -> None:
        """The probe on its way did not come through, or could not even be sent."""
        if self._size is not None:
            size, self._size = self._size, None
            self._emit(ProbeLost(size))
            self.search.lost(size, now, is_certain)

    def next_timer(self) -> float | None:
        """When `on_timer` has something to do."""
        return self._lost_at if self._size is not None else self.search.next_timer()

    def on_timer(self, now: float) -> None:
        """Give up on a probe that was not answered."""
        if self._size is not None and now >= self._lost_at:
            self.failed(now)
