"""A live stock connection becomes ours in the middle of a transfer, and nobody notices."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from aioice.ice import StunProtocol
from aiortc import RTCSctpTransport

from p2pshare.rtc.datapath import SctpTransport, accelerate, takeover
from tests.rtc.datapath.peers import (
    Inbox,
    Incoming,
    LossyTransport,
    Pc,
    apart,
    closed,
    connected,
    lose,
    messages,
    negotiate,
    opened,
    ours,
    send_all,
    stock,
    transport_of,
)

SIDES = pytest.mark.parametrize(
    "sides", [(0,), (1,), (0, 1), (1, 0)], ids=["left", "right", "both", "both, right first"]
)


async def transfer(pcs: tuple[Pc, Pc], sides: tuple[int, ...], count: int, after: int) -> None:
    """Send on two channels and back, and take over when so many messages have arrived."""
    left, right = pcs
    incoming = Incoming(right)
    ordered = left.createDataChannel("ordered")
    unordered = left.createDataChannel("unordered", ordered=False)
    back = Inbox(ordered)
    await negotiate(left, right)
    await opened(ordered)
    await opened(unordered)
    reverse = await incoming.channel("ordered")
    await incoming.channel("unordered")
    plans = [(ordered, messages(count, 11)), (unordered, messages(count, 12)), (reverse, messages(count, 13))]
    async with asyncio.TaskGroup() as tasks:
        for channel, planned in plans:
            tasks.create_task(send_all(channel, planned))
        for turn, side in enumerate(sides, start=1):
            await incoming.inboxes["ordered"].has(after * turn)
            assert accelerate(pcs[side])
            assert isinstance(pcs[side].sctp, SctpTransport)
    assert await incoming.inboxes["ordered"].has(count) == plans[0][1]
    assert sorted(map(repr, await incoming.inboxes["unordered"].has(count))) == sorted(map(repr, plans[1][1]))
    assert await back.has(count) == plans[2][1]
    later = left.createDataChannel("later")
    await opened(later)
    later.send("more")
    await incoming.channel("later")
    assert await incoming.inboxes["later"].has(1) == ["more"]
    reverse.close()
    await closed(ordered)
    await closed(reverse)
    assert unordered.bufferedAmount == later.bufferedAmount == 0
    assert left.connectionState == right.connectionState == "connected"


@SIDES
@pytest.mark.parametrize("after", [1, 8])
async def test_a_transfer_under_way_goes_on(sides: tuple[int, ...], after: int) -> None:
    async with apart(stock, stock) as pcs:
        await transfer(pcs, sides, 40, after)


@SIDES
async def test_a_transfer_with_losses_goes_on(
    sides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(9)
    received: Callable[..., None] = StunProtocol.datagram_received

    def lossy(protocol: StunProtocol, data: bytes, addr: Any) -> None:
        if data[0] < 4 or dice.random() > 0.03:
            received(protocol, data, addr)

    monkeypatch.setattr(StunProtocol, "datagram_received", lossy)
    async with apart(stock, stock) as pcs:
        await transfer(pcs, sides, 15, 3)


async def test_an_idle_connection_is_taken_over_with_its_listeners() -> None:
    async with connected(stock, stock) as (left, right, (channel,), incoming):
        sctp = left.sctp
        inbox = Inbox(channel)
        for turn, pc in enumerate((left, right, left, right)):
            assert accelerate(pc)
            channel.send(f"to {turn}")
            incoming.channels["one"].send(f"back {turn}")
            await incoming.inboxes["one"].has(turn + 1)
            await inbox.has(turn + 1)
        assert left.sctp is sctp
        assert channel.transport is sctp
        assert incoming.inboxes["one"].messages == [f"to {turn}" for turn in range(4)]
        assert inbox.messages == [f"back {turn}" for turn in range(4)]
        from_right = right.createDataChannel("from right")
        seen: asyncio.Queue[Any] = asyncio.Queue()
        left.on("datachannel", seen.put_nowait)
        await opened(from_right)
        assert (await asyncio.wait_for(seen.get(), 10)).label == "from right"
        assert transport_of(left).maxChannels == 65_535
        await left.close()
        assert channel.readyState == "closed"


async def test_a_channel_that_is_closing_finishes_after_the_takeover() -> None:
    async with connected(stock, stock, "one", "two") as (left, _, (one, two), incoming):
        blocks = [bytes((i,)) * 60_000 for i in range(30)]
        for block in blocks:
            one.send(block)
        one.close()
        assert accelerate(left)
        await closed(incoming.channels["one"])
        await closed(one)
        assert incoming.inboxes["one"].messages == blocks
        two.send("on")
        assert await incoming.inboxes["two"].has(1) == ["on"]


async def test_a_channel_that_was_just_made_opens_after_the_takeover() -> None:
    async with connected(stock, stock) as (left, _, _, incoming):
        fresh = left.createDataChannel("fresh")
        assert accelerate(left)
        await opened(fresh)
        fresh.send("hello")
        await incoming.channel("fresh")
        assert await incoming.inboxes["fresh"].has(1) == ["hello"]


@pytest.mark.parametrize(
    "moment", ["before the first channel", "before offering", "after offering", "connecting"]
)
async def test_a_connection_can_be_accelerated_at_any_moment(moment: str) -> None:
    async with apart(stock, stock) as (left, right):
        incoming = Incoming(right)
        if moment == "before the first channel":
            assert accelerate(left)
        channel = left.createDataChannel("x")
        if moment == "before offering":
            assert accelerate(left)
        await left.setLocalDescription(await left.createOffer())
        if moment == "after offering":
            assert accelerate(left)
        await right.setRemoteDescription(left.localDescription)
        await right.setLocalDescription(await right.createAnswer())
        await left.setRemoteDescription(right.localDescription)
        if moment == "connecting":
            assert left.sctp is not None
            dtls = left.sctp.transport
            has_started = asyncio.Event()
            dtls.on("statechange", lambda: has_started.set() if dtls.state == "connected" else None)
            await asyncio.wait_for(has_started.wait(), 10)
            assert left.sctp.state == "connecting"
            assert accelerate(left)
        await opened(channel)
        channel.send("hello")
        await incoming.channel("x")
        assert await incoming.inboxes["x"].has(1) == ["hello"]
        assert isinstance(left.sctp, SctpTransport)
        assert accelerate(left)


async def test_a_closed_connection_is_not_accelerated() -> None:
    pc = stock()
    pc.createDataChannel("x")
    await pc.close()
    assert not accelerate(pc)
    assert type(pc.sctp) is RTCSctpTransport
    async with connected(stock, stock) as (left, _, _, _):
        assert left.sctp is not None
        await left.sctp.stop()
        assert not accelerate(left)


@pytest.mark.parametrize("listener", ["message", "bufferedamountlow"])
async def test_a_listener_may_take_the_connection_over(listener: str) -> None:
    async with connected(stock, stock) as (left, right, (channel,), incoming):
        there = incoming.channels["one"]
        back = Inbox(channel)
        planned = messages(40, 21)

        def take_over(*_: Any) -> None:
            assert accelerate(right if listener == "message" else left)

        (there if listener == "message" else channel).on(listener, take_over)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_all(channel, planned, high_water=200_000))
            tasks.create_task(send_all(there, planned))
        assert await incoming.inboxes["one"].has(40) == planned
        assert await back.has(40) == planned
        assert isinstance((right if listener == "message" else left).sctp, SctpTransport)


async def test_messages_that_stock_has_given_up_stay_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lose(monkeypatch, 0.0)
    async with connected(stock, ours, "lossy", maxRetransmits=0) as (left, _, (channel,), incoming):
        sctp = left.sctp
        assert sctp is not None
        has_given_up = asyncio.Event()

        def update() -> None:
            RTCSctpTransport._update_advanced_peer_ack_point(sctp)
            if takeover._skipped(sctp):
                has_given_up.set()

        vars(sctp)["_update_advanced_peer_ack_point"] = update
        monkeypatch.setattr(LossyTransport, "loss", 0.1)
        blocks = [i.to_bytes(4, "big") * 3_000 for i in range(60)]
        for block in blocks:
            channel.send(block)
        await asyncio.wait_for(has_given_up.wait(), 20)
        assert accelerate(left)
        monkeypatch.setattr(LossyTransport, "loss", 0.0)
        inbox = incoming.inboxes["lossy"]
        last = [bytes((i,)) * 100 for i in range(10)]
        for message in last:
            channel.send(message)
        while last[-1] not in inbox.messages:
            await inbox.has(len(inbox.messages) + 1)
        assert inbox.messages == [each for each in (*blocks, *last) if each in inbox.messages]
        assert len(inbox.messages) < 70
        assert channel.bufferedAmount == 0
