"""Channels with Chromium: from either side, however they are made, whatever goes through them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from aiortc import RTCDataChannel

from tests.rtc.chromium.peer import ChromiumPeer, meet, negotiate
from tests.rtc.datapath.peers import PATIENCE_S, Inbox, Incoming, Pc, closed, opened, transport_of
from tests.support.needs import needs_command

pytestmark = [needs_command("chromium"), pytest.mark.asyncio(loop_scope="package")]

KIB = 1_024
SIZES = (0, 1, 2, 1_103, 1_104, KIB, 1_160, 16 * KIB, 64 * KIB, 64 * KIB + 1, 256 * KIB)
LIMITS = pytest.mark.parametrize(
    "limit",
    [{}, {"ordered": False}, {"maxRetransmits": 2}, {"ordered": False, "maxPacketLifeTime": 5_000}],
    ids=["reliable", "unordered", "retransmits", "lifetime"],
)


def some_messages(*sizes: int) -> list[bytes | str]:
    """Bytes and a text of each size, and then some that are shorter in characters than in bytes."""
    dice = random.Random(3)
    made: list[bytes | str] = []
    for size in sizes:
        made += [dice.randbytes(size), "x" * size]
    return [*made, "é" * 700, "\N{GRINNING FACE}", "\0"]


async def test_they_meet_whoever_offers(
    pc: Pc, peer: ChromiumPeer, incoming: Incoming, chromium_offers: bool
) -> None:
    options: dict[str, Any] = {"ordered": False, "maxRetransmits": 3, "protocol": "wörter"}
    here = pc.createDataChannel("unseres", **options)
    await peer.create("ihres", **options)
    await negotiate(pc, peer, chromium_offers=chromium_offers)
    await opened(here)
    await peer.opened("unseres")
    await peer.opened("ihres")
    theirs = await incoming.channel("ihres")
    assert (theirs.protocol, theirs.ordered, theirs.maxRetransmits) == ("wörter", False, 3)
    for label, channel in (("unseres", here), ("ihres", theirs)):
        about = await peer.about(label)
        assert about == {**options, "id": channel.id, "maxPacketLifeTime": None, "negotiated": False}
    assert await peer.connection_state("connected") == pc.connectionState


@LIMITS
async def test_messages_arrive_as_they_were_both_ways(
    pc: Pc, peer: ChromiumPeer, chromium_offers: bool, limit: dict[str, Any]
) -> None:
    here = pc.createDataChannel("both ways", **limit)
    inbox = Inbox(here)
    await peer.create("in the offer")
    await negotiate(pc, peer, chromium_offers=chromium_offers)
    await opened(here)
    sent = some_messages(*SIZES)
    for message in sent:
        here.send(message)
    received = await peer.received("both ways", len(sent))
    await peer.send("both ways", sent)
    returned = await inbox.has(len(sent))
    if limit.get("ordered", True):
        assert received == sent
        assert returned == sent
    else:
        assert sorted(received, key=repr) == sorted(sent, key=repr)
        assert sorted(returned, key=repr) == sorted(sent, key=repr)


async def test_neither_side_sends_more_than_the_other_takes(
    pc: Pc, peer: ChromiumPeer, chromium_offers: bool
) -> None:
    [here] = await meet(pc, peer, "limits", chromium_offers=chromium_offers)
    with pytest.raises(ValueError, match="262144"):
        here.send(bytes(256 * KIB + 1))
    limit = transport_of(pc).getCapabilities().maxMessageSize
    assert await peer.refuses("limits", limit + 1) == "TypeError"
    inbox = Inbox(here)
    await peer.send("limits", [bytes(limit)])
    assert await inbox.has(1) == [bytes(limit)]
    here.send(bytes(256 * KIB))
    assert await peer.received("limits", 1) == [bytes(256 * KIB)]


async def test_twenty_channels_of_each_side_and_of_both_do_not_mix(
    pc: Pc, peer: ChromiumPeer, incoming: Incoming, chromium_offers: bool
) -> None:
    ours = {f"ours {i}": pc.createDataChannel(f"ours {i}") for i in range(20)}
    agreed = {
        f"agreed {i}": pc.createDataChannel(f"agreed {i}", negotiated=True, id=100 + i) for i in range(20)
    }
    for i in range(20):
        await peer.create(f"theirs {i}")
        await peer.create(f"agreed {i}", negotiated=True, id=100 + i)
    await negotiate(pc, peer, chromium_offers=chromium_offers)
    channels: dict[str, RTCDataChannel] = ours | agreed
    for i in range(20):
        channels[f"theirs {i}"] = await incoming.channel(f"theirs {i}")
    inboxes = {label: Inbox(channel) for label, channel in channels.items()}
    for label, channel in channels.items():
        await opened(channel)
        await peer.opened(label)
        channel.send(f"to {label}")
        await peer.send(label, [f"from {label}"])
    for label, inbox in inboxes.items():
        assert await inbox.has(1) == [f"from {label}"]
        assert await peer.received(label, 1) == [f"to {label}"]
    assert len({channel.id for channel in channels.values()}) == 60


async def test_what_is_buffered_falls_to_nothing_at_both_ends(pc: Pc, peer: ChromiumPeer) -> None:
    here = pc.createDataChannel("buffer")
    await negotiate(pc, peer, chromium_offers=False)
    await opened(here)
    empty = asyncio.Event()
    here.on("bufferedamountlow", empty.set)
    for _ in range(64):
        here.send(bytes(64 * KIB))
    assert here.bufferedAmount == 64 * 64 * KIB
    await asyncio.wait_for(empty.wait(), PATIENCE_S)
    assert here.bufferedAmount == 0
    inbox = Inbox(here)
    await peer.send("buffer", [bytes(32 * KIB)] * 64)
    await peer.drained("buffer")
    await inbox.has(64)
    assert len(await peer.received("buffer", 64)) == 64


@pytest.mark.parametrize("closer", ["we close", "chromium closes"])
async def test_closing_a_channel_sends_first_what_it_has_and_its_id_is_used_again(
    pc: Pc, peer: ChromiumPeer, chromium_offers: bool, closer: str
) -> None:
    keeper = pc.createDataChannel("keeper")
    await peer.create("in the offer")
    await negotiate(pc, peer, chromium_offers=chromium_offers)
    await opened(keeper)
    blocks: list[bytes | str] = [bytes((i,)) * 50_000 for i in range(40)]
    used: list[int | None] = []
    for turn in range(3):
        label = f"turn {turn}"
        here = pc.createDataChannel(label)
        inbox = Inbox(here)
        await opened(here)
        await peer.opened(label)
        used.append(here.id)
        if closer == "we close":
            for block in blocks:
                here.send(block)
            here.close()
        else:
            await peer.send(label, blocks)
            await peer.close(label)
        await closed(here)
        await peer.closed(label)
        assert (await peer.received(label, 0) if closer == "we close" else inbox.messages) == blocks
    assert len(set(used)) == 1
    assert keeper.readyState == "open"
    assert pc.connectionState == "connected"


async def test_both_sides_close_while_both_send(pc: Pc, peer: ChromiumPeer) -> None:
    here = pc.createDataChannel("one")
    await negotiate(pc, peer, chromium_offers=False)
    await opened(here)
    await peer.opened("one")
    for _ in range(40):
        here.send(bytes(50_000))
    await peer.send("one", [bytes(50_000)] * 40)
    here.close()
    await peer.close("one")
    await closed(here)
    await peer.closed("one")
    again = pc.createDataChannel("again")
    await opened(again)
    assert again.id == here.id
    again.send("through")
    assert await peer.received("again", 1) == ["through"]
