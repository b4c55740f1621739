"""The end of a connection, from either side: states, tasks, descriptors."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress

import pytest
from aiortc import InvalidStateError, RTCConfiguration

from p2pshare.rtc.datapath import RTCPeerConnection
from tests.rtc.datapath.peers import (
    Incoming,
    Pc,
    apart,
    closed,
    connected,
    lose,
    negotiate,
    opened,
    ours,
    send_all,
    stock,
    transport_of,
)
from tests.support.needs import only_on


async def until_closed(pc: Pc) -> None:
    done = asyncio.Event()
    pc.on("connectionstatechange", lambda: done.set() if pc.connectionState == "closed" else None)
    if pc.connectionState != "closed":
        await asyncio.wait_for(done.wait(), 10)


@pytest.mark.parametrize("make", [ours, stock])
async def test_the_peer_hears_of_the_close_at_once(make: object) -> None:
    make_right = ours if make is ours else stock
    async with connected(ours, make_right) as (left, right, (channel,), incoming):
        there = incoming.channels["one"]
        gone = asyncio.Event()
        there.on("close", gone.set)
        await left.close()
        assert channel.readyState == "closed"
        assert transport_of(left).state == "closed"
        await asyncio.wait_for(gone.wait(), 10)
        await until_closed(right)


async def test_a_stock_peer_that_closes_is_heard() -> None:
    async with connected(ours, stock) as (left, right, (channel,), _):
        gone = asyncio.Event()
        channel.on("close", gone.set)
        await right.close()
        await asyncio.wait_for(gone.wait(), 10)
        await until_closed(left)


async def test_closing_in_the_middle_of_a_transfer_leaves_nothing_running() -> None:
    async with connected() as (left, right, (channel,), incoming):
        for _ in range(100):
            channel.send(bytes(65_536))
        await incoming.inboxes["one"].has(3)
        await right.close()
        await left.close()
        await left.close()
        assert channel.readyState == "closed"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@only_on("linux")
async def test_closing_leaves_no_descriptor_open() -> None:
    async with connected():
        pass
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with connected() as (_, _, (channel,), incoming):
            channel.send(b"x")
            await incoming.inboxes["one"].has(1)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_connection_that_was_never_made_closes() -> None:
    pc = ours()
    pc.createDataChannel("x")
    await pc.setLocalDescription(await pc.createOffer())
    await pc.close()
    assert transport_of(pc).state == "closed"


async def test_a_closed_transport_closes_channels_that_are_made_on_it() -> None:
    async with connected() as (left, _, _, _):
        await transport_of(left).stop()
        channel = left.createDataChannel("late")
        gone = asyncio.Event()
        channel.on("close", gone.set)
        await asyncio.wait_for(gone.wait(), 10)


async def test_a_connection_comes_up_while_a_quarter_of_packets_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose(monkeypatch, 0.25)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(_comes_up(tries=4))


async def _comes_up(tries: int) -> None:
    """DTLS waits 1, 2, 4, 8 s before it sends a flight again: where it is out of luck, begin anew."""
    for _ in range(tries):
        async with apart() as (left, right):
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await _says_hello(left, right)
                return
    pytest.fail("not connected")


async def _says_hello(left: Pc, right: Pc) -> None:
    incoming = Incoming(right)
    channel = left.createDataChannel("hello")
    await negotiate(left, right)
    await opened(channel)
    await send_all(channel, ["hello"] * 10)
    await incoming.channel("hello")
    assert await incoming.inboxes["hello"].has(10) == ["hello"] * 10


async def test_the_class_is_a_drop_in_for_the_stock_one() -> None:
    pc = RTCPeerConnection()
    assert pc.sctp is None
    pc.createDataChannel("x")
    transport = transport_of(pc)
    assert (transport.port, transport.state, transport.maxChannels) == (5000, "new", None)
    assert transport.getCapabilities().maxMessageSize == 262_144
    assert transport.transport.state == "new"
    await pc.close()
    async with connected(lambda: RTCPeerConnection(RTCConfiguration(iceServers=[]))) as (left, _, _, _):
        assert transport_of(left).state == "connected"
        assert transport_of(left).maxChannels == 65_535


async def test_a_peer_that_shuts_its_association_down_closes_the_channels() -> None:
    async with connected() as (left, right, (channel,), incoming):
        there = incoming.channels["one"]
        gone = [asyncio.Event(), asyncio.Event()]
        channel.on("close", gone[0].set)
        there.on("close", gone[1].set)
        for _ in range(10):
            channel.send(bytes(60_000))
        association = transport_of(left)._association
        assert association is not None
        association.shutdown(asyncio.get_running_loop().time())
        with pytest.raises(InvalidStateError):
            channel.send("too late")
        assert channel.bufferedAmount == 600_000
        for event in gone:
            await asyncio.wait_for(event.wait(), 10)
        assert len(incoming.inboxes["one"].messages) == 10
        assert transport_of(left).state == transport_of(right).state == "closed"
        assert left.connectionState == right.connectionState == "connected"


async def test_channels_close_with_their_dtls_transport() -> None:
    async with connected() as (left, right, (channel,), incoming):
        gone = asyncio.Event()
        incoming.channels["one"].on("close", gone.set)
        await transport_of(left).transport.stop()
        await closed(channel)
        await asyncio.wait_for(gone.wait(), 10)
        assert right.connectionState in ("connected", "closed")
