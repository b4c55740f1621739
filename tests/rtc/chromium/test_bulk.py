"""Much at once with Chromium, and with packets that get lost."""

from __future__ import annotations

from typing import Any

import pytest

from p2pshare.rtc.datapath import network
from tests.rtc.chromium.bulk import MIB, both, exchange_bulk, receive_bulk, send_bulk
from tests.rtc.chromium.peer import ChromiumPeer, meet, negotiate
from tests.rtc.datapath.peers import (
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

LAST = b"the end"


async def test_32_mib_each_way_arrive_as_they_were(pc: Pc, peer: ChromiumPeer) -> None:
    [channel] = await meet(pc, peer, "bulk", chromium_offers=True)
    sent, received = await both(send_bulk(channel, 32 * MIB), peer.receive_bulk("bulk", 32 * MIB))
    assert received == sent
    received, sent = await both(receive_bulk(channel, 32 * MIB), peer.send_bulk("bulk", 32 * MIB))
    assert received == sent
    association = transport_of(pc).stats().association
    assert association is not None
    assert set(association.dropped) <= {"duplicate"}, "Chromium may send twice what had arrived"


async def test_both_directions_at_once(pc: Pc, peer: ChromiumPeer) -> None:
    out, back = await meet(pc, peer, "out", "back", chromium_offers=False)
    await exchange_bulk(out, back, peer, 16 * MIB)


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
    try:
        [channel] = await meet(pc, peer, "lossy", chromium_offers=False)
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
