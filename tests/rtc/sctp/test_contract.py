"""What `Association` promises to the transport that drives it."""

from __future__ import annotations

import subprocess
import sys

from p2pshare.rtc.sctp import Association, AssociationConfig, MessageReceived, StreamsReset
from p2pshare.rtc.sctp.packet import Kind
from tests.rtc.sctp.link import Conditions, Pair, give
from tests.rtc.sctp.test_resets import request
from tests.rtc.sctp.wire import chunks_of, data, packet, tag_of, written

DATA = AssociationConfig(interleaving=False)


def receive(association: Association, now: float, *chunks: bytes, drained: bool = True) -> list[int]:
    """Give packets as one batch; returns the types of the chunks that answer."""
    for chunk in chunks:
        give(association, packet(chunk, tag_of(association)), now)
    association.end_of_batch(now, drained=drained)
    return [kind for raw in written(association, now) for kind, _, _ in chunks_of(raw)]


def test_it_loads_neither_aiortc_nor_av() -> None:
    code = (
        "import sys, p2pshare.rtc.sctp; sys.exit(any(m in sys.modules for m in ('aiortc', 'av', 'asyncio')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_batch_is_acknowledged_once_at_its_end() -> None:
    pair = Pair(DATA, DATA).connect()
    first = pair.left.association._lifecycle.handshake.initial_tsn
    batch = [data(first + i, 1, i, b"x") for i in range(40)]
    assert receive(pair.right.association, pair.now, *batch) == [Kind.SACK]
    assert receive(pair.right.association, pair.now) == []


def test_small_batches_of_one_drain_share_an_acknowledgement() -> None:
    pair = Pair(DATA, DATA).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    answers = [receive(right, pair.now, data(first + i, 1, i, b"x"), drained=i == 39) for i in range(40)]
    assert [i for i, answer in enumerate(answers) if answer] == [15, 39]


def test_the_more_waits_the_more_an_acknowledgement_stands_for() -> None:
    pair = Pair(DATA, DATA).connect()
    right = pair.right.association
    tsn = pair.left.association._lifecycle.handshake.initial_tsn

    def answered(count: int, drained_at: int) -> list[int]:
        """Packets one by one, of which one empties the socket; how many each acknowledgement stood for."""
        nonlocal tsn
        spans = [0]
        for number in range(1, count + 1):
            chunk = data(tsn, 1, tsn - first & 0xFFFF, b"x")
            tsn = tsn + 1 & 0xFFFF_FFFF
            spans[-1] += 1
            if receive(right, pair.now, chunk, drained=number == drained_at):
                spans.append(0)
        return spans[:-1]

    first = tsn
    limit = DATA.receive_window // 8 // 1_400
    assert answered(400, drained_at=0) == [16, 32, 64, limit, limit, limit]
    assert answered(80, drained_at=20) == [20, 16, 32]  # with what was left over, 29 emptied the socket


def test_a_gap_and_a_duplicate_are_acknowledged_at_once() -> None:
    pair = Pair(DATA, DATA).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    assert receive(right, pair.now, data(first, 1, 0, b"x"), drained=False) == []
    assert receive(right, pair.now, data(first + 2, 1, 2, b"x"), drained=False) == [Kind.SACK]
    assert receive(right, pair.now, data(first, 1, 0, b"x"), drained=False) == [Kind.SACK]


def test_the_callback_gets_messages_unless_events_of_before_wait() -> None:
    pair = Pair(DATA, DATA).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn
    heard: list[bytes] = []
    right.on_message = lambda stream_id, ppid, payload: heard.append(payload)
    receive(
        right,
        pair.now,
        data(first, 7, 0, b"last of the first life"),
        request(first, first, 7),
        data(first + 1, 7, 0, b"first of the second"),
    )
    assert heard == [b"last of the first life"]
    second = MessageReceived(7, 53, b"first of the second")
    assert right.take_events() == [StreamsReset((7,), incoming=True), second]
    receive(right, pair.now, data(first + 2, 7, 1, b"then"))
    assert heard == [b"last of the first life", b"then"]
    assert right.take_events() == []


def test_a_peer_of_another_make_gets_short_trains() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.0005))
    original = pair.right.association._lifecycle.handshake
    original.extensions = original.extensions - {Kind.PAD}
    pair.connect()
    assert pair.right.association.is_peer_ours
    assert not pair.left.association.is_peer_ours
    for end in (pair.left, pair.right):
        for _ in range(20):
            pair.send(end, 1, bytes(65_536))
    pair.settle()
    assert max(train.count for train in pair.left.trains) == 8
    assert max(train.count for train in pair.right.trains) > 20
    pair.left.association.trust_peer()
    for _ in range(20):
        pair.send(pair.left, 1, bytes(65_536))
    pair.settle()
    assert max(train.count for train in pair.left.trains) > 20


def test_trains_fit_one_datagram_with_segmentation_whatever_the_packet_size() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.0005)).connect()
    pair.left.association.set_packet_size(8_900)
    for _ in range(30):
        pair.send(pair.left, 1, bytes(262_144))
    pair.settle()
    assert 40_000 < max(train.size for train in pair.left.trains) <= 61_440


def test_a_window_that_changes_is_told_at_once() -> None:
    pair = Pair(DATA, DATA).connect()
    pair.right.association.set_receive_window(77_000)
    (answer,) = written(pair.right.association, pair.now)
    assert chunks_of(answer)[0][2][4:8] == (77_000).to_bytes(4, "big")


def test_packets_are_counted_once() -> None:
    pair = Pair(conditions=Conditions(delay_s=0.001)).connect()
    for size in (10, 50, 65_536, 3, 700):
        pair.send(pair.left, 1, bytes(size))
    pair.settle()
    pair.run(0.1)
    left, right = pair.left.association.stats(), pair.right.association.stats()
    assert right.packets_received == left.packets_sent
    assert left.packets_received == right.packets_sent
    assert right.messages_received == left.messages_sent == 5
    assert right.bytes_received == left.bytes_sent == 66_299
