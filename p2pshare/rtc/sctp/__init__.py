"""An SCTP association for WebRTC data channels: SANS-IO, in batches, at a microsecond a packet.

Bytes and ``now`` go in, trains of packets, events and the next timer come out. See `association.py` for the
contract.
"""

from p2pshare.rtc.sctp.association import Association
from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.events import (
    AssociationEvent,
    BytesSent,
    Closed,
    CloseReason,
    Established,
    MessageAbandoned,
    MessageReceived,
    PacketSizeChanged,
    PeerResponsive,
    PeerUnresponsive,
    ProbeAcked,
    ProbeLost,
    Restarted,
    StreamResetDenied,
    StreamsReset,
)
from p2pshare.rtc.sctp.reconfig import OutgoingReset
from p2pshare.rtc.sctp.snapshot import HeldChunk, QueuedMessage, SentChunk, Snapshot
from p2pshare.rtc.sctp.state import State
from p2pshare.rtc.sctp.stats import AssociationStats, Drop
from p2pshare.rtc.sctp.tx.outbox import Train

__all__ = [
    "Association",
    "AssociationConfig",
    "AssociationEvent",
    "AssociationStats",
    "BytesSent",
    "CloseReason",
    "Closed",
    "Drop",
    "Established",
    "HeldChunk",
    "MessageAbandoned",
    "MessageReceived",
    "OutgoingReset",
    "PacketSizeChanged",
    "PeerResponsive",
    "PeerUnresponsive",
    "ProbeAcked",
    "ProbeLost",
    "QueuedMessage",
    "Restarted",
    "SentChunk",
    "Snapshot",
    "State",
    "StreamResetDenied",
    "StreamsReset",
    "Train",
]
