"""Packets made by hand: with a right checksum, so that what is behind it is reached."""

from __future__ import annotations

import struct

from google_crc32c import value as crc32c

from p2pshare.rtc.sctp import Association
from tests.rtc.sctp.link import packets_of


def packet(chunks: bytes, tag: int = 0, source: int = 5000, destination: int = 5000) -> bytes:
    header = struct.pack("!HHI", source, destination, tag)
    return header + struct.pack("<I", crc32c(header + bytes(4) + chunks)) + chunks


def chunk(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def data(tsn: int, stream: int, sequence: int, payload: bytes, flags: int = 3, ppid: int = 53) -> bytes:
    return chunk(0, flags, struct.pack("!IHHI", tsn & 0xFFFF_FFFF, stream, sequence, ppid) + payload)


def i_data(tsn: int, stream: int, mid: int, number: int, payload: bytes, flags: int = 3) -> bytes:
    return chunk(64, flags, struct.pack("!IHHII", tsn & 0xFFFF_FFFF, stream, 0, mid, number) + payload)


def tag_of(association: Association) -> int:
    """The tag that packets to this association have to carry."""
    return association._lifecycle.handshake.tag


def chunks_of(raw: bytes) -> list[tuple[int, int, bytes]]:
    """Type, flags and body of each chunk in a packet; checks its checksum."""
    assert packet(raw[12:], struct.unpack_from("!I", raw, 4)[0], *struct.unpack_from("!HH", raw)) == raw
    found = []
    at = 12
    while at < len(raw):
        kind, flags, length = struct.unpack_from("!BBH", raw, at)
        found.append((kind, flags, raw[at + 4 : at + length]))
        at += (length + 3) & ~3
    return found


def written(association: Association, now: float) -> list[bytes]:
    """All packets that an association wants to send now."""
    packets: list[bytes] = []
    while (train := association.write(now)) is not None:
        packets += packets_of(association, train)
    return packets
