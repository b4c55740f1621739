"""What an association reports: one frozen value for each thing that happened, in the order it happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Established:
    """The association is up; what was queued goes out with the next `write()`."""

    max_outbound_streams: int
    "Stream ids from here on are not to be used."
    interleaving: bool
    "Messages are sent as I-DATA (RFC 8260)."


@dataclass(frozen=True, slots=True)
class Restarted:
    """The peer started its association anew (RFC 9260 section 5.2.4).

    All streams begin at zero. What was sent and not acknowledged may be lost, what was queued goes out now.
    """


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message is complete and its turn has come."""

    stream_id: int
    ppid: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class BytesSent:
    """So many bytes of a stream were handed to the network: its ``bufferedAmount`` falls by them."""

    stream_id: int
    size: int


@dataclass(frozen=True, slots=True)
class MessageAbandoned:
    """A message of limited reliability was given up; the peer may have seen nothing of it."""

    stream_id: int
    ppid: int
    unsent: int
    "Bytes of it that never left: ``bufferedAmount`` falls by them as well."


@dataclass(frozen=True, slots=True)
class StreamsReset:
    """Streams begin anew (RFC 6525), their numbers at zero.

    ``incoming``: the peer will send no more on them and all of it was delivered; it is on the reader to reset
    the other direction. Otherwise the peer has confirmed `reset_streams()`.
    """

    stream_ids: tuple[int, ...]
    incoming: bool


@dataclass(frozen=True, slots=True)
class StreamResetDenied:
    """The peer refuses `reset_streams()`: the streams stay as they are."""

    stream_ids: tuple[int, ...]
    result: int
    "RFC 6525 section 4.4."


@dataclass(frozen=True, slots=True)
class PeerUnresponsive:
    """Nothing was heard for `AssociationConfig.unresponsive_after_s`."""

    silent_for_s: float


@dataclass(frozen=True, slots=True)
class PeerResponsive:
    """An unresponsive peer was heard again."""


@dataclass(frozen=True, slots=True)
class ProbeAcked:
    """A packet of this size came through (RFC 8899)."""

    size: int


@dataclass(frozen=True, slots=True)
class ProbeLost:
    """No answer to a packet of this size."""

    size: int


@dataclass(frozen=True, slots=True)
class PacketSizeChanged:
    """Packets are of this size from now on, as the search for it found."""

    size: int


class CloseReason(Enum):
    """Why an association is over."""

    SHUTDOWN = "both sides have finished"
    ABORTED = "aborted here"
    ABORTED_BY_PEER = "aborted by the peer"
    HANDSHAKE_FAILED = "the peer did not answer the handshake"
    PEER_SILENT = "nothing was heard from the peer"


@dataclass(frozen=True, slots=True)
class Closed:
    """The association is over; nothing is sent or received any more."""

    reason: CloseReason
    detail: str = ""
    "What the peer said of it, decoded as well as it went."


AssociationEvent: TypeAlias = (
    Established
    | Restarted
    | MessageReceived
    | BytesSent
    | MessageAbandoned
    | StreamsReset
    | StreamResetDenied
    | PeerUnresponsive
    | PeerResponsive
    | ProbeAcked
    | ProbeLost
    | PacketSizeChanged
    | Closed
)
