"""A program's own call with Chromium: taken over in the middle, with audio and video beside the data."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest
from aiortc import RTCDataChannel

from p2pshare import accelerate
from tests.rtc.chromium.bulk import MESSAGE, MIB, both, exchange_bulk, receive_bulk
from tests.rtc.chromium.peer import ChromiumPeer, negotiate
from tests.rtc.datapath.peers import Incoming, Pc, closed, opened, ours, stock, transport_of
from tests.support.media import MediaCounter, PictureTrack, ToneTrack
from tests.support.needs import needs_command

pytestmark = [needs_command("chromium"), pytest.mark.asyncio(loop_scope="package")]


async def channels_of(pc: Pc, peer: ChromiumPeer, *, chromium_offers: bool) -> list[RTCDataChannel]:
    """One that we open, one that Chromium opens."""
    incoming = Incoming(pc)
    out = pc.createDataChannel("out")
    await peer.create("back")
    await negotiate(pc, peer, chromium_offers=chromium_offers)
    await opened(out)
    await peer.opened("out")
    await peer.opened("back")
    return [out, await incoming.channel("back")]


async def test_a_call_is_taken_over_while_both_sides_send(peer: ChromiumPeer, chromium_offers: bool) -> None:
    pc = stock()
    try:
        out, back = await channels_of(pc, peer, chromium_offers=chromium_offers)
        bulk = random.Random(2).randbytes(4 * MIB)
        arrived = 0
        was_buffered: list[int] = []

        def message_received(_: object) -> None:
            nonlocal arrived
            arrived += 1
            if arrived == 4:
                for at in range(0, len(bulk), MESSAGE):
                    out.send(bulk[at : at + MESSAGE])

        def take_over() -> None:
            was_buffered.append(out.bufferedAmount)
            assert accelerate(pc)

        # Half of it has left: not at a message that may come when all has, on a slow machine.
        out.bufferedAmountLowThreshold = len(bulk) // 2
        out.once("bufferedamountlow", lambda: asyncio.get_running_loop().call_soon(take_over))

        back.on("message", message_received)
        received, sent, out_there = await both(
            receive_bulk(back, 4 * MIB), peer.send_bulk("back", 4 * MIB), peer.receive_bulk("out", 4 * MIB)
        )
        assert received == sent
        assert out_there == hashlib.sha256(bulk).hexdigest()
        assert 0 < was_buffered[0] < len(bulk)
        assert transport_of(pc).stats().association is not None
        await exchange_bulk(out, back, peer, 4 * MIB)
        out.close()
        await peer.close("back")
        for channel in (out, back):
            await closed(channel)
            await peer.closed(channel.label)
        again = pc.createDataChannel("again")
        await opened(again)
        assert again.id == out.id
        again.send("through")
        assert await peer.received("again", 1) == ["through"]
    finally:
        await pc.close()


@pytest.mark.parametrize(
    ("chromium_offers", "takes_over"),
    [(False, False), (True, True)],
    ids=["from the start", "taken over, chromium offers"],
)
async def test_audio_and_video_go_on_both_ways_beside_data(
    peer: ChromiumPeer, chromium_offers: bool, takes_over: bool
) -> None:
    pc = stock() if takes_over else ours()
    counter = MediaCounter(pc)
    pc.addTrack(ToneTrack())
    pc.addTrack(PictureTrack())
    await peer.call()
    try:
        out, back = await channels_of(pc, peer, chromium_offers=chromium_offers)
        assert pc.sctp is not None
        assert {sender.transport for sender in pc.getSenders()} == {pc.sctp.transport}
        await counter.more(1)
        await peer.shows(1)
        if takes_over:
            assert accelerate(pc)
        is_enough = False

        async def transfer() -> None:
            while not is_enough:
                await exchange_bulk(out, back, peer, MIB)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(transfer())
            await counter.more(20)
            await peer.shows(20)
            is_enough = True
        assert pc.connectionState == await peer.connection_state("connected")
        assert not any(transport_of(pc).stats().dropped.values())
    finally:
        await pc.close()
