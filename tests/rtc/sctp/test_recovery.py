from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from p2pshare.rtc.sctp import Association, AssociationConfig
from tests.rtc.sctp.link import Conditions, Pair

DATA = AssociationConfig(interleaving=False)
both_kinds = pytest.mark.parametrize("config", [AssociationConfig(), DATA], ids=["I-DATA", "DATA"])


def first_time(*numbers: int) -> Callable[[bytes], bool]:
    """Lose the data packets with these numbers, in the order in which their TSNs first appear."""
    seen: dict[int, int] = {}

    def drop(packet: bytes) -> bool:
        if packet[12] not in (0, 64):
            return False
        tsn = struct.unpack_from("!I", packet, 16)[0]
        if tsn in seen:
            return False
        seen[tsn] = len(seen)
        return seen[tsn] in numbers

    return drop


@both_kinds
def test_a_lost_packet_is_repaired_within_a_round_trip_or_so(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(delay_s=0.05)).connect()
    pair.left.conditions = Conditions(delay_s=0.05, drop=first_time(3))
    begun = pair.now
    pair.send(pair.left, 1, bytes(9_000))
    pair.settle()
    stats = pair.left.association.stats()
    assert pair.now - begun < 0.35
    assert (stats.packets_retransmitted, stats.timeouts, stats.probes) == (1, 0, 0)


@both_kinds
def test_a_lost_last_packet_is_found_by_a_probe_and_not_by_a_timeout(config: AssociationConfig) -> None:
    pair = Pair(config, config, conditions=Conditions(delay_s=0.02)).connect()
    pair.left.conditions = Conditions(delay_s=0.02, drop=first_time(7))
    begun = pair.now
    pair.send(pair.left, 1, bytes(8_800))
    pair.settle()
    stats = pair.left.association.stats()
    assert pair.now - begun < 0.2
    assert (stats.probes, stats.timeouts) == (1, 0)


@both_kinds
def test_a_lost_retransmission_is_sent_once_more_without_a_timeout(config: AssociationConfig) -> None:
    lost = 0

    def drop(packet: bytes) -> bool:
        nonlocal lost
        if (
            packet[12] in (0, 64)
            and packet[12] == kind
            and struct.unpack_from("!I", packet, 16)[0] == unlucky
        ):
            lost += 1
            return lost <= 2
        return False

    pair = Pair(config, config, conditions=Conditions(delay_s=0.02)).connect()
    kind = 64 if config.interleaving else 0
    unlucky = (pair.left.association._lifecycle.handshake.initial_tsn + 5) & 0xFFFFFFFF
    pair.left.conditions = Conditions(delay_s=0.02, drop=drop)
    for _ in range(10):
        pair.send(pair.left, 1, bytes(20_000))
    pair.settle()
    stats = pair.left.association.stats()
    assert lost == 3
    assert (stats.packets_retransmitted, stats.timeouts) == (2, 0)
    assert len(pair.right.messages) == 10


def test_everything_lost_takes_a_timeout_and_then_goes_on() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.01)).connect()
    pair.send(pair.left, 1, bytes(100_000))
    pair.left.conditions.loss = 1.0
    pair.run(0.15)
    pair.left.conditions.loss = 0.0
    pair.settle(5)
    assert pair.left.association.stats().timeouts == 1
    assert pair.right.messages == [(1, 53, bytes(100_000))]


@both_kinds
def test_reordering_alone_causes_few_needless_retransmissions(config: AssociationConfig) -> None:
    conditions = Conditions(delay_s=0.02, jitter_s=0.004)
    pair = Pair(config, config, conditions=conditions, seed=2).connect()
    for _ in range(40):
        pair.send(pair.left, 1, bytes(65_536))
    pair.settle()
    stats = pair.left.association.stats()
    assert stats.timeouts == 0
    assert stats.packets_retransmitted < 0.01 * stats.packets_sent


def test_nearly_nothing_is_sent_needlessly_under_random_loss() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.01, loss=0.05), seed=2).connect()
    for _ in range(30):
        pair.send(pair.left, 1, bytes(65_536))
    pair.settle(120)
    lost = 0.05 * pair.left.association.stats().packets_sent
    assert pair.left.association.stats().packets_retransmitted < 1.5 * lost
    assert pair.right.association.stats().dropped.get("duplicate", 0) < 0.5 * lost


