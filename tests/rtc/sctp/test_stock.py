"""Against aiortc's own implementation, as it is installed: what goes over the wire must suit others, too."""

from __future__ import annotations

import pytest

from p2pshare.rtc.sctp import AssociationConfig, Established, StreamsReset
from tests.rtc.sctp.stock import StockPair


def was_reset(pair: StockPair, stream_id: int, *, incoming: bool) -> bool:
    return any(
        isinstance(e, StreamsReset) and stream_id in e.stream_ids and e.incoming is incoming
        for e in pair.events
    )


SIZES = (1, 2, 1_000, 1_149, 1_150, 16_384, 65_536, 262_144)


@pytest.mark.parametrize("both_connect", [True, False])
async def test_the_handshake_works_with_one_or_both_connecting(both_connect: bool) -> None:
    pair = StockPair(AssociationConfig())
    async with pair.running(both_connect=both_connect):
        await pair.until(lambda: pair.stock.state == "connected")
        await pair.until(lambda: any(isinstance(e, Established) for e in pair.events))
        established = next(e for e in pair.events if isinstance(e, Established))
        assert not established.interleaving


@pytest.mark.parametrize("loss", [0.0, 0.03])
async def test_messages_of_all_sizes_go_both_ways(loss: float) -> None:
    pair = StockPair(AssociationConfig(), loss=loss)
    channel = pair.channel(1)
    received: list[object] = []
    channel.on("message", received.append)
    sent = [bytes([i]) * size for i, size in enumerate(SIZES)]
    async with pair.running():
        await pair.until(lambda: channel.readyState == "open")
        for payload in sent:
            pair.send(1, payload)
            channel.send(payload)
        channel.send("")
        channel.send("text")
        await pair.until(lambda: len(received) == len(sent))
        await pair.until(lambda: len(pair.messages) == len(sent) + 2)
    assert received == sent
    assert pair.messages == [(1, 53, payload) for payload in sent] + [(1, 56, b"\0"), (1, 51, b"text")]


async def test_channels_close_in_both_directions_and_their_ids_serve_again() -> None:
    pair = StockPair(AssociationConfig())
    first, second = pair.channel(1), pair.channel(2)
    received: list[object] = []
    async with pair.running():
        await pair.until(lambda: first.readyState == "open")
        for i in range(20):
            pair.send(1, bytes(5_000 + i))
            second.send(bytes(5_000 + i))
        pair.reset(1)
        second.close()
        await pair.until(lambda: was_reset(pair, 1, incoming=False))
        await pair.until(lambda: was_reset(pair, 2, incoming=True))
        pair.reset(2)
        await pair.until(lambda: second.readyState == "closed")
        await pair.until(lambda: first.readyState == "closed")
        assert len([m for m in pair.messages if m[0] == 2]) == 20
        await pair.until(lambda: was_reset(pair, 1, incoming=True))
        again = pair.channel(1)
        again.on("message", received.append)
        pair.send(1, b"anew")
        again.send(b"back")
        await pair.until(lambda: received == [b"anew"])
        await pair.until(lambda: pair.messages[-1] == (1, 53, b"back"))


async def test_abandoned_messages_are_skipped_by_the_stock_end() -> None:
    # One fragment each: behind a part of an abandoned message aiortc 1.16 loses the next one of its stream.
    pair = StockPair(AssociationConfig(), loss=0.1, seed=3)
    channel = pair.channel(1)
    received: list[object] = []
    channel.on("message", received.append)
    async with pair.running():
        await pair.until(lambda: channel.readyState == "open")
        for i in range(100):
            pair.send(1, b"%03d" % i * 300, max_retransmits=0)
        pair.send(1, b"last")
        await pair.until(lambda: bool(received) and received[-1] == b"last")
    assert 40 < len(received) < 101
    assert received == sorted(received, key=lambda p: (p == b"last", p))
