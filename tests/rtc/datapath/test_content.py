"""What is sent is what arrives: every combination of peers, both directions, with loss, without offload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from aiortc import RTCDataChannel

from p2pshare.rtc.datapath import offload, seams
from p2pshare.rtc.datapath.offload import NO_OFFLOAD
from tests.rtc.datapath.peers import (
    PEERS,
    Inbox,
    Incoming,
    Make,
    Pc,
    apart,
    connected,
    lose,
    messages,
    negotiate,
    opened,
    ours,
    send_all,
    transport_of,
)


async def exchange(make_left: Make, make_right: Make, count: int) -> tuple[Pc, Pc]:
    """An ordered and an unordered channel and the reverse direction, at once, compared by content."""
    async with apart(make_left, make_right) as (left, right):
        incoming = Incoming(right)
        ordered = left.createDataChannel("ordered")
        unordered = left.createDataChannel("unordered", ordered=False)
        back = Inbox(ordered)
        await negotiate(left, right)
        await opened(ordered)
        await opened(unordered)
        reverse = await incoming.channel("ordered")
        await incoming.channel("unordered")
        plans = [
            (ordered, messages(count, 1)),
            (unordered, messages(count, 2)),
            (reverse, messages(count, 3)),
        ]
        async with asyncio.TaskGroup() as tasks:
            for channel, planned in plans:
                tasks.create_task(send_all(channel, planned))
        assert await incoming.inboxes["ordered"].has(count) == plans[0][1]
        arrived = await incoming.inboxes["unordered"].has(count)
        assert sorted(map(repr, arrived)) == sorted(map(repr, plans[1][1]))
        assert await back.has(count) == plans[2][1]
        for channel in (ordered, unordered, reverse):
            await drained(channel)
    return left, right


async def drained(channel: RTCDataChannel) -> None:
    """Wait until nothing is buffered."""
    low = asyncio.Event()
    channel.bufferedAmountLowThreshold = 0
    channel.on("bufferedamountlow", low.set)
    if channel.bufferedAmount:
        await asyncio.wait_for(low.wait(), 10)
    assert channel.bufferedAmount == 0


@PEERS
async def test_content_arrives_as_it_was_sent(make_left: Make, make_right: Make) -> None:
    await exchange(make_left, make_right, 60)


@pytest.mark.parametrize("loss", [0.02, 0.1])
@PEERS
async def test_content_arrives_through_loss(
    make_left: Callable[[], Pc],
    make_right: Callable[[], Pc],
    loss: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose(monkeypatch, loss)
    await exchange(make_left, make_right, 30 if make_left is make_right else 8)


async def test_content_arrives_without_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "probe", lambda: NO_OFFLOAD)
    await exchange(ours, ours, 30)


async def test_content_arrives_by_the_methods_of_pyopenssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "has_lib", lambda: False)
    await exchange(ours, ours, 30)


async def test_content_arrives_where_only_the_offerer_has_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = iter([offload.probe(), *[NO_OFFLOAD] * 50])
    monkeypatch.setattr(offload, "probe", partial(next, offers))
    await exchange(ours, ours, 30)


async def test_a_bulk_transfer_moves_in_trains() -> None:
    if not offload.probe().segments:
        pytest.skip("only on linux")
    async with connected() as (left, right, (channel,), incoming):
        block = bytes(65_536)
        await send_all(channel, [block] * 200)
        await incoming.inboxes["one"].has(200)
        sent = transport_of(left).stats()
        assert sent.segments
        assert sent.association is not None
        assert sent.association.bytes_sent > 15_000 * sent.socket["sends"]
        assert transport_of(right).stats().merges
