from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.sctp.dcep import Ack, Open, decode
from p2pshare.rtc.sctp.packet import Malformed


def test_an_open_message_byte_for_byte() -> None:
    message = bytes.fromhex("03 81 0100 00000005 0003 0002") + b"abcxy"
    assert decode(message) == Open("abc", "xy", ordered=False, max_retransmits=5)
    assert Open("abc", "xy", ordered=False, max_retransmits=5).encode() == message
    assert Ack().encode() == b"\x02"
    assert decode(b"\x02") == Ack()


@given(st.text(max_size=40), st.text(max_size=9), st.booleans(), st.none() | st.integers(0, 2**32 - 1))
def test_what_is_encoded_is_decoded(label: str, protocol: str, ordered: bool, lifetime: int | None) -> None:
    value = Open(label, protocol, ordered, lifetime_ms=lifetime)
    assert decode(value.encode()) == value


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"\x03\x00" + tail))
def test_bytes_that_do_not_fit_are_malformed_and_nothing_else(message: bytes) -> None:
    try:
        value = decode(message)
    except Malformed:
        return
    assert message[:1] == b"\x02" or value.encode() == message


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"\x03\x00",
        bytes.fromhex("03 00 0000 00000000 0001 0000"),
        bytes.fromhex("03 00 0000 00000000 0001 0000 ff"),
        bytes.fromhex("03 07 0000 00000000 0000 0000"),
        bytes.fromhex("03 00 0000 00000000 0000 0000 00"),
    ],
)
def test_short_long_unknown_and_undecodable_messages_are_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        decode(message)


def test_a_channel_cannot_be_limited_in_two_ways() -> None:
    with pytest.raises(ValueError, match="one way"):
        Open(max_retransmits=1, lifetime_ms=1).encode()
    with pytest.raises(ValueError, match="too long"):
        Open("x" * 65_536).encode()
