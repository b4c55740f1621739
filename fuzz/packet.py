"""The parsers of SCTP: chunks, their parameters, DCEP and stream reset. The first byte chooses one.

Each refuses with `Malformed` or gives a value that comes back the same when it is written and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from fuzz.target import Target
from p2pshare.rtc.sctp import AssociationConfig
from p2pshare.rtc.sctp.dcep import Ack, Open
from p2pshare.rtc.sctp.dcep import decode as decode_dcep
from p2pshare.rtc.sctp.packet import (
    ForwardTsn,
    IForwardTsn,
    Init,
    Kind,
    Malformed,
    Sack,
    decode_chunks,
    decode_parameters,
    encode_chunk,
    encode_parameter,
)
from p2pshare.rtc.sctp.reconfig import OutgoingReset, decode_request
from tests.rtc.sctp.link import Pair

_HEADER = bytes(12)
_CHUNK_HEADER = 4


def _chunks(packet: bytes) -> bytes:
    chunks = decode_chunks(packet)
    assert sum(_CHUNK_HEADER + len(chunk.body) for chunk in chunks) <= len(packet)
    return _HEADER + b"".join(encode_chunk(chunk.kind, chunk.body, chunk.flags) for chunk in chunks)


def _parameters(body: bytes) -> bytes:
    return b"".join(encode_parameter(kind, value) for kind, value in decode_parameters(body))


def _request(body: bytes) -> bytes:
    return b"".join(encode_parameter(kind, value) for kind, value in decode_request(body))


def _init(body: bytes) -> bytes:
    # What it reports as unrecognized is for the answer, and not read from one.
    return replace(Init.decode(body), unrecognized=()).encode()


def _dcep(message: bytes) -> bytes:
    decoded = decode_dcep(message)
    assert isinstance(decoded, Open | Ack)
    return decoded.encode()


AGAIN: list[Callable[[bytes], bytes]] = [
    _chunks,
    _parameters,
    _request,
    _init,
    lambda body: Sack.decode(body).encode()[_CHUNK_HEADER:],
    lambda body: ForwardTsn.decode(body).encode()[_CHUNK_HEADER:],
    lambda body: IForwardTsn.decode(body).encode()[_CHUNK_HEADER:],
    lambda body: OutgoingReset.decode(body).encode()[_CHUNK_HEADER:],
    _dcep,
]
"What each parser makes of bytes, as bytes again."

_READERS: dict[int, int] = {
    Kind.INIT: 3,
    Kind.INIT_ACK: 3,
    Kind.SACK: 4,
    Kind.FORWARD_TSN: 5,
    Kind.I_FORWARD_TSN: 6,
    Kind.RECONFIG: 2,
}


def run(source: bytes) -> None:
    """Have one parser read what is behind the first byte."""
    if not source:
        return
    again = AGAIN[source[0] % len(AGAIN)]
    try:
        once = again(source[1:])
    except Malformed:
        return
    assert again(once) == once


def seeds() -> Iterator[bytes]:
    """The chunks of a transfer with losses, of both kinds of data."""
    for interleaving in (True, False):
        config = AssociationConfig(interleaving=interleaving)
        pair = Pair(config, config, keep_packets=True, seed=3)
        pair.left.conditions.loss = pair.right.conditions.loss = 0.1
        pair.connect()
        for number in range(6):
            pair.send(pair.left, number, bytes(4_000), max_retransmits=0)
            pair.send(pair.right, number, b"some bytes")
        pair.left.association.reset_streams([1, 2], pair.now)
        pair.run(2)
        seen: set[Any] = set()
        for packet in (*pair.left.sent, *pair.right.sent):
            kinds = tuple(chunk.kind for chunk in decode_chunks(packet))
            if kinds not in seen:
                seen.add(kinds)
                yield bytes((0,)) + packet
                for chunk in decode_chunks(packet):
                    if chunk.kind in _READERS:
                        yield bytes((_READERS[chunk.kind],)) + chunk.body
    dcep = AGAIN.index(_dcep)
    for message in (Ack(), Open("label", "protocol", ordered=False, max_retransmits=3), Open(lifetime_ms=5)):
        yield bytes((dcep,)) + message.encode()
    reset = AGAIN.index(_request) + 5
    yield bytes((reset,)) + OutgoingReset(1, 2, 3, (1, 2, 3)).encode()[_CHUNK_HEADER:]


TARGET = Target(run, seeds, 1_500)
