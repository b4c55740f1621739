from __future__ import annotations

from p2pshare.rtc.sctp import AssociationConfig, PacketSizeChanged, ProbeAcked, ProbeLost
from p2pshare.rtc.sctp.pmtu import PacketSizeSearch, Phase
from tests.rtc.sctp.link import Conditions, Pair

CANDIDATES = (1_200, 1_300, 1_432, 8_900)


def test_the_largest_size_that_passes_is_found_and_used() -> None:
    pair = Pair(conditions=Conditions(mtu=1_450)).connect()
    pair.left.association.discover_packet_size(CANDIDATES)
    pair.run(10)
    assert [e.size for e in pair.left.events if isinstance(e, PacketSizeChanged)] == [1_200, 1_300, 1_432]
    assert pair.left.count(ProbeLost) == 3
    assert pair.left.association.stats().packet_size == 1_432
    for _ in range(5):
        pair.send(pair.left, 1, bytes(200_000))
    pair.settle()
    assert max(train.packet_size for train in pair.left.trains if not train.is_probe) > 1_400
    assert pair.left.association.stats().loss_events == 0


def test_a_probe_that_the_network_refuses_is_not_tried_again() -> None:
    pair = Pair().connect()
    pair.left.association.discover_packet_size([2_000])
    pair.left.conditions.loss = 1.0
    train = pair.left.association.write(pair.now)
    assert train is not None
    assert (train.is_probe, train.size, train.count) == (True, 2_000, 1)
    pair.left.association.probe_failed(pair.now)
    assert pair.left.association.write(pair.now) is None
    assert pair.left.association.take_events() == [ProbeLost(2_000)]


def test_a_single_probe_may_be_asked_for() -> None:
    pair = Pair().connect()
    pair.left.association.probe(4_000)
    pair.run(1)
    assert ProbeAcked(4_000) in pair.left.events
    assert pair.left.association.stats().packet_size == AssociationConfig().initial_packet_size


def test_packets_that_begin_to_vanish_make_the_size_fall_and_everything_arrives() -> None:
    pair = Pair(conditions=Conditions(mtu=9_000)).connect()
    pair.left.association.discover_packet_size(CANDIDATES)
    pair.run(2)
    assert pair.left.association.stats().packet_size == 8_900
    pair.left.conditions.drop = lambda packet: len(packet) > 1_450 and packet[12] != 64
    for _ in range(6):
        pair.send(pair.left, 1, bytes(100_000))
    pair.run(0.05)
    pair.left.conditions.drop = lambda packet: len(packet) > 1_450
    pair.run(1.5)
    assert pair.left.association.stats().packet_size == 1_132
    assert any(train.is_oversized for train in pair.left.trains)
    pair.left.conditions.drop = None  # the network fragments what it must
    pair.settle(30)
    assert len(pair.right.messages) == 6


def test_sizes_may_be_set_in_mid_transfer() -> None:
    for config in (AssociationConfig(), AssociationConfig(interleaving=False)):
        pair = Pair(config, config, conditions=Conditions(loss=0.02), seed=3).connect()
        sent = []
        for i, size in enumerate((1_400, 600, 1_132, 5_000, 700)):
            payload = b"%d" % i * 150_000
            sent.append(payload)
            pair.send(pair.left, 1, payload)
            pair.run(0.03)
            pair.left.association.set_packet_size(size)
        pair.settle(60)
        assert [p for _, _, p in pair.right.messages] == sent


def test_the_search_tries_each_size_three_times_and_begins_again_later() -> None:
    search = PacketSizeSearch(1_000)
    assert search.next_probe(0) is None
    search.start([1_400, 900, 1_200])
    for now in range(3):
        assert search.next_probe(now) == 1_200
        search.lost(1_200, now)
    assert search.phase is Phase.COMPLETE
    assert search.next_probe(10) is None
    due = search.next_timer()
    assert due is not None
    assert search.next_probe(due) == 1_200
    assert search.acked(1_400, due)
    assert search.size == 1_400
    assert search.phase is Phase.COMPLETE
    assert search.black_hole(due)
    assert not search.black_hole(due)
    assert search.size == 1_000
