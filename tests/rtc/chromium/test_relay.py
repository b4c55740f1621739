"""With Chromium through a TURN server: either side, or both, has no other address."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCIceTransportPolicy
from playwright.async_api import Browser

from p2pshare.rtc import RTCPeerConnection
from tests.rtc.chromium.bulk import MIB, exchange_bulk
from tests.rtc.chromium.peer import meet, new_peer
from tests.rtc.datapath.peers import transport_of
from tests.support.coturn import TurnServer, coturn
from tests.support.needs import needs_command

pytestmark = [needs_command("chromium", "turnserver"), pytest.mark.asyncio(loop_scope="package")]


@pytest_asyncio.fixture(loop_scope="package")
async def server() -> AsyncIterator[TurnServer]:
    async with coturn() as server:
        yield server


@pytest.mark.parametrize(
    ("here", "there"), [(True, False), (False, True), (True, True)], ids=["ours", "chromium's", "both"]
)
async def test_data_goes_both_ways_through_a_relay(
    server: TurnServer, browser: Browser, here: bool, there: bool
) -> None:
    turn = server.ice_server()
    pc = RTCPeerConnection(
        RTCConfiguration(
            iceServers=[turn] if here else [],
            iceTransportPolicy=RTCIceTransportPolicy.RELAY if here else RTCIceTransportPolicy.ALL,
        )
    )
    configuration: dict[str, object] = {}
    if there:
        servers = [{"urls": turn.urls, "username": turn.username, "credential": turn.credential}]
        configuration = {"iceServers": servers, "iceTransportPolicy": "relay"}
    async with new_peer(browser, **configuration) as peer:
        try:
            out, back = await meet(pc, peer, "out", "back", chromium_offers=there)
            await exchange_bulk(out, back, peer, MIB)
            assert transport_of(pc).stats().is_relayed == here
            for description, is_relayed in ((pc.localDescription, here), (pc.remoteDescription, there)):
                candidates = [line for line in description.sdp.splitlines() if "candidate:" in line]
                assert candidates
                assert {"typ relay" in line for line in candidates} == {is_relayed}
        finally:
            await pc.close()
