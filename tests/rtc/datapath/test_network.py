"""ICE agents over sockets that were taken from asyncio: checks, consent and data go on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aioice.ice
import pytest
from aioice import Connection

from p2pshare.rtc.datapath import network, seams
from p2pshare.rtc.datapath.network import Network
from p2pshare.rtc.datapath.udp import OffloadTransport
from tests.rtc.datapath.agents import record
from tests.rtc.datapath.peers import connected, messages, ours, send_all, transport_of
from tests.support.needs import only_on


class Watchless(OffloadTransport):
    """As on a loop that cannot watch sockets."""

    def __init__(self, *_: Any) -> None:
        raise NotImplementedError


@asynccontextmanager
async def agents() -> AsyncIterator[tuple[Connection, Connection]]:
    """Two agents that are connected, their sockets taken before the first check."""
    left, right = Connection(ice_controlling=True), Connection(ice_controlling=False)
    for here, there in ((left, right), (right, left)):
        await here.gather_candidates()
        here.remote_username, here.remote_password = there.local_username, there.local_password
    for here, there in ((left, right), (right, left)):
        for candidate in there.local_candidates:
            await here.add_remote_candidate(candidate)
        await here.add_remote_candidate(None)
        Network(here).take_sockets()
    await asyncio.gather(left.connect(), right.connect())
    try:
        yield left, right
    finally:
        await left.close()
        await right.close()


async def test_agents_check_connect_and_talk_over_taken_sockets() -> None:
    async with agents() as (left, right):
        for here, there in ((left, right), (right, left)):
            assert all(isinstance(each.transport, OffloadTransport) for each in seams.protocols(here))
            await here.send(record(100))
            assert await asyncio.wait_for(there.recv(), 10) == record(100)


async def test_consent_goes_on_over_taken_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.02)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 1)
    checks = 0
    sent = aioice.ice.StunProtocol.send_stun
    enough = asyncio.Event()

    def count(*arguments: Any) -> None:
        nonlocal checks
        checks += 1
        if checks > 40:
            enough.set()
        sent(*arguments)

    async with agents() as (left, _):
        monkeypatch.setattr(aioice.ice.StunProtocol, "send_stun", count)
        await asyncio.wait_for(enough.wait(), 10)
        assert seams.nominated(left) is not None


@only_on("linux")
async def test_taking_a_socket_twice_takes_it_once_and_closing_frees_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    agent = Connection(ice_controlling=True)
    await agent.gather_candidates()
    taken = Network(agent)
    taken.take_sockets()
    transports = [each.transport for each in seams.protocols(agent)]
    taken.take_sockets()
    assert [each.transport for each in seams.protocols(agent)] == transports
    assert taken.chosen() is None
    assert taken.send(memoryview(record(100)), 100)  # to nobody yet
    await agent.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_relayed_pair_or_a_loop_without_sockets_carries_one_packet_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "OffloadTransport", Watchless)
    async with connected() as (left, right, (channel,), incoming):
        planned = messages(30, 4)
        await send_all(channel, planned)
        assert await incoming.inboxes["one"].has(30) == planned
        assert transport_of(left).stats().is_relayed
        assert transport_of(left).stats().socket == {}
        pair = seams.nominated(seams.ice_connection(transport_of(right).transport))
        assert pair is not None
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with stranger:  # the guard stands there too
            for datagram in (b"", record(100), b"\0\1"):
                stranger.sendto(datagram, pair.local_addr)
        await send_all(channel, planned)
        assert await incoming.inboxes["one"].has(60) == planned * 2
        assert transport_of(right).stats().dropped["strange"] == 1
        assert right.connectionState == "connected"


async def test_a_failure_of_ours_costs_a_record_and_not_the_transport_of_somebody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(network, "OffloadTransport", Watchless)
    async with connected() as (_, right, (channel,), incoming):
        below = transport_of(right)._wire.network
        has_failed = asyncio.Event()

        def fail(*_: Any) -> None:
            has_failed.set()
            raise RuntimeError("ours")

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(below, "_on_records", fail)
            channel.send("sent again")
            await asyncio.wait_for(has_failed.wait(), 10)
        assert await incoming.inboxes["one"].has(1) == ["sent again"]
        assert "could not be handled" in caplog.text


async def test_sockets_are_taken_when_candidates_have_been_gathered() -> None:
    pc = ours()
    pc.createDataChannel("x")
    await pc.setLocalDescription(await pc.createOffer())
    agent = seams.ice_connection(transport_of(pc).transport)
    assert seams.protocols(agent)
    assert all(isinstance(each.transport, OffloadTransport) for each in seams.protocols(agent))
    await pc.close()
