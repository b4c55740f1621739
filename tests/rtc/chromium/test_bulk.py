"""Much at once with Chromium, and with packets that get lost."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest
from aiortc import RTCDataChannel

from p2pshare.rtc.datapath import network
from tests.rtc.chromium.peer import ChromiumPeer, negotiate
from tests.rtc.datapath.peers import (
    PATIENCE_S,
    Inbox,
    LossyTransport,
    Pc,
    lose,
    opened,
    ours,
    send_all,
    transport_of,
)
from tests.support.needs import needs_command

pytestmark = [needs_command("chromium"), pytest.mark.asyncio(loop_scope="package")]

MIB = 1 << 20
MESSAGE = 65_536
LAST = b"the end"


async def receive_bulk(channel: RTCDataChannel, size: int) -> str:
    """Receive so many bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    left = size
    done = asyncio.Event()

    def received(message: bytes) -> None:
        nonlocal left
        digest.update(message)
        left -= len(message)
        if left <= 0:
            done.set()

    channel.on("message", received)
    await asyncio.wait_for(done.wait(), PATIENCE_S)
    channel.remove_listener("message", received)
    assert left == 0
    return digest.hexdigest()


async def send_bulk(channel: RTCDataChannel, size: int, seed: int = 1) -> str:
    """Send so many random bytes; returns their SHA-256."""
    bulk = random.Random(seed).randbytes(size)
    await send_all(channel, [bulk[at : at + MESSAGE] for at in range(0, size, MESSAGE)])
    return hashlib.sha256(bulk).hexdigest()


async def both(*ways: Any) -> list[str]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(way) for way in ways]
    return [task.result() for task in running]


async def test_64_mib_each_way_arrive_as_they_were(pc: Pc, peer: ChromiumPeer) -> None:
    channel = pc.createDataChannel("bulk", negotiated=True, id=0)
    await peer.create("bulk", negotiated=True, id=0)
    await negotiate(pc, peer, chromium_offers=True)
    await opened(channel)
    await peer.opened("bulk")
    sent, received = await both(send_bulk(channel, 64 * MIB), peer.receive_bulk("bulk", 64 * MIB))
    assert received == sent
    received, sent = await both(receive_bulk(channel, 64 * MIB), peer.send_bulk("bulk", 64 * MIB))
    assert received == sent
    association = transport_of(pc).stats().association
    assert association is not None
    assert set(association.dropped) <= {"duplicate"}, "Chromium may send twice what had arrived"


async def test_both_directions_at_once(pc: Pc, peer: ChromiumPeer) -> None:
    channels = [pc.createDataChannel(f"bulk {i}", negotiated=True, id=i) for i in range(2)]
    for i in range(2):
        await peer.create(f"bulk {i}", negotiated=True, id=i)
    await negotiate(pc, peer, chromium_offers=False)
    for i, channel in enumerate(channels):
        await opened(channel)
        await peer.opened(f"bulk {i}")
    out, out_there, back, back_there = await both(
        send_bulk(channels[0], 16 * MIB),
        peer.receive_bulk("bulk 0", 16 * MIB),
        receive_bulk(channels[1], 16 * MIB),
        peer.send_bulk("bulk 1", 16 * MIB),
    )
    assert out == out_there
    assert back == back_there


class LossyBothWays(LossyTransport):
    """Loses datagrams as they arrive, and trains as they leave."""

    def send_train(self, train: Any, segment: int, address: Any) -> bool:
        if self.dice.random() < self.loss:
            return True
        return super().send_train(train, segment, address)


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> type[LossyTransport]:
    """The class of our sockets, that lose nothing yet."""
    lose(monkeypatch, 0.0)
    monkeypatch.setattr(LossyBothWays, "loss", 0.0)
    monkeypatch.setattr(network, "OffloadTransport", LossyBothWays)
    return LossyBothWays


async def test_what_is_lost_on_the_way_is_sent_again(lossy: type[LossyTransport], peer: ChromiumPeer) -> None:
    pc = ours()
    channel = pc.createDataChannel("lossy", negotiated=True, id=0)
    await peer.create("lossy", negotiated=True, id=0)
    try:
        await negotiate(pc, peer, chromium_offers=False)
        await opened(channel)
        await peer.opened("lossy")
        lossy.loss = 0.02
        sent, received = await both(send_bulk(channel, 4 * MIB), peer.receive_bulk("lossy", 4 * MIB))
        assert received == sent
        received, sent = await both(receive_bulk(channel, 4 * MIB), peer.send_bulk("lossy", 4 * MIB))
        assert received == sent
    finally:
        await pc.close()


@pytest.mark.parametrize("limit", [{"maxRetransmits": 0}, {"maxPacketLifeTime": 1}])
async def test_a_channel_of_limited_reliability_delivers_whole_messages_or_none(
    lossy: type[LossyTransport], peer: ChromiumPeer, limit: dict[str, Any]
) -> None:
    pc = ours()
    channel = pc.createDataChannel("unsure", **limit)
    sure = pc.createDataChannel("sure")
    blocks: list[bytes | str] = [i.to_bytes(4, "big") * 5_000 for i in range(100)]
    try:
        await negotiate(pc, peer, chromium_offers=False)
        await opened(channel)
        await peer.opened("unsure")
        await peer.opened("sure")
        inbox, sure_inbox = Inbox(channel), Inbox(sure)
        lossy.loss = 0.05
        await send_all(channel, blocks, high_water=100_000)
        await peer.send("unsure", blocks)
        there: list[bytes | str] = []
        rounds = 0
        while LAST not in there or LAST not in inbox.messages:  # each of them may be lost, or too late
            channel.send(LAST)
            sure.send("and again")
            await peer.send("unsure", [LAST])
            await peer.send("sure", ["and again"])
            rounds += 1
            await peer.received("sure", rounds)
            await sure_inbox.has(rounds)
            there = await peer.received("unsure", 0)
        for received in (there, inbox.messages):
            arrived = [message for message in received if message != LAST]
            assert len(arrived) < len(blocks)
            assert [block for block in blocks if block in set(arrived)] == arrived
    finally:
        await pc.close()
