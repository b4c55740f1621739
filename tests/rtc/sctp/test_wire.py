"""What goes over the wire, byte for byte, against packets written by hand from the RFCs."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.sctp import AssociationConfig
from p2pshare.rtc.sctp.packet import (
    ForwardTsn,
    IForwardTsn,
    Init,
    Malformed,
    Sack,
    decode_parameters,
    encode_chunk,
    encode_parameter,
    extended,
)
from p2pshare.rtc.sctp.reconfig import OutgoingReset, decode_request, encode_response
from tests.rtc.sctp.link import Pair, give
from tests.rtc.sctp.wire import chunk, chunks_of, data, i_data, packet, tag_of, written

DATA = AssociationConfig(interleaving=False)


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


def test_init() -> None:
    body = hexed("01020304 00020000 0010 0020 a0b0c0d0  c000 0004  8008 0007 8284c0 00")
    init = Init(0x01020304, 0x20000, 16, 32, 0xA0B0C0D0, frozenset({0x82, 0x84, 0xC0}), True)
    assert init.encode() == body
    assert Init.decode(body) == init


def test_init_ack_with_a_cookie_and_an_unrecognized_parameter() -> None:
    body = hexed("01020304 00020000 0010 0020 a0b0c0d0  0007 0009 636f6f6b65 000000  c00a 0006 abcd 0000")
    init = Init.decode(body)
    assert init.cookie == b"cooke"
    assert init.unrecognized == (hexed("c00a 0006 abcd 0000"),)


def test_an_unknown_parameter_of_the_stopping_kind_ends_the_list() -> None:
    body = hexed("01020304 00020000 0010 0020 a0b0c0d0  4000 0004  c000 0004")
    init = Init.decode(body)
    assert not init.forward_tsn
    assert init.unrecognized == (hexed("4000 0004"),)


def test_sack() -> None:
    chunk_bytes = hexed("03 00 001c  00000010 00001000 0002 0001  0002 0003 0005 0009  0000000f")
    sack = Sack(16, 4096, (2, 3, 5, 9), (15,))
    assert sack.encode() == chunk_bytes
    assert Sack.decode(chunk_bytes[4:]) == sack


def test_forward_tsn_and_its_interleaved_form() -> None:
    plain = ForwardTsn(0x1234, ((1, 2), (3, 4)))
    assert plain.encode() == hexed("c0 00 0010  00001234  0001 0002  0003 0004")
    assert ForwardTsn.decode(plain.encode()[4:]) == plain
    interleaved = IForwardTsn(0x1234, ((1, True, 7), (3, False, 0xFFFFFFFF)))
    assert interleaved.encode() == hexed("c2 00 0018  00001234  0001 0001 00000007  0003 0000 ffffffff")
    assert IForwardTsn.decode(interleaved.encode()[4:]) == interleaved


def test_stream_reset() -> None:
    reset = OutgoingReset(1, 2, 3, (7,))
    assert reset.encode() == hexed("000d 0012  00000001 00000002 00000003  0007 0000")
    ((kind, value),) = decode_request(reset.encode())
    assert (kind, OutgoingReset.decode(value)) == (13, reset)
    assert encode_response(5, 6) == hexed("82 00 0010  0010 000c  00000005 00000006")


def test_a_data_packet() -> None:
    pair = Pair(DATA, DATA).connect()
    left = pair.left.association
    first = left._lifecycle.handshake.initial_tsn
    pair.send(pair.left, 9, b"hello")
    pair.send(pair.left, 9, b"you", ordered=False)
    (sent,) = written(left, pair.now)
    expected = data(first, 9, 0, b"hello") + data(first + 1, 9, 0, b"you", flags=7)
    assert sent == packet(expected, tag_of(pair.right.association))


def test_a_message_in_fragments_and_a_pad_chunk_where_more_follows() -> None:
    pair = Pair(DATA, DATA).connect()
    left = pair.left.association
    first = left._lifecycle.handshake.initial_tsn
    for _ in range(2):
        pair.send(pair.left, 9, bytes(range(256)) * 8 + b"abc")
    sent = written(left, pair.now)
    assert {len(p) for p in sent[:-1]} == {28 + 1028}
    chunks = [chunks_of(p) for p in sent]
    assert [c[0][1] for c in chunks] == [2, 1, 2, 1]
    assert [len(c[0][2]) - 12 for c in chunks] == [1028, 1023, 1028, 1023]
    assert chunks[1][1:] == [(132, 0, b"")]
    assert chunks[3][1:] == []
    assert [struct.unpack_from("!I", c[0][2])[0] for c in chunks] == [
        (first + i) & 0xFFFFFFFF for i in range(4)
    ]


def test_an_interleaved_message_numbers_its_fragments() -> None:
    pair = Pair().connect()
    left = pair.left.association
    first = left._lifecycle.handshake.initial_tsn
    pair.send(pair.left, 9, bytes(2_500))
    sent = written(left, pair.now)
    sizes = [len(c[0][2]) - 16 for c in map(chunks_of, sent)]
    expected = [
        i_data(first, 9, 0, 53, bytes(sizes[0]), 2),
        i_data(first + 1, 9, 0, 1, bytes(sizes[1]), 0),
        i_data(first + 2, 9, 0, 2, bytes(sizes[2]), 1),
    ]
    assert [p[12:] for p in sent] == expected


def test_a_sack_reports_gaps_and_duplicates() -> None:
    pair = Pair(DATA, DATA).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    for offset in (0, 2, 3, 5, 0, 3):
        give(right, packet(data(first + offset, 1, offset, b"x"), tag_of(right)), pair.now)
    right.end_of_batch(pair.now)
    (answer,) = written(right, pair.now)
    ((kind, _, body),) = chunks_of(answer)
    assert kind == 3
    wrapped = [(first + offset) & 0xFFFFFFFF for offset in (0, 0, 3)]
    window = 1 << 20
    assert body == struct.pack("!IIHH4H2I", wrapped[0], window, 2, 2, 2, 3, 5, 5, *wrapped[1:])


def test_unknown_chunks_are_skipped_or_reported_as_their_type_says() -> None:
    pair = Pair().connect()
    right = pair.right.association
    heartbeat = chunk(4, 0, b"\0\1\0\x06hi\0\0")
    for kind, answers in ((0x3F, []), (0x7F, [9]), (0xBF, [5]), (0xFF, [9, 5])):
        give(right, packet(chunk(kind, 1, b"??") + heartbeat, tag_of(right)), pair.now)
        assert [c[0] for p in written(right, pair.now) for c in chunks_of(p)] == answers


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (Init.decode, bytes(15)),
        (Init.decode, hexed("00000000 00020000 0010 0020 a0b0c0d0")),
        (Init.decode, hexed("00000001 00020000 0000 0020 a0b0c0d0")),
        (Init.decode, hexed("00000001 00020000 0010 0020 a0b0c0d0  0007 0000")),
        (Init.decode, hexed("00000001 00020000 0010 0020 a0b0c0d0  0007 0003")),
        (Init.decode, hexed("00000001 00020000 0010 0020 a0b0c0d0  0007 ffff 00")),
        (Sack.decode, bytes(11)),
        (Sack.decode, hexed("00000000 00000000 0001 0000 0002")),
        (Sack.decode, hexed("00000000 00000000 0001 0000 0000 0002")),
        (Sack.decode, hexed("00000000 00000000 0001 0000 0003 0002")),
        (Sack.decode, hexed("00000000 00000000 0000 ffff 0003 0002")),
        (ForwardTsn.decode, bytes(3)),
        (ForwardTsn.decode, bytes(6)),
        (IForwardTsn.decode, bytes(8)),
        (OutgoingReset.decode, bytes(11)),
        (decode_request, b""),
        (decode_request, hexed("0010 0004")),
        (decode_parameters, hexed("0001 0000") * 3),
        (decode_parameters, hexed("0001 0004") * 65),
    ],
)
def test_bytes_that_do_not_fit_are_malformed(decode: object, body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)  # type: ignore[operator]  # one of the functions above


@given(st.binary(max_size=200))
def test_parameters_of_any_bytes_end(body: bytes) -> None:
    try:
        found = decode_parameters(body)
    except Malformed:
        return
    encoded = b"".join(encode_parameter(kind, value) for kind, value in found)
    assert len(encoded) >= len(body) - 3


@given(st.integers(0, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_extended_numbers_are_the_nearest_ones(near: int, distance: int) -> None:
    assert extended((near + distance) & 0xFFFFFFFF, near) == near + distance


def test_chunks_are_padded_to_words() -> None:
    assert encode_chunk(7, b"abc", 1) == hexed("07 01 0007 616263 00")
