"""The association against a model that a reader can hold in the head: lists of messages by stream.

Whatever the link does, each message of a reliable stream arrives once, in its stream's order where that was
asked for, and no end holds or sends more than it may (`Pair` watches the window at each train).
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.sctp import AssociationConfig, StreamsReset
from tests.rtc.sctp.link import Conditions, End, Pair

SIZES = st.sampled_from([1, 4, 90, 540, 1_104, 1_105, 2_000, 9_999, 65_536])
SENDS = st.tuples(st.booleans(), st.integers(0, 3), SIZES, st.booleans(), st.floats(0, 0.05))
LINKS = st.builds(
    Conditions,
    delay_s=st.sampled_from([0.0, 0.001, 0.05]),
    jitter_s=st.sampled_from([0.0, 0.0005, 0.03]),
    loss=st.sampled_from([0.0, 0.02, 0.1, 0.25]),
    duplication=st.sampled_from([0.0, 0.1]),
    corruption=st.sampled_from([0.0, 0.03]),
    rate=st.sampled_from([None, None, 300_000.0]),
)
CONFIGS = st.builds(
    AssociationConfig,
    interleaving=st.booleans(),
    receive_window=st.sampled_from([5_000, 30_000, 1 << 20]),
    receive_memory=st.sampled_from([270_000, 8 << 20]),
    initial_packet_size=st.sampled_from([512, 1_132, 1_400, 6_000]),
    max_train=st.sampled_from([1, 2, 45]),
    urgent_streams=st.sampled_from([frozenset(), frozenset({3})]),
)


@given(CONFIGS, CONFIGS, LINKS, st.lists(SENDS, max_size=25), st.integers(0, 1_000))
def test_every_message_arrives_exactly_once_whatever_the_link_does(
    left: AssociationConfig,
    right: AssociationConfig,
    link: Conditions,
    sends: list[tuple[bool, int, int, bool, float]],
    seed: int,
) -> None:
    pair = Pair(left, right, conditions=link, back=replace(link), seed=seed).connect()
    sent: dict[tuple[bool, int], list[bytes]] = {}
    unordered: set[tuple[bool, int]] = set()
    for number, (from_left, stream, size, ordered, pause) in enumerate(sends):
        payload = number.to_bytes(2, "big") * (size // 2) + b"!" * (size % 2)
        end = pair.left if from_left else pair.right
        pair.send(end, stream, payload, ordered=ordered)
        sent.setdefault((from_left, stream), []).append(payload)
        if not ordered:
            unordered.add((from_left, stream))
        pair.run(pause)
    pair.settle(400)
    for from_left, end, other in ((True, pair.right, right), (False, pair.left, left)):
        for stream in range(4):
            payloads = sent.get((from_left, stream), [])
            received = [p for s, _, p in end.messages if s == stream]
            if (from_left, stream) in unordered:
                assert sorted(received) == sorted(payloads)
            else:
                assert received == payloads
        assert end.most_held <= other.receive_memory + 262_144
        receiver = end.association._receiver
        assert receiver is not None
        assert receiver.held == 0


def lives(end: End, stream: int) -> list[list[bytes]]:
    """Messages of a stream, by the lives that incoming resets divide it into."""
    found: list[list[bytes]] = [[]]
    for event in end.events:
        if isinstance(event, StreamsReset) and event.incoming and stream in event.stream_ids:
            found.append([])
        elif getattr(event, "stream_id", None) == stream and hasattr(event, "payload"):
            found[-1].append(event.payload)
    return found


@given(
    st.booleans(),
    LINKS,
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=20),
    st.integers(0, 99),
)
def test_resets_divide_the_messages_of_a_stream_where_they_were_asked_for(
    interleaving: bool, link: Conditions, steps: list[tuple[int, int]], seed: int
) -> None:
    config = AssociationConfig(interleaving=interleaving)
    pair = Pair(config, config, conditions=link, back=replace(link), seed=seed).connect()
    model: dict[int, list[list[bytes]]] = {stream: [[]] for stream in range(3)}
    resetting: set[int] = set()
    for number, (stream, action) in enumerate(steps):
        if action == 0 and stream not in resetting:
            pair.left.association.reset_streams([stream], pair.now)
            model[stream].append([])
            resetting.add(stream)
        else:
            payload = b"%d" % number * 900
            pair.send(pair.left, stream, payload)
            model[stream][-1].append(payload)
        if action == 4:
            pair.run(120, until=lambda: reset_count(pair.left) == sum(len(m) - 1 for m in model.values()))
            resetting.clear()
    pair.run(200, until=lambda: reset_count(pair.left) == sum(len(m) - 1 for m in model.values()))
    pair.settle(200)
    for stream in range(3):
        assert lives(pair.right, stream) == model[stream]


def reset_count(end: End) -> int:
    return sum(len(e.stream_ids) for e in end.events if isinstance(e, StreamsReset) and not e.incoming)


LIMITS = st.sampled_from(
    [
        {"max_retransmits": 0},
        {"max_retransmits": 2},
        {"lifetime_s": 0.0},
        {"lifetime_s": 0.03},
        {"lifetime_s": 1.0},
    ]
)
MIXED = st.tuples(st.booleans(), SIZES, LIMITS, st.booleans(), st.floats(0, 0.02))


@given(CONFIGS, CONFIGS, LINKS, st.lists(MIXED, max_size=25), st.integers(0, 1_000))
def test_messages_that_may_be_given_up_do_not_disturb_those_that_may_not(
    left: AssociationConfig,
    right: AssociationConfig,
    link: Conditions,
    sends: list[tuple[bool, int, dict[str, float], bool, float]],
    seed: int,
) -> None:
    pair = Pair(left, right, conditions=link, back=replace(link), seed=seed).connect()
    sent: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    for number, (reliable, size, limit, ordered, pause) in enumerate(sends):
        payload = number.to_bytes(2, "big") * (size // 2 or 1)
        stream = number % 2 if reliable else 2
        sent[stream].append(payload)
        if reliable:
            pair.send(pair.left, stream, payload)
        else:
            pair.send(pair.left, stream, payload, ordered=ordered, **limit)
        pair.run(pause)
    pair.send(pair.left, 2, b"last")
    pair.settle(400)
    pair.run(1)
    received = {s: [p for stream, _, p in pair.right.messages if stream == s] for s in range(3)}
    assert received[0] == sent[0]
    assert received[1] == sent[1]
    assert b"last" in received[2]
    assert len(set(received[2])) == len(received[2])
    assert set(received[2]) <= {*sent[2], b"last"}
    receiver = pair.right.association._receiver
    assert receiver is not None
    assert receiver.held == 0
    assert pair.left.association.buffered(2) == 0
