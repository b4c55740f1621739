from __future__ import annotations

import struct

import pytest

from p2pshare.rtc.sctp import (
    Association,
    AssociationConfig,
    Closed,
    CloseReason,
    Drop,
    Established,
    Restarted,
    State,
)
from tests.rtc.sctp.link import Conditions, End, Pair, give
from tests.rtc.sctp.wire import chunk, chunks_of, packet, tag_of, written


@pytest.mark.parametrize("who", ["left", "right"])
def test_one_end_may_connect_alone(who: str) -> None:
    pair = Pair()
    (pair.left if who == "left" else pair.right).association.connect(pair.now)
    pair.run(1)
    assert pair.left.count(Established) == pair.right.count(Established) == 1


def test_both_ends_may_connect_at_once() -> None:
    pair = Pair().connect()
    pair.send(pair.left, 1, b"to the right")
    pair.send(pair.right, 1, b"to the left")
    pair.settle()
    assert pair.right.messages == [(1, 53, b"to the right")]
    assert pair.left.messages == [(1, 53, b"to the left")]


@pytest.mark.parametrize("seed", range(12))
def test_the_handshake_survives_loss_repetition_and_reordering(seed: int) -> None:
    pair = Pair(conditions=Conditions(loss=0.3, duplication=0.3, jitter_s=0.05), seed=seed)
    for end in (pair.left, pair.right):
        pair.send(end, 1, b"early")
    pair.connect()
    pair.settle(120)
    assert pair.left.messages == pair.right.messages == [(1, 53, b"early")]
    assert pair.left.count(Established) == pair.right.count(Established) == 1
    assert not pair.left.count(Restarted)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_messages_are_interleaved_only_if_both_ends_offer_it(left: bool, right: bool, expected: bool) -> None:
    pair = Pair(AssociationConfig(interleaving=left), AssociationConfig(interleaving=right)).connect()
    for end in (pair.left, pair.right):
        assert [e.interleaving for e in end.events if isinstance(e, Established)] == [expected]
        pair.send(end, 3, bytes(100_000))
    pair.settle()
    assert pair.left.messages == pair.right.messages == [(3, 53, bytes(100_000))]


def test_an_end_that_nobody_answers_gives_up() -> None:
    pair = Pair(conditions=Conditions(loss=1.0))
    pair.left.association.connect(pair.now)
    pair.run(60)
    assert pair.left.events == [Closed(CloseReason.HANDSHAKE_FAILED)]
    assert pair.left.association.next_timer() is None


def start(pair: Pair, end: End) -> bytes:
    end.association.connect(pair.now)
    (init,) = written(end.association, pair.now)
    return init


def test_an_init_takes_no_memory_and_is_answered_with_a_cookie() -> None:
    pair = Pair()
    init = start(pair, pair.left)
    for _ in range(3):
        give(pair.right.association, init, pair.now)
    assert pair.right.association.state is State.CLOSED
    answers = written(pair.right.association, pair.now)
    assert len(answers) == 3
    (kind, _, body) = chunks_of(answers[0])[0]
    assert kind == 2
    assert struct.unpack_from("!I", answers[0], 4)[0] == tag_of(pair.left.association)
    assert b"\x00\x07" in body


def test_a_forged_cookie_and_a_stale_one_establish_nothing() -> None:
    pair = Pair()
    init = start(pair, pair.left)
    right = pair.right.association
    give(right, init, pair.now)
    (answer,) = written(right, pair.now)
    give(pair.left.association, answer, pair.now)
    (echo,) = written(pair.left.association, pair.now)
    spoilt = bytearray(echo)
    spoilt[40] ^= 1
    give(right, packet(bytes(spoilt[12:]), tag_of(right)), pair.now)
    give(right, echo, pair.now + 61)
    assert right.state is State.CLOSED
    assert [chunks_of(p)[0][0] for p in written(right, pair.now)] == [9]
    assert right.stats().dropped[Drop.COOKIE] == 2
    give(right, echo, pair.now + 1)
    assert [type(event) for event in right.take_events()] == [Established]


def test_a_stale_cookie_makes_the_other_end_begin_anew() -> None:
    pair = Pair()
    give(pair.right.association, start(pair, pair.left), pair.now)
    (answer,) = written(pair.right.association, pair.now)
    give(pair.left.association, answer, pair.now)
    (echo,) = written(pair.left.association, pair.now)
    pair.now += 61
    pair.right.association.handle_timer(pair.now)
    give(pair.right.association, echo, pair.now)
    for error in written(pair.right.association, pair.now):
        give(pair.left.association, error, pair.now)
    assert pair.left.association.state is State.COOKIE_WAIT


def test_packets_with_a_foreign_tag_port_or_checksum_are_dropped_and_counted() -> None:
    pair = Pair().connect()
    right = pair.right.association
    heartbeat = chunk(4, 0, b"\0\1\0\x08beat")
    give(right, packet(heartbeat, tag_of(right) ^ 1), pair.now)
    give(right, packet(heartbeat, tag_of(right), source=5001), pair.now)
    give(right, packet(heartbeat, tag_of(right))[:-1] + b"?", pair.now)
    give(right, b"short", pair.now)
    assert written(right, pair.now) == []
    dropped = right.stats().dropped
    assert [dropped[why] for why in (Drop.TAG, Drop.PORTS, Drop.CHECKSUM, Drop.SHORT)] == [1, 1, 1, 1]
    give(right, packet(heartbeat, tag_of(right)), pair.now)
    assert [chunks_of(p) for p in written(right, pair.now)] == [[(5, 0, b"\0\1\0\x08beat")]]


def test_a_peer_that_starts_anew_is_followed() -> None:
    pair = Pair().connect()
    pair.send(pair.left, 1, b"first life")
    pair.settle()
    pair.left.association = pair.association(None, True)
    pair.left.association.connect(pair.now)
    pair.run(1)
    assert pair.right.count(Restarted) == 1
    pair.send(pair.left, 1, b"second life")
    pair.send(pair.right, 1, bytes(50_000))
    pair.settle()
    assert pair.right.messages[-1] == (1, 53, b"second life")
    assert pair.right.association.buffered(1) == 0
    assert pair.left.messages[-1] == (1, 53, bytes(50_000))


def test_an_init_alone_does_not_disturb_an_established_association() -> None:
    pair = Pair().connect()
    stranger = Association(AssociationConfig(), is_client=True, random=pair.random.randbytes, now=pair.now)
    stranger.connect(pair.now)
    for init in written(stranger, pair.now):
        give(pair.right.association, init, pair.now)
    pair.send(pair.left, 1, b"still here")
    pair.run(1)
    assert pair.right.messages == [(1, 53, b"still here")]
    assert not pair.right.count(Restarted)