def test_a_receiver_that_forgets_what_it_acknowledged_gets_it_again() -> None:
    """A gap block may be taken back (RFC 9260 section 6.2): a timeout counts on the cumulative TSN alone."""
    pair = Pair(DATA, DATA, conditions=Conditions(delay_s=0.01)).connect()
    pair.left.conditions = Conditions(delay_s=0.01, drop=first_time(0))
    pair.send(pair.left, 1, bytes(8_800))
    pair.run(0.015)
    receiver = pair.right.association._receiver
    assert receiver is not None
    receiver.end_of_batch(drained=True)
    pair.run(0.01)
    pair.left.conditions = Conditions(delay_s=0.01, loss=1.0)
    receiver.settle()
    receiver.tracker.ahead.clear()
    receiver.tracker._ahead_count = 0
    receiver.reassembly._by_first.clear()
    receiver.reassembly._by_last.clear()
    receiver.reassembly.held = 0
    receiver.resume()
    pair.run(0.1)
    pair.left.conditions = Conditions(delay_s=0.01)
    pair.settle(10)
    assert pair.right.messages == [(1, 53, bytes(8_800))]


@both_kinds
def test_tsns_and_sequence_numbers_wrap(config: AssociationConfig) -> None:
    class Near:
        """Random bytes whose four-byte draws lie just below the wrap."""

        def __init__(self) -> None:
            self.draws = 0

        def __call__(self, size: int) -> bytes:
            self.draws += 1
            return b"\xff\xff\xff" + bytes([0x80 + self.draws]) if size == 4 else bytes(range(size))

    pair = Pair(config, config, conditions=Conditions(loss=0.03, delay_s=0.002), seed=5)
    for end, is_client in ((pair.left, True), (pair.right, False)):
        end.association = Association(config, is_client=is_client, random=Near(), now=pair.now)
    pair.connect()
    sent = [bytes([i]) * 30_000 for i in range(40)]
    for payload in sent:
        pair.send(pair.left, 1, payload)
        pair.send(pair.right, 2, payload)
    pair.settle(60)
    assert [p for _, _, p in pair.right.messages] == sent
    assert [p for _, _, p in pair.left.messages] == sent


def test_a_stream_carries_more_messages_than_there_are_sequence_numbers() -> None:
    pair = Pair(DATA, DATA, conditions=Conditions(delay_s=0.0001)).connect()
    count = 70_000
    for i in range(count):
        pair.send(pair.left, 1, i.to_bytes(3, "big"))
    pair.settle(60)
    assert [p for _, _, p in pair.right.messages] == [i.to_bytes(3, "big") for i in range(count)]


@both_kinds
def test_a_delay_that_suddenly_grows_is_no_loss(config: AssociationConfig) -> None:
    """F-RTO: after the timeout the SACK for what had left before it shows that it was needless."""
    pair = Pair(config, config, conditions=Conditions(delay_s=0.02)).connect()
    for _ in range(20):
        pair.send(pair.left, 1, bytes(65_536))
    pair.run(0.2)
    before = pair.left.association.stats()
    pair.right.conditions = Conditions(delay_s=0.8)
    pair.run(0.5)
    pair.right.conditions = Conditions(delay_s=0.02)
    pair.run(0.55)
    stats = pair.left.association.stats()
    assert stats.timeouts > before.timeouts
    assert stats.needless_recoveries == 1
    assert stats.congestion_window >= before.congestion_window
    pair.settle()
    assert len(pair.right.messages) == 20
    stats = pair.left.association.stats()
    assert stats.packets_retransmitted - before.packets_retransmitted < 30


@both_kinds
def test_a_cut_for_packets_that_only_came_late_is_taken_back(config: AssociationConfig) -> None:
    """Eifel: the receiver reports as duplicates all that was sent again."""
    pair = Pair(config, config, conditions=Conditions(delay_s=0.02)).connect()
    for _ in range(30):
        pair.send(pair.left, 1, bytes(65_536))
    pair.run(0.15)
    window = pair.left.association.stats().congestion_window
    detained: list[bytes] = []

    def detain(packet: bytes) -> bool:
        if len(detained) < 3 and packet[12] in (0, 64):
            detained.append(packet)
            return True
        return False

    pair.left.conditions = Conditions(delay_s=0.02, drop=detain)
    pair.run(0.05)
    assert len(detained) == 3
    for packet in detained:
        pair._carry(pair.left, packet)
    pair.run(0.1)
    stats = pair.left.association.stats()
    assert stats.loss_events == 1
    assert stats.needless_recoveries == 1
    assert stats.congestion_window >= window


def test_a_path_that_stops_is_asked_once_a_second() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.02)).connect()
    for _ in range(30):
        pair.send(pair.left, 1, bytes(65_536))
    pair.run(0.1)
    pair.left.conditions = Conditions(loss=1.0)
    pair.run(3)
    before = pair.left.association.stats()
    pair.run(10)
    after = pair.left.association.stats()
    assert 8 <= after.timeouts - before.timeouts <= 12
    assert after.packets_sent - before.packets_sent <= 12 * 12
