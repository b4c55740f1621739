"""Nothing that a peer can send raises, loops, or takes more memory or time than it is entitled to."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.sctp import Association, AssociationConfig
from tests.rtc.sctp.link import Pair, give, packets_of
from tests.rtc.sctp.wire import chunk, data, i_data, packet, tag_of, written

KINDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 130, 132, 192, 194, 63, 127, 191, 255]
SMALL = AssociationConfig(receive_memory=300_000)


def prod(association: Association, raw: bytes, now: float) -> None:
    """Receive, and do all that a transport does after it."""
    give(association, raw, now)
    association.end_of_batch(now)
    for _ in range(300):
        train = association.write(now)
        if train is None:
            break
        assert packets_of(association, train)
    else:
        raise AssertionError("it never stops sending")
    association.take_events()
    due = association.next_timer()
    if due is not None and due <= now:
        association.handle_timer(now)


def established(config: AssociationConfig = SMALL, seed: int = 0) -> Pair:
    pair = Pair(config, config, seed=seed).connect()
    for end in (pair.left, pair.right):
        for i in range(6):
            pair.send(end, i, bytes(30_000))
    pair.run(0.05)
    return pair


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.integers(0, 255),
            st.binary(max_size=60),
            st.none() | st.integers(0, 0xFFFF),
        ),
        max_size=6,
    )
)
def test_packets_of_any_chunks_with_a_right_checksum_and_tag(
    chunks: list[tuple[int, int, bytes, int | None]],
) -> None:
    pair = established()
    association = pair.right.association
    body = b""
    for kind, flags, content, length in chunks:
        piece = bytearray(chunk(kind, flags, content))
        if length is not None:
            piece[2:4] = length.to_bytes(2, "big")
        body += bytes(piece)
    for tag in (tag_of(association), tag_of(pair.left.association), 0):
        prod(association, packet(body, tag), pair.now)


@given(st.binary(max_size=100), st.booleans())
def test_bytes_without_any_sense(raw: bytes, is_up: bool) -> None:
    pair = established() if is_up else Pair()
    prod(pair.right.association, raw, pair.now)
    prod(pair.right.association, packet(raw, tag_of(pair.right.association)), pair.now)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_packets_of_a_real_transfer_with_bytes_changed(interleaved: bool, seed: int) -> None:
    random = Random(seed)
    config = AssociationConfig(interleaving=interleaved, receive_memory=300_000)
    pair = Pair(config, config, seed=seed, keep_packets=True)
    pair.left.conditions.loss = pair.right.conditions.loss = 0.1
    for i in range(10):
        pair.send(pair.left, i, bytes(3_000), max_retransmits=0)
        pair.send(pair.right, i, bytes(20))
    pair.connect()
    for end in (pair.left, pair.right):
        end.association.reset_streams([1, 2], pair.now)
    pair.run(3)
    real = [p for p in pair.left.sent if len(p) < 2_000]
    for _ in range(1_500):
        raw = bytearray(random.choice(real))
        for _ in range(random.choice([1, 1, 2, 8])):
            at = random.randrange(12, len(raw))
            raw[at] = random.choice([0, 1, 255, random.randrange(256)])
        if random.random() < 0.2:
            del raw[random.randrange(12, len(raw)) :]
        tag = int.from_bytes(raw[4:8], "big")
        if random.random() < 0.02 and len(raw) > 12:
            raw[12] = random.choice(KINDS)
        prod(pair.right.association, packet(bytes(raw[12:]), tag), pair.now)
        receiver = pair.right.association._receiver
        assert receiver is not None
        assert receiver.held <= 300_000 + 262_144 + 70_000
        pair.now += 0.001


def limit(seconds: float, what: Callable[[], None]) -> None:
    """Allow a piece of work a generous time: the machine may be slow, an endless loop is slower."""
    begun = time.perf_counter()
    what()
    assert time.perf_counter() - begun < seconds


def test_a_thousand_absurd_sacks_take_no_time() -> None:
    pair = Pair(AssociationConfig(interleaving=False), None).connect()
    left = pair.left.association
    for _ in range(40):
        pair.send(pair.left, 1, bytes(65_536))
    pair.left.association._congestion.window = 4 << 20
    left._sender.peer_window = 4 << 20  # type: ignore[union-attr]  # connected
    now = pair.now
    for _ in range(400):
        now += 0.01
        written(left, now)
    first = left._lifecycle.handshake.initial_tsn
    random = Random(1)

    def absurd() -> None:
        for _ in range(1_000):
            starts = sorted(random.sample(range(2, 2_000, 2), 270))
            gaps = b"".join(start.to_bytes(2, "big") * 2 for start in starts)
            body = (
                ((first - 1) & 0xFFFFFFFF).to_bytes(4, "big") + bytes(4) + (270).to_bytes(2, "big") + bytes(2)
            )
            give(left, packet(chunk(3, 0, body + gaps), tag_of(left)), now)

    limit(20, absurd)


@pytest.mark.parametrize("interleaved", [True, False])
def test_fragments_in_the_worst_order_take_no_time(interleaved: bool) -> None:
    pair = Pair(None, AssociationConfig(interleaving=interleaved)).connect()
    right = pair.right.association
    first = pair.left.association._lifecycle.handshake.initial_tsn

    def backwards() -> None:
        for i in range(4_000, 0, -1):
            late = i_data(first + i, 1, 0, i, b"x", 0) if interleaved else data(first + i, 1, 0, b"x", 0)
            give(right, packet(late, tag_of(right)), pair.now)
            if i % 10 == 0:
                skip = chunk(194 if interleaved else 192, 0, ((first - 1) & 0xFFFFFFFF).to_bytes(4, "big"))
                give(right, packet(skip, tag_of(right)), pair.now)

    limit(10, backwards)


def test_a_flood_of_requests_gets_no_more_answers_than_fit() -> None:
    pair = Pair().connect()
    right = pair.right.association
    for _ in range(500):
        give(right, packet(chunk(4, 0, b"\0\1\0\x08beat"), tag_of(right)), pair.now)
        give(right, packet(chunk(130, 0, b"\0\x0e\0\x08\0\0\0\1"), tag_of(right)), pair.now)
    assert len(written(right, pair.now)) <= 64
