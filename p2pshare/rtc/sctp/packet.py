"""Packets and control chunks: bytes to values and back, with strict bounds.

Pure. Whatever does not fit raises `Malformed`, which one place in the association catches: nothing that a
peer sends may loop or be read beyond its end. DATA and I-DATA have no values here; they are built and read in
place (`tx/train.py`, `rx/inlet.py`), a value per packet would cost more than its encryption.

TSNs are 32-bit numbers that wrap. Inside the association they are *extended*: plain integers whose lowest 32
bits are the TSN, so that they compare and subtract like numbers. `extended` turns what comes from the wire
into one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

WRAP = 0xFFFF_FFFF
"Mask of what goes over the wire of an extended number."

COMMON_HEADER = struct.Struct("!HHII")
CHUNK_HEADER = struct.Struct("!BBH")
DATA_HEADER = struct.Struct("!BBHIHHI")
I_DATA_HEADER = struct.Struct("!BBHIHHII")

DATA_OVERHEAD = 28
"Bytes of a packet with one DATA chunk before its payload."
I_DATA_OVERHEAD = 32

_PARAMETERS_AT_MOST = 64
_STREAMS_AT_MOST = 16_384


class Malformed(ValueError):
    """Bytes that are not what they claim to be; they are dropped and counted."""


class Kind:
    """Chunk types (RFC 9260 section 3.2, RFC 8260, 6525, 4820, 3758)."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    I_DATA = 64
    RECONFIG = 130
    PAD = 132
    FORWARD_TSN = 192
    I_FORWARD_TSN = 194


class Flag:
    """Flags of DATA and I-DATA chunks, and of ABORT and SHUTDOWN COMPLETE."""

    ENDS = 1
    BEGINS = 2
    UNORDERED = 4
    IMMEDIATELY = 8
    TAG_REFLECTED = 1


class Parameter:
    """Types of parameters of INIT and INIT ACK, and of HEARTBEAT."""

    HEARTBEAT_INFO = 1
    COOKIE = 7
    UNRECOGNIZED = 8
    FORWARD_TSN_SUPPORTED = 0xC000
    SUPPORTED_EXTENSIONS = 0x8008
    # Known and of no use here; not to be reported as unrecognized.
    IGNORED = frozenset({5, 6, 9, 11, 12, 0x8000, 0x8001, 0x8002, 0x8003, 0x8004, 0xC006})


class Cause:
    """Error causes (RFC 9260 section 3.3.10)."""

    STALE_COOKIE = 3
    UNRECOGNIZED_CHUNK = 6
    USER_ABORT = 12
    PROTOCOL_VIOLATION = 13


def extended(wire: int, near: int) -> int:
    """The extended number closest to ``near`` that this one on the wire stands for."""
    distance = (wire - near) & WRAP
    return near + distance if distance < 0x8000_0000 else near + distance - 0x1_0000_0000


