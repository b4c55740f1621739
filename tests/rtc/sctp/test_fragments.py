"""Fragments of every size and company: the short way through the inlet takes only what it may."""

from __future__ import annotations

import pytest

from p2pshare.rtc.sctp import AssociationConfig, Drop
from tests.rtc.sctp.link import Pair, give
from tests.rtc.sctp.wire import chunk, data, i_data, packet, tag_of

INTERLEAVED = pytest.mark.parametrize("interleaved", [False, True])
LIMIT = 300_000


def connected(*, interleaved: bool) -> tuple[Pair, int]:
    """A pair, and the first TSN that the right end expects."""
    config = AssociationConfig(interleaving=interleaved, receive_memory=LIMIT)
    pair = Pair(config, config).connect()
    return pair, pair.left.association._lifecycle.handshake.initial_tsn


def fragment(
    tsn: int, number: int, payload: bytes, *, interleaved: bool, count: int | None = None, message: int = 0
) -> bytes:
    """A fragment, by its number, of a message that has ``count``, or never ends."""
    flags = (2 if number == 0 else 0) | (1 if number + 1 == count else 0)
    if interleaved:
        return i_data(tsn, 1, message, number or 53, payload, flags)
    return data(tsn, 1, message, payload, flags)


@INTERLEAVED
@pytest.mark.parametrize("size", [1, 10, 12, 13, 1_001])
@pytest.mark.parametrize("behind", [b"", chunk(132, 0, bytes(8)), chunk(4, 0, b"\0\1\0\x08beat")])
def test_fragments_of_any_size_that_do_not_fill_their_packets_come_out_as_they_were(
    interleaved: bool, size: int, behind: bytes
) -> None:
    pair, tsn = connected(interleaved=interleaved)
    right = pair.right.association
    parts = [bytes((65 + i,)) * size for i in range(6)]
    for message in range(2):
        for number, part in enumerate(parts):
            piece = fragment(tsn, number, part, interleaved=interleaved, count=6, message=message)
            give(right, packet(piece + behind, tag_of(right)), pair.now)
            tsn += 1
    right.end_of_batch(pair.now)
    pair.run(0.1)
    assert [payload for _, _, payload in pair.right.messages] == [b"".join(parts)] * 2


@INTERLEAVED
@pytest.mark.parametrize("is_answered", [True, False])
def test_a_message_without_end_costs_no_more_than_the_limit_whatever_its_fragments_sizes(
    interleaved: bool, is_answered: bool
) -> None:
    pair, tsn = connected(interleaved=interleaved)
    right = pair.right.association
    receiver = right._receiver
    assert receiver is not None
    for number in range(1_600):
        part = bytes(1_100) if number % 16 else b"x"  # the last of each batch is small
        give(
            right,
            packet(fragment(tsn + number, number, part, interleaved=interleaved), tag_of(right)),
            pair.now,
        )
        if number % 16 == 0:
            right.end_of_batch(pair.now)
            while is_answered and right.write(pair.now) is not None:
                pass
    receiver.settle()
    parts = [part for segment in receiver.reassembly._by_first.values() for part in segment.parts]
    for assembly in receiver.interleaved_reassembly._assemblies.values():
        parts += [*assembly.parts, *assembly.later.values()]
    assert sum(map(len, parts)) == receiver.held
    assert LIMIT < receiver.held <= LIMIT + right.config.max_message_size
    assert receiver.window == 0


@INTERLEAVED
@pytest.mark.parametrize("kind", ["one message", "many messages", "behind a gap"])
def test_tiny_fragments_are_counted_too_and_not_only_their_bytes(interleaved: bool, kind: str) -> None:
    config = AssociationConfig(interleaving=interleaved)
    pair = Pair(config, config).connect()
    right, tsn = pair.right.association, pair.left.association._lifecycle.handshake.initial_tsn
    receiver = right._receiver
    assert receiver is not None
    for packed in range(800):
        body = b""
        for at in range(50):
            number = packed * 50 + at
            stream = number if kind == "many messages" else 1
            begins = kind == "many messages" or number == 0
            missing = interleaved and kind == "behind a gap"  # of the message, not of the TSNs
            flags = 2 if begins and not missing else 0
            if interleaved:
                body += i_data(
                    tsn + number, stream, 0, number + missing if not begins or missing else 53, b"x", flags
                )
            else:
                body += data(tsn + number + (kind == "behind a gap"), stream, 0, b"x", flags)
        give(right, packet(body, tag_of(right)), pair.now)
        right.end_of_batch(pair.now)
        while right.write(pair.now) is not None:
            pass
    assert receiver._pieces <= config.receive_memory // 256 + config.max_message_size // 256
    if kind == "one message":
        assert receiver.window == 0


@INTERLEAVED
def test_a_packet_has_what_is_unfinished_looked_through_a_few_times_at_most(interleaved: bool) -> None:
    pair, tsn = connected(interleaved=interleaved)
    right = pair.right.association
    skips = b"".join(
        chunk(194 if interleaved else 192, 0, ((tsn + number) & 0xFFFF_FFFF).to_bytes(4, "big"))
        for number in range(90)
    )
    give(right, packet(skips, tag_of(right)), pair.now)
    assert right.stats().dropped == {Drop.FLOOD: 86}
    assert right._receiver is not None
    assert (right._receiver.cumulative - tsn) & 0xFFFF_FFFF == 3


@INTERLEAVED
def test_no_more_than_some_thousand_messages_are_kept_unfinished(interleaved: bool) -> None:
    config = AssociationConfig(interleaving=interleaved)
    pair = Pair(config, config).connect()
    right, tsn = pair.right.association, pair.left.association._lifecycle.handshake.initial_tsn
    for number in range(6_000):
        begun = (
            i_data(tsn + number, number, 0, 53, b"x", 2)
            if interleaved
            else data(tsn + number, number, 0, b"x", 2)
        )
        give(right, packet(begun, tag_of(right)), pair.now)
        right.end_of_batch(pair.now)
    receiver = right._receiver
    assert receiver is not None
    assert len(receiver.interleaved_reassembly if interleaved else receiver.reassembly) <= 4_097
    assert receiver.held <= 4_097


@INTERLEAVED
def test_no_more_than_some_thousand_messages_wait_for_others(interleaved: bool) -> None:
    config = AssociationConfig(interleaving=interleaved)
    pair = Pair(config, config).connect()
    right, tsn = pair.right.association, pair.left.association._lifecycle.handshake.initial_tsn
    for number in range(18_000):  # the first message never comes
        later = number + 1
        whole = (
            i_data(tsn + number, 1, later, 53, b"x") if interleaved else data(tsn + number, 1, later, b"x")
        )
        give(right, packet(whole, tag_of(right)), pair.now)
        if number % 10 == 0:
            right.end_of_batch(pair.now)
    assert right._receiver is not None
    assert right._receiver.streams.waiting <= 16_384 + 10
