"""How fast the path delivers: samples of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation-02).

Each train notes what had arrived when it left. When it has arrived itself, what has come in between,
divided by the longer of the two intervals, that of sending and that of arriving, is one sample: neither
acknowledgements that come in a bunch nor trains that leave in one make it larger than the path is.
"""

from __future__ import annotations


class DeliveryRate:
    """Counts what arrives and what is lost, in bytes, and takes samples."""

    def __init__(self) -> None:
        self.delivered = 0
        self.delivered_at = 0.0
        self.newest_sent_at = 0.0
        "When the newest of what has arrived had left."
        self.lost = 0
        self.limited_until = 0
        "What leaves until so many bytes have arrived tells of the application's rate; 0: of the path's."
        self.rate: float | None = None
        "The last sample, bytes a second."
        self.is_limited = False
        self.sent_delivered = 0
        self.sent_lost = 0
        self.sent_flight = 0
        "What the train of the last sample had noted."

    def restart(self, now: float) -> None:
        """Nothing was in flight until now: time counts from here."""
        self.delivered_at = self.newest_sent_at = now

    def limit(self, flight: int) -> None:
        """There is nothing to send, though there might be more in flight."""
        self.limited_until = max(self.delivered + flight, 1)

    def arrived(self, size: int, now: float) -> None:
        """So many bytes were acknowledged."""
        self.delivered += size
        self.delivered_at = now
        if self.limited_until and self.delivered > self.limited_until:
            self.limited_until = 0

    def sample(self, train: Sent, now: float) -> None:
        """A train has arrived that left after all that had arrived before."""
        took = max(now - train.delivered_at, train.sent_at - train.newest_sent_at)
        self.newest_sent_at = train.sent_at
        if took > 0:
            self.rate = (self.delivered - train.delivered) / took
            self.is_limited = train.is_limited
            self.sent_delivered = train.delivered
            self.sent_lost = train.lost
            self.sent_flight = train.flight


class Sent:
    """A train, or a part of one: consecutive TSNs that left at one moment, and what was known then."""

    __slots__ = (
        "delivered",
        "delivered_at",
        "first",
        "flight",
        "is_limited",
        "last",
        "lost",
        "newest_sent_at",
        "sent_at",
    )

    def __init__(self, first: int, last: int, sent_at: float, path: DeliveryRate, flight: int) -> None:
        self.first = first
        self.last = last
        self.sent_at = sent_at
        self.delivered = path.delivered
        self.delivered_at = path.delivered_at
        self.newest_sent_at = path.newest_sent_at
        self.lost = path.lost
        self.flight = flight
        "Bytes in flight once it had left."
        self.is_limited = path.limited_until > 0

    def part(self, first: int, last: int) -> Sent:
        """A part of it."""
        part = Sent.__new__(Sent)
        for name in Sent.__slots__:
            setattr(part, name, getattr(self, name))
        part.first = first
        part.last = last
        return part