def encode_chunk(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """A chunk, padded to a multiple of four bytes."""
    return CHUNK_HEADER.pack(kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def encode_parameter(kind: int, body: bytes = b"") -> bytes:
    """A parameter (or error cause), padded to a multiple of four bytes."""
    return struct.pack("!HH", kind, 4 + len(body)) + body + bytes(-len(body) % 4)


def decode_parameters(body: bytes) -> list[tuple[int, bytes]]:
    """Types and values. Raises Malformed for a length that does not fit or for more than 64 of them."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 4 <= len(body):
        kind, length = struct.unpack_from("!HH", body, at)
        if length < 4 or at + length > len(body) or len(found) == _PARAMETERS_AT_MOST:
            raise Malformed("parameter")
        found.append((kind, body[at + 4 : at + length]))
        at += (length + 3) & ~3
    if at < len(body):
        raise Malformed("bytes behind the last parameter")
    return found


@dataclass(frozen=True, slots=True)
class Init:
    """INIT or INIT ACK (RFC 9260 sections 3.3.2 and 3.3.3)."""

    tag: int
    window: int
    outbound_streams: int
    inbound_streams: int
    initial_tsn: int
    extensions: frozenset[int] = frozenset()
    "Chunk types that the sender supports (RFC 5061 section 4.2.7)."
    forward_tsn: bool = False
    cookie: bytes = b""
    unrecognized: tuple[bytes, ...] = ()
    "Parameters to report back."

    def encode(self) -> bytes:
        """The chunk's body."""
        body = struct.pack(
            "!IIHHI", self.tag, self.window, self.outbound_streams, self.inbound_streams, self.initial_tsn
        )
        if self.forward_tsn:
            body += encode_parameter(Parameter.FORWARD_TSN_SUPPORTED)
        if self.extensions:
            body += encode_parameter(Parameter.SUPPORTED_EXTENSIONS, bytes(sorted(self.extensions)))
        if self.cookie:
            body += encode_parameter(Parameter.COOKIE, self.cookie)
        for parameter in self.unrecognized:
            body += encode_parameter(Parameter.UNRECOGNIZED, parameter)
        return body

    @classmethod
    def decode(cls, body: bytes) -> Init:
        """Raises Malformed for what RFC 9260 forbids: a tag or a number of streams of 0, as well."""
        if len(body) < 16:
            raise Malformed("INIT")
        tag, window, outbound, inbound, initial_tsn = struct.unpack_from("!IIHHI", body)
        if not tag or not outbound or not inbound:
            raise Malformed("INIT")
        extensions: frozenset[int] = frozenset()
        forward_tsn = False
        cookie = b""
        unrecognized: list[bytes] = []
        for kind, value in decode_parameters(body[16:]):
            if kind == Parameter.SUPPORTED_EXTENSIONS:
                extensions = frozenset(value)
            elif kind == Parameter.FORWARD_TSN_SUPPORTED:
                forward_tsn = True
            elif kind == Parameter.COOKIE:
                cookie = value
            elif kind in Parameter.IGNORED or kind == Parameter.UNRECOGNIZED:
                continue
            else:
                if kind & 0x4000 and sum(map(len, unrecognized)) < 256:
                    unrecognized.append(encode_parameter(kind, value))
                if not kind & 0x8000:  # RFC 9260 section 3.2.1: nothing behind it is looked at
                    break
        return cls(
            tag, window, outbound, inbound, initial_tsn, extensions, forward_tsn, cookie, tuple(unrecognized)
        )


_SACK = struct.Struct("!BBHIIHH")


def encode_plain_sack(cumulative_tsn: int, window: int) -> bytes:
    """A SACK chunk without gaps and duplicates: one a train, so it goes without a `Sack`."""
    return _SACK.pack(Kind.SACK, 0, 16, cumulative_tsn, window, 0, 0)


@dataclass(slots=True)
class Sack:
    """What a receiver holds (RFC 9260 section 3.3.4); numbers as on the wire."""

    cumulative_tsn: int
    window: int
    gaps: tuple[int, ...] = ()
    "Start and end of each block in turn, as distances from the cumulative TSN."
    duplicates: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """The whole chunk."""
        blocks, copies = len(self.gaps) // 2, len(self.duplicates)
        return struct.pack(
            f"!BBHIIHH{2 * blocks}H{copies}I",
            Kind.SACK,
            0,
            16 + 4 * (blocks + copies),
            self.cumulative_tsn,
            self.window,
            blocks,
            copies,
            *self.gaps,
            *self.duplicates,
        )

    @classmethod
    def decode(cls, body: bytes) -> Sack:
        """Raises Malformed where the counts do not fit the length or a block ends before it starts."""
        if len(body) < 12:
            raise Malformed("SACK")
        cumulative_tsn, window, blocks, copies = struct.unpack_from("!IIHH", body)
        if not blocks and not copies:
            return cls(cumulative_tsn, window)
        if len(body) < 12 + 4 * (blocks + copies):
            raise Malformed("SACK")
        gaps = struct.unpack_from(f"!{2 * blocks}H", body, 12)
        if any(not 0 < gaps[i] <= gaps[i + 1] for i in range(0, 2 * blocks, 2)):
            raise Malformed("SACK")
        return cls(cumulative_tsn, window, gaps, struct.unpack_from(f"!{copies}I", body, 12 + 4 * blocks))


@dataclass(frozen=True, slots=True)
class ForwardTsn:
    """FORWARD-TSN (RFC 3758 section 3.2): skip to this TSN, and in these streams behind these numbers."""

    cumulative_tsn: int
    streams: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        """The whole chunk."""
        body = struct.pack("!I", self.cumulative_tsn)
        body += b"".join(struct.pack("!HH", *stream) for stream in self.streams)
        return encode_chunk(Kind.FORWARD_TSN, body)

    @classmethod
    def decode(cls, body: bytes) -> ForwardTsn:
        """Raises Malformed for a length that does not fit."""
        if len(body) < 4 or len(body) % 4 or len(body) // 4 > _STREAMS_AT_MOST:
            raise Malformed("FORWARD-TSN")
        (cumulative_tsn,) = struct.unpack_from("!I", body)
        return cls(cumulative_tsn, tuple(struct.iter_unpack("!HH", body[4:])))


@dataclass(frozen=True, slots=True)
class IForwardTsn:
    """I-FORWARD-TSN (RFC 8260 section 2.3.1): stream, whether unordered, message identifier."""

    cumulative_tsn: int
    streams: tuple[tuple[int, bool, int], ...] = ()

    def encode(self) -> bytes:
        """The whole chunk."""
        body = struct.pack("!I", self.cumulative_tsn)
        body += b"".join(
            struct.pack("!HHI", stream, unordered, mid) for stream, unordered, mid in self.streams
        )
        return encode_chunk(Kind.I_FORWARD_TSN, body)

    @classmethod
    def decode(cls, body: bytes) -> IForwardTsn:
        """Raises Malformed for a length that does not fit."""
        if len(body) < 4 or (len(body) - 4) % 8 or len(body) // 8 > _STREAMS_AT_MOST:
            raise Malformed("I-FORWARD-TSN")
        (cumulative_tsn,) = struct.unpack_from("!I", body)
        entries = struct.iter_unpack("!HHI", body[4:])
        return cls(cumulative_tsn, tuple((stream, bool(flags & 1), mid) for stream, flags, mid in entries))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a control packet; DATA and I-DATA too, when they come in one."""

    kind: int
    flags: int
    body: bytes = field(repr=False)


def decode_chunks(packet: bytes) -> list[Chunk]:
    """The chunks behind the common header. Raises Malformed for a length that does not fit."""
    found: list[Chunk] = []
    at = 12
    size = len(packet)
    while at + 4 <= size:
        kind, flags, length = CHUNK_HEADER.unpack_from(packet, at)
        if length < 4 or at + length > size:
            raise Malformed("chunk")
        found.append(Chunk(kind, flags, packet[at + 4 : at + length]))
        at += (length + 3) & ~3
    if not found or at < size:
        raise Malformed("bytes behind the last chunk")
    return found
