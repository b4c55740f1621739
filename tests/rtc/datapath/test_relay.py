"""Through a TURN server: no socket of the peer's own, one packet a call, the same channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import aiortc
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

from p2pshare.rtc.datapath import RTCPeerConnection, accelerate
from p2pshare.rtc.sctp import Drop
from tests.rtc.datapath.peers import Inbox, Pc, connected, messages, ours, send_all, transport_of
from tests.rtc.datapath.turn import TurnServer
from tests.support.coturn import coturn
from tests.support.needs import needs_command


def behind(make: type[Pc], server: RTCIceServer) -> Pc:
    """A connection that has no address but the server's."""
    return make(RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY))


def relayed(make: type[Pc], server: TurnServer) -> Pc:
    host, port = server.address
    return behind(make, RTCIceServer(f"turn:{host}:{port}", username="anybody", credential="anything"))


@pytest.mark.parametrize("make_right", [RTCPeerConnection, aiortc.RTCPeerConnection], ids=["ours", "stock"])
async def test_content_arrives_through_a_relay(make_right: type[Pc]) -> None:
    async with TurnServer() as server:
        left: Callable[[], Pc] = partial(relayed, RTCPeerConnection, server)
        right: Callable[[], Pc] = partial(relayed, make_right, server)
        async with connected(left, right) as (here, _, (channel,), incoming):
            planned = messages(20, 8)
            await send_all(channel, planned)
            assert await incoming.inboxes["one"].has(20) == planned
            assert transport_of(here).stats().is_relayed


async def test_a_relayed_call_is_taken_over() -> None:
    async with TurnServer() as server:
        make: Callable[[], Pc] = partial(relayed, aiortc.RTCPeerConnection, server)
        async with connected(make, make) as (here, there, (channel,), incoming):
            planned = messages(20, 8)
            await send_all(channel, planned[:10])
            assert accelerate(here)
            assert accelerate(there)
            await send_all(channel, planned[10:])
            assert await incoming.inboxes["one"].has(20) == planned
            assert transport_of(here).stats().is_relayed


@needs_command("turnserver")
@pytest.mark.parametrize("is_right_relayed", [False, True], ids=["one", "both"])
async def test_content_arrives_both_ways_through_coturn(is_right_relayed: bool) -> None:
    async with coturn() as server:
        left: Callable[[], Pc] = partial(behind, RTCPeerConnection, server.ice_server())
        right: Callable[[], Pc] = (
            partial(behind, RTCPeerConnection, server.ice_server()) if is_right_relayed else ours
        )
        async with connected(left, right) as (here, there, (channel,), incoming):
            assert "typ relay" in here.localDescription.sdp
            inbox = Inbox(channel)
            planned = messages(40, 8)
            await send_all(channel, planned)
            await send_all(incoming.channels["one"], planned)
            assert await incoming.inboxes["one"].has(40) == planned
            assert await inbox.has(40) == planned
            assert transport_of(here).stats().is_relayed
            assert transport_of(there).stats().is_relayed == is_right_relayed
            for pc in (here, there):  # large packets too are read whole
                association = transport_of(pc).stats().association
                assert association is not None
                assert Drop.CHECKSUM not in association.dropped


@needs_command("turnserver")
async def test_with_credentials_that_have_expired_nothing_is_gathered_and_nothing_said() -> None:
    async with coturn() as server:  # so who relies on a relay has to look whether there is one
        pc = behind(RTCPeerConnection, server.ice_server(valid_for_s=-10))
        pc.createDataChannel("x")
        await pc.setLocalDescription(await pc.createOffer())
        assert "candidate:" not in pc.localDescription.sdp
        await pc.close()
