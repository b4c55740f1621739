"""What an association has counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class Drop:
    """Why something received was dropped; the keys of `AssociationStats.dropped`."""

    SHORT = "shorter than a packet"
    CHECKSUM = "checksum does not fit"
    PORTS = "foreign ports"
    TAG = "foreign verification tag"
    MALFORMED = "malformed chunk"
    DUPLICATE = "duplicate"
    BEYOND = "too far beyond a gap"
    MEMORY = "no memory left for it"
    STREAM = "no such stream"
    STATE = "not in this state"
    UNSENT = "acknowledges what was not sent"
    COOKIE = "invalid cookie"
    FLOOD = "more requests than answers fit"
    UNKNOWN = "unknown chunk"


@dataclass(slots=True)
class Counters:
    """Counted while running."""

    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    "Payload handed to the network for the first time."
    bytes_received: int = 0
    "Payload of messages that were delivered."
    packets_retransmitted: int = 0
    chunks_retransmitted: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    sacks_sent: int = 0
    sacks_received: int = 0
    trains_sent: int = 0
    timeouts: int = 0
    probes: int = 0
    loss_events: int = 0
    needless_recoveries: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class AssociationStats:
    """A snapshot of the counters and of what the sender knows of the path."""

    rtt_s: float | None
    min_rtt_s: float | None
    congestion_window: int
    "Bytes."
    flight: int
    "Bytes sent and neither acknowledged nor taken for lost."
    peer_window: int
    "Bytes that the peer said it has room for."
    packet_size: int
    "Bytes of an SCTP packet."
    queued: int
    "Bytes that wait to be sent."
    interleaving: bool
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    packets_retransmitted: int
    chunks_retransmitted: int
    messages_sent: int
    messages_received: int
    sacks_sent: int
    sacks_received: int
    trains_sent: int
    timeouts: int
    probes: int
    "Tail loss probes."
    loss_events: int
    "How often a recovery began."
    needless_recoveries: int
    "How often it turned out that nothing had been lost."
    dropped: Mapping[str, int]
    "What was received and dropped, by reason (`Drop`)."

    @classmethod
    def of(cls, counters: Counters, **path: Any) -> AssociationStats:
        """Counters as they stand, and what is said of the path."""
        counted = {each.name: getattr(counters, each.name) for each in fields(counters)}
        return cls(**path, **(counted | {"dropped": dict(counters.dropped)}))
