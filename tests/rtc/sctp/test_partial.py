from __future__ import annotations

import pytest

from p2pshare.rtc.sctp import AssociationConfig, MessageAbandoned
from tests.rtc.sctp.link import Conditions, Pair

KINDS = [AssociationConfig(), AssociationConfig(interleaving=False)]
both_kinds = pytest.mark.parametrize("config", KINDS, ids=["I-DATA", "DATA"])


@both_kinds
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ordered", [True, False])
def test_messages_without_retransmission_come_once_or_not_at_all(
    config: AssociationConfig, seed: int, ordered: bool
) -> None:
    conditions = Conditions(loss=0.1, delay_s=0.005, jitter_s=0.002, duplication=0.05)
    pair = Pair(config, config, conditions=conditions, seed=seed).connect()
    sent = [b"%03d" % i * (1 + 997 * (i % 4)) for i in range(200)]
    for payload in sent:
        pair.send(pair.left, 1, payload, max_retransmits=0, ordered=ordered)
        pair.send(pair.left, 2, payload)
    pair.send(pair.left, 1, b"last")
    pair.settle(120)
    received = [p for s, _, p in pair.right.messages if s == 1]
    assert b"last" in received
    assert len(set(received)) == len(received)
    if ordered:
        assert received == [p for p in [*sent, b"last"] if p in set(received)]
    assert 60 < len(received) < 200
    assert len(received) + pair.left.count(MessageAbandoned) >= 201
    assert [p for s, _, p in pair.right.messages if s == 2] == sent
    assert pair.left.association.buffered(1) == 0


@both_kinds
def test_messages_with_some_retransmissions_nearly_all_come(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(loss=0.1, delay_s=0.005), seed=1).connect()
    for i in range(200):
        pair.send(pair.left, 1, b"%03d" % i * 100, max_retransmits=4)
    pair.settle(120)
    assert len(pair.right.messages) >= 195


@both_kinds
def test_a_message_whose_time_is_over_is_not_sent(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(rate=100_000, delay_s=0.05)).connect()
    pair.send(pair.left, 1, bytes(200_000))
    pair.send(pair.left, 1, b"too late" * 100, lifetime_s=0.1)
    pair.send(pair.left, 1, b"in time", lifetime_s=60)
    pair.settle(120)
    assert [len(p) for _, _, p in pair.right.messages] == [200_000, 7]
    assert pair.left.count(MessageAbandoned) == 1
    assert pair.left.association.buffered(1) == 0


@both_kinds
def test_a_message_whose_time_ends_while_it_leaves_is_skipped(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(rate=200_000, delay_s=0.02)).connect()
    for size in (250_000, 240_000):
        pair.send(pair.left, 1, bytes(size), lifetime_s=0.3)
    pair.send(pair.left, 1, b"after it")
    pair.settle(120)
    assert [p for _, _, p in pair.right.messages] == [b"after it"]
    assert pair.left.count(MessageAbandoned) == 2
    receiver = pair.right.association._receiver
    assert receiver is not None
    assert receiver.held == 0


@both_kinds
def test_a_message_that_is_cut_off_leaves_the_next_ones_in_one_piece(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(delay_s=0.02)).connect()
    pair.send(pair.left, 1, bytes(100_000), lifetime_s=0.01)
    pair.send(pair.left, 2, b"whole" * 10_000)
    pair.settle(10)
    assert pair.right.messages == [(2, 53, b"whole" * 10_000)]
    assert [e.stream_id for e in pair.left.events if isinstance(e, MessageAbandoned)] == [1]


@both_kinds
def test_messages_that_end_before_they_leave_take_no_number(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(rate=300_000, delay_s=0.01)).connect()
    for i in range(60):
        pair.send(pair.left, 1, bytes([i]) * (900 + 997 * (i % 5)), lifetime_s=0.02 * (i % 7))
        pair.send(pair.left, 2, bytes(3_333))
        pair.run(0.003)
    pair.send(pair.left, 1, b"last")
    pair.settle(60)
    assert (1, 53, b"last") in pair.right.messages
    assert pair.left.count(MessageAbandoned) > 10


def test_a_peer_without_the_extension_gets_everything() -> None:
    foreign = AssociationConfig(partial_reliability=False)
    pair = Pair(None, foreign, conditions=Conditions(loss=0.2), seed=5).connect()
    for i in range(50):
        pair.send(pair.left, 1, b"%02d" % i, max_retransmits=0)
    pair.settle(120)
    assert len(pair.right.messages) == 50
