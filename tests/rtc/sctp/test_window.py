from __future__ import annotations

from dataclasses import replace

import pytest

from p2pshare.rtc.sctp import AssociationConfig, Drop
from p2pshare.rtc.sctp.packet import Sack
from tests.rtc.sctp.link import Conditions, Pair, give
from tests.rtc.sctp.wire import chunks_of, data, i_data, packet, tag_of, written

DATA = AssociationConfig(interleaving=False)


def sack(pair: Pair, window: int, acked: int) -> None:
    left = pair.left.association
    first = left._lifecycle.handshake.initial_tsn
    chunk = Sack((first - 1 + acked) & 0xFFFF_FFFF, window).encode()
    give(left, packet(chunk, tag_of(left)), pair.now)
    left.end_of_batch(pair.now)


def test_no_more_is_in_flight_than_the_peer_has_room_for() -> None:
    pair = Pair(
        None, AssociationConfig(receive_window=20_000), conditions=Conditions(loss=0.03), seed=7
    ).connect()
    sender = pair.left.association._sender
    assert sender is not None
    most = 0
    for _ in range(10):
        pair.send(pair.left, 1, bytes(100_000))

    def watch() -> bool:
        nonlocal most
        most = max(most, sender.outstanding.flight)
        return pair.is_settled(pair.left)

    pair.run(120, until=watch)
    assert 10_000 < most <= 20_000 + 1_200
    assert len(pair.right.messages) == 10


def test_a_closed_window_is_probed_with_single_packets_until_it_opens() -> None:
    pair = Pair(DATA, DATA).connect()
    left = pair.left.association
    pair.send(pair.left, 1, bytes(50_000))
    sack(pair, 0, 0)
    sent = written(left, pair.now)
    assert len(sent) == 1
    for _ in range(4):
        due = left.next_timer()
        assert due is not None
        pair.now = due
        left.handle_timer(pair.now)
        data_packets = [p for p in written(left, pair.now) if chunks_of(p)[0][0] == 0]
        assert len(data_packets) <= 1
        sack(pair, 0, 0)
        assert [p for p in written(left, pair.now) if chunks_of(p)[0][0] == 0] == []
    assert left.stats().congestion_window >= 10 * 1_000
    sack(pair, 100_000, 1)
    sent = []
    for _ in range(10):
        pair.now += 0.002
        sent += written(left, pair.now)
    assert len(sent) > 5


def test_the_window_shrinks_by_what_waits_behind_a_gap_and_never_below_zero() -> None:
    limits = AssociationConfig(interleaving=False, receive_window=300_000, receive_memory=262_144)
    pair = Pair(None, limits).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    for i in range(1, 300):
        give(right, packet(data(first + i, 1, i, bytes(1_000)), tag_of(right)), pair.now)
        right.end_of_batch(pair.now)
    windows = []
    for raw in written(right, pair.now):
        body = chunks_of(raw)[0][2]
        windows.append(int.from_bytes(body[4:8], "big"))
    receiver = right._receiver
    assert receiver is not None
    assert receiver.held <= 262_144
    assert right.stats().dropped[Drop.MEMORY] == 299 - receiver.held // 1_000
    assert windows[-1] == 262_144 - receiver.held < 1_000
    give(right, packet(data(first, 1, 0, b"the missing one"), tag_of(right)), pair.now)
    assert receiver.held == 0
    assert receiver.window == 262_144


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_message_without_end_takes_no_more_than_the_limit(interleaved: bool) -> None:
    limits = AssociationConfig(interleaving=interleaved, receive_memory=300_000)
    pair = Pair(None, limits).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    receiver = right._receiver
    assert receiver is not None
    for i in range(3_000):
        flags = 2 if i == 0 else 0
        if interleaved:
            chunk = i_data(first + i, 1, 0, 53 if i == 0 else i, bytes(1_000), flags)
        else:
            chunk = data(first + i, 1, 0, bytes(1_000), flags)
        give(right, packet(chunk, tag_of(right)), pair.now)
        if i % 40 == 0:
            right.end_of_batch(pair.now)
            written(right, pair.now)
        assert receiver.held <= 300_000 + 262_144 + 40 * 1_000
    assert right.stats().dropped[Drop.MEMORY] > 1_000
    assert receiver.window == 0


def test_no_more_packets_than_configured_are_kept_beyond_a_gap() -> None:
    pair = Pair(DATA, replace(DATA, max_out_of_order=4_096)).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    for i in range(2, 12_000, 2):
        give(right, packet(data(first + i, 1, i & 0xFFFF, b"x"), tag_of(right)), pair.now)
    give(right, packet(data(first + 70_000, 1, 9, b"x"), tag_of(right)), pair.now)
    assert right.stats().dropped[Drop.BEYOND] == 5_999 - 4_096 + 1
    right.end_of_batch(pair.now)
    (answer,) = written(right, pair.now)
    assert len(answer) <= 1_132


def test_acknowledgements_of_what_was_never_sent_are_not_believed() -> None:
    pair = Pair(DATA, DATA).connect()
    left = pair.left.association
    pair.send(pair.left, 1, bytes(5_000))
    written(left, pair.now)
    before = left.stats()
    for body in (Sack(0, 0), Sack(1, 1)):
        body.cumulative_tsn = (left._lifecycle.handshake.initial_tsn + 50) & 0xFFFF_FFFF
        give(left, packet(body.encode(), tag_of(left)), pair.now)
    gaps = Sack((left._lifecycle.handshake.initial_tsn - 1) & 0xFFFF_FFFF, 1_000, (3, 60_000))
    give(left, packet(gaps.encode(), tag_of(left)), pair.now)
    after = left.stats()
    assert after.dropped[Drop.UNSENT] == 3
    assert (after.flight, after.peer_window) == (before.flight, before.peer_window)
