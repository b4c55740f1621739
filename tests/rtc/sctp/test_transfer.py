from __future__ import annotations

import gc
from random import Random

import pytest

from p2pshare.rtc.sctp import AssociationConfig, BytesSent
from p2pshare.rtc.sctp.tx.message import Message
from tests.rtc.sctp.link import Conditions, Pair

BAD = [
    Conditions(delay_s=0.01),
    Conditions(delay_s=0.01, loss=0.02, jitter_s=0.004, duplication=0.02, corruption=0.01),
    Conditions(delay_s=0.02, loss=0.1, jitter_s=0.02, duplication=0.05, corruption=0.03),
]
KINDS = [AssociationConfig(), AssociationConfig(interleaving=False)]


@pytest.mark.parametrize("conditions", BAD)
@pytest.mark.parametrize("config", KINDS, ids=["I-DATA", "DATA"])
def test_every_message_arrives_once_and_in_its_streams_order(
    config: AssociationConfig, conditions: Conditions
) -> None:
    pair = Pair(config, config, conditions=conditions, seed=1)
    pair.connect()
    random = Random(2)
    sent: dict[int, list[bytes]] = {1: [], 2: [], 7: []}
    for _ in range(60):
        stream = random.choice([1, 2, 7])
        payload = random.randbytes(random.choice([1, 3, 100, 1_000, 1_148, 5_000, 65_536, 262_144]))
        sent[stream].append(payload)
        pair.send(pair.left, stream, payload)
    pair.settle(600)
    for stream, payloads in sent.items():
        assert [p for s, _, p in pair.right.messages if s == stream] == payloads
    assert pair.right.most_held <= config.receive_memory


@pytest.mark.parametrize("conditions", BAD)
@pytest.mark.parametrize("config", KINDS, ids=["I-DATA", "DATA"])
def test_unordered_messages_arrive_once_in_any_order(
    config: AssociationConfig, conditions: Conditions
) -> None:
    pair = Pair(config, config, conditions=conditions, seed=3)
    pair.connect()
    sent = [b"%d" % i + bytes(i * 37) for i in range(200)]
    for payload in sent:
        pair.send(pair.left, 4, payload, ordered=False)
    pair.settle(300)
    assert sorted(p for _, _, p in pair.right.messages) == sorted(sent)


@pytest.mark.parametrize("config", KINDS, ids=["I-DATA", "DATA"])
def test_both_directions_at_once(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=BAD[1], seed=4)
    pair.connect()
    for i in range(50):
        pair.send(pair.left, 1, b"l%d" % i * 5_000)
        pair.send(pair.right, 1, b"r%d" % i * 5_000)
    pair.settle(300)
    assert [p for _, _, p in pair.right.messages] == [b"l%d" % i * 5_000 for i in range(50)]
    assert [p for _, _, p in pair.left.messages] == [b"r%d" % i * 5_000 for i in range(50)]


def test_the_buffered_amount_returns_to_zero_and_is_reported() -> None:
    pair = Pair().connect()
    for size in (10, 100_000, 33):
        pair.send(pair.left, 5, bytes(size))
    assert pair.left.association.buffered(5) == 100_043
    pair.settle()
    assert pair.left.association.buffered(5) == 0
    reported = [e for e in pair.left.events if isinstance(e, BytesSent)]
    assert sum(e.size for e in reported if e.stream_id == 5) == 100_043


def test_packets_of_a_bulk_transfer_leave_in_equal_trains() -> None:
    pair = Pair(AssociationConfig(), AssociationConfig()).connect()
    for _ in range(20):
        pair.send(pair.left, 1, bytes(65_536))
    pair.settle()
    long = [train for train in pair.left.trains if train.count > 20]
    assert len(long) > 10
    assert len({train.packet_size for train in long}) == 1


def test_small_messages_share_packets() -> None:
    pair = Pair().connect()
    for i in range(1_000):
        pair.send(pair.left, 1, b"%03d" % i * 30)
    before = pair.left.association.stats().packets_sent
    pair.settle()
    assert pair.left.association.stats().packets_sent - before <= 120
    assert [p for _, _, p in pair.right.messages] == [b"%03d" % i * 30 for i in range(1_000)]


def test_messages_that_have_arrived_are_let_go_by_their_sender() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.001))
    pair.connect()
    for _ in range(200):
        pair.send(pair.left, 1, bytes(65_536))
        pair.settle(1)
    pair.settle(10)
    assert len(pair.right.messages) == 200
    gc.collect()  # those of other tests
    assert sum(isinstance(each, Message) for each in gc.get_objects()) < 20
