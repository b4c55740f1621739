from __future__ import annotations

import struct

from p2pshare.rtc.sctp import AssociationConfig, StreamResetDenied, StreamsReset
from tests.rtc.sctp.link import Conditions, End, Pair, give
from tests.rtc.sctp.wire import chunk, chunks_of, data, packet, tag_of, written


def resets(end: End, *, incoming: bool) -> list[int]:
    return [
        stream
        for event in end.events
        if isinstance(event, StreamsReset) and event.incoming is incoming
        for stream in event.stream_ids
    ]


def test_a_stream_is_reset_after_all_that_was_sent_on_it() -> None:
    pair = Pair(conditions=Conditions(loss=0.05), seed=2).connect()
    for i in range(30):
        pair.send(pair.left, 4, b"%02d" % i * 3_000)
    pair.left.association.reset_streams([4], pair.now)
    pair.run(60, until=lambda: bool(resets(pair.left, incoming=False)))
    assert len(pair.right.messages) == 30
    assert resets(pair.right, incoming=True) == [4]
    position = pair.right.events.index(StreamsReset((4,), incoming=True))
    assert len([e for e in pair.right.events[:position] if type(e).__name__ == "MessageReceived"]) == 30


def test_what_is_sent_during_a_reset_belongs_to_the_streams_next_life() -> None:
    for config in (AssociationConfig(), AssociationConfig(interleaving=False)):
        pair = Pair(config, config, conditions=Conditions(loss=0.05, jitter_s=0.005), seed=3).connect()
        for life in range(5):
            for i in range(7):
                pair.send(pair.left, 4, b"%d:%d" % (life, i) * 2_000)
                pair.send(pair.left, 5, bytes(20_000))
            pair.left.association.reset_streams([4], pair.now)
            pair.run(0.02)
        pair.send(pair.left, 4, b"end")
        pair.settle(120)
        pair.run(1)
        on_four = [p for s, _, p in pair.right.messages if s == 4]
        assert on_four == [b"%d:%d" % (a, i) * 2_000 for a in range(5) for i in range(7)] + [b"end"]
        assert len([1 for s, _, p in pair.right.messages if s == 5]) == 35
        assert pair.left.association.buffered(4) == 0


def test_both_ends_may_reset_the_same_streams_at_once() -> None:
    pair = Pair().connect()
    ids = list(range(1, 300))
    for end in (pair.left, pair.right):
        for i in ids[:40]:
            pair.send(end, i, b"x")
        end.association.reset_streams(ids, pair.now)
    pair.run(20)
    for end in (pair.left, pair.right):
        assert sorted(resets(end, incoming=True)) == sorted(resets(end, incoming=False)) == ids


def request(number: int, last_tsn: int, *streams: int) -> bytes:
    body = struct.pack("!III", number & 0xFFFF_FFFF, 0, last_tsn & 0xFFFF_FFFF)
    body += struct.pack(f"!{len(streams)}H", *streams)
    parameter = struct.pack("!HH", 13, 4 + len(body)) + body
    return chunk(130, 0, parameter + bytes(-len(parameter) % 4))


def responses(end: End, now: float) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for raw in written(end.association, now):
        for kind, _, body in chunks_of(raw):
            if kind == 130 and body[:2] == b"\0\x10":
                found.append(struct.unpack("!II", body[4:12]))
    return found


def test_a_request_for_data_that_is_missing_is_in_progress_until_it_has_come() -> None:
    pair = Pair(AssociationConfig(interleaving=False), AssociationConfig(interleaving=False)).connect()
    right, left = pair.right, pair.left.association
    first = left._lifecycle.handshake.initial_tsn
    tag = tag_of(right.association)

    def receive(chunks: bytes) -> list[tuple[int, ...]]:
        give(right.association, packet(chunks, tag), pair.now)
        right.association.end_of_batch(pair.now)
        right.events += right.association.take_events()
        return responses(right, pair.now)

    number = first & 0xFFFF_FFFF
    assert receive(request(first, first, 7)) == [(number, 6)]
    assert receive(request(first, first, 7)) == [(number, 6)]
    assert resets(right, incoming=True) == []
    assert receive(data(first, 7, 0, b"late")) == [(number, 1)]
    assert resets(right, incoming=True) == [7]
    assert receive(request(first, first, 7)) == [(number, 1)]
    assert resets(right, incoming=True) == [7]
    assert receive(request(first + 9, first, 7)) == [((first + 9) & 0xFFFF_FFFF, 5)]
    assert receive(data(first + 1, 7, 0, b"next life")) == []
    assert right.messages == [(7, 53, b"late"), (7, 53, b"next life")]


def test_a_denied_request_leaves_the_stream_as_it_was() -> None:
    pair = Pair(AssociationConfig(interleaving=False), AssociationConfig(interleaving=False)).connect()
    left = pair.left.association
    pair.send(pair.left, 2, b"one")
    pair.settle()
    left.reset_streams([2], pair.now)
    pair.send(pair.left, 2, b"two")
    written(left, pair.now)
    number = left._resets.outgoing.request.number  # type: ignore[union-attr]  # just made
    denied = chunk(130, 0, struct.pack("!HHII", 16, 12, number, 2))
    give(left, packet(denied, tag_of(left)), pair.now)
    left.end_of_batch(pair.now)
    pair.settle()
    assert StreamResetDenied((2,), 2) in pair.left.events
    assert [p for _, _, p in pair.right.messages] == [b"one", b"two"]
