"""The Data Channel Establishment Protocol (RFC 8832): its two messages as values.

They travel as messages with the PPID `PPID_CONTROL` on the stream of the channel that they open. Pure; what
does not fit raises `Malformed`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from p2pshare.rtc.sctp.packet import Malformed

PPID_CONTROL = 50
PPID_STRING = 51
PPID_BINARY = 53
PPID_STRING_EMPTY = 56
PPID_BINARY_EMPTY = 57

_ACK = 2
_OPEN = 3
_HEADER = struct.Struct("!BBHIHH")
_UNORDERED = 0x80
_RELIABLE = 0
_LIMITED_RETRANSMITS = 1
_LIMITED_LIFETIME = 2


@dataclass(frozen=True, slots=True)
class Open:
    """DATA_CHANNEL_OPEN (RFC 8832 section 5.1)."""

    label: str = ""
    protocol: str = ""
    ordered: bool = True
    max_retransmits: int | None = None
    lifetime_ms: int | None = None
    "At most one of the two may be given."
    priority: int = 256

    def encode(self) -> bytes:
        """The message. Raises ValueError for what it cannot say."""
        label, protocol = self.label.encode(), self.protocol.encode()
        kind, limit = _RELIABLE, 0
        if self.max_retransmits is not None and self.lifetime_ms is not None:
            raise ValueError("a channel's reliability is limited in one way")
        if self.max_retransmits is not None:
            kind, limit = _LIMITED_RETRANSMITS, self.max_retransmits
        elif self.lifetime_ms is not None:
            kind, limit = _LIMITED_LIFETIME, self.lifetime_ms
        if len(label) > 65_535 or len(protocol) > 65_535 or not 0 <= limit <= 0xFFFF_FFFF:
            raise ValueError("too long a label or protocol, or too large a limit")
        if not self.ordered:
            kind |= _UNORDERED
        header = _HEADER.pack(_OPEN, kind, self.priority, limit, len(label), len(protocol))
        return header + label + protocol


@dataclass(frozen=True, slots=True)
class Ack:
    """DATA_CHANNEL_ACK (RFC 8832 section 5.2)."""

    def encode(self) -> bytes:
        """The message."""
        return bytes([_ACK])


def decode(message: bytes) -> Open | Ack:
    """The value of a message with `PPID_CONTROL`.

    Raises:
        Malformed: For an unknown type, lengths that do not fit, or text that is not UTF-8.
    """
    if message[:1] == bytes([_ACK]):
        return Ack()
    if len(message) < _HEADER.size or message[0] != _OPEN:
        raise Malformed("DCEP")
    _, kind, priority, limit, label_size, protocol_size = _HEADER.unpack_from(message)
    label_end = _HEADER.size + label_size
    if label_end + protocol_size != len(message):
        raise Malformed("DCEP")
    reliability = kind & ~_UNORDERED
    if reliability not in (_RELIABLE, _LIMITED_RETRANSMITS, _LIMITED_LIFETIME):
        raise Malformed("DCEP")
    try:
        label = message[_HEADER.size : label_end].decode()
        protocol = message[label_end:].decode()
    except UnicodeDecodeError:
        raise Malformed("DCEP") from None
    return Open(
        label,
        protocol,
        not kind & _UNORDERED,
        limit if reliability == _LIMITED_RETRANSMITS else None,
        limit if reliability == _LIMITED_LIFETIME else None,
        priority,
    )
