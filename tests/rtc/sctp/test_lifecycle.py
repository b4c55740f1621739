from __future__ import annotations

import pytest

from p2pshare.rtc.sctp import AssociationConfig, Closed, CloseReason, MessageReceived, State
from tests.rtc.sctp.link import Conditions, Pair, give_all
from tests.rtc.sctp.wire import chunk, data, i_data, packet, tag_of


def closed(pair: Pair) -> list[CloseReason]:
    return [e.reason for end in (pair.left, pair.right) for e in end.events if isinstance(e, Closed)]


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_shutdown_closes_both_ends_after_everything_has_arrived(loss: float) -> None:
    pair = Pair(conditions=Conditions(loss=loss), seed=4).connect()
    for i in range(20):
        pair.send(pair.left, 1, b"%02d" % i * 4_000)
        pair.send(pair.right, 1, b"%02d" % i * 3_000)
    pair.left.association.shutdown(pair.now)
    with pytest.raises(RuntimeError):
        pair.send(pair.left, 1, b"too late")
    pair.run(60)
    assert len(pair.right.messages) == 20
    assert len(pair.left.messages) == 20
    assert closed(pair)[0] is CloseReason.SHUTDOWN
    assert len(closed(pair)) == 2
    assert pair.left.association.state is pair.right.association.state is State.GONE
    assert pair.left.association.next_timer() is None


def test_both_ends_may_shut_down_at_once() -> None:
    pair = Pair().connect()
    for end in (pair.left, pair.right):
        pair.send(end, 1, bytes(30_000))
        end.association.shutdown(pair.now)
    pair.run(60)
    assert closed(pair) == [CloseReason.SHUTDOWN] * 2
    assert len(pair.left.messages) == len(pair.right.messages) == 1


def test_abort_closes_both_ends_at_once_and_says_why() -> None:
    pair = Pair().connect()
    pair.send(pair.left, 1, bytes(100_000))
    pair.left.association.abort("no more")
    pair.run(1)
    assert Closed(CloseReason.ABORTED, "no more") in pair.left.events
    assert Closed(CloseReason.ABORTED_BY_PEER, "no more") in pair.right.events
    pair.left.association.abort("again")
    assert pair.left.association.take_events() == []


def test_an_association_that_never_was_up_closes_at_once() -> None:
    pair = Pair()
    pair.left.association.connect(pair.now)
    pair.left.association.shutdown(pair.now)
    pair.run(1)
    assert closed(pair) == [CloseReason.SHUTDOWN]


@pytest.mark.parametrize("payload", [b"", bytes(262_145)])
def test_messages_of_a_size_that_cannot_be_sent_are_refused(payload: bytes) -> None:
    pair = Pair().connect()
    with pytest.raises(ValueError, match="message of"):
        pair.send(pair.left, 1, payload)
    with pytest.raises(ValueError, match="stream"):
        pair.send(pair.left, 65_535, b"x")


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_streams"):
        AssociationConfig(max_streams=0)
    with pytest.raises(ValueError, match="packet size"):
        AssociationConfig(initial_packet_size=100)
    with pytest.raises(ValueError, match="receive_memory"):
        AssociationConfig(receive_memory=1)


@pytest.mark.parametrize("interleaved", [False, True])
def test_what_comes_behind_the_end_in_one_batch_is_not_delivered(interleaved: bool) -> None:
    config = AssociationConfig(interleaving=interleaved)
    pair = Pair(config, config).connect()
    right, tsn = pair.right.association, pair.left.association._lifecycle.handshake.initial_tsn
    messages = [
        i_data(tsn + i, 1, i, 53, b"x") if interleaved else data(tsn + i, 1, i, b"x") for i in range(3)
    ]
    chunks = [messages[0], chunk(6, 0, b""), *messages[1:]]
    give_all(right, [packet(each, tag_of(right)) for each in chunks], pair.now)
    right.end_of_batch(pair.now)
    assert [type(event) for event in right.take_events()] == [MessageReceived, Closed]
