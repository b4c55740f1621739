"""Through a TURN server: no socket of the peer's own, one packet a call, the same channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import aiortc
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

from p2pshare.rtc.datapath import RTCPeerConnection, accelerate
from tests.rtc.datapath.peers import Pc, connected, messages, send_all, transport_of
from tests.rtc.datapath.turn import TurnServer


def relayed(make: type[Pc], server: TurnServer) -> Pc:
    host, port = server.address
    return make(
        RTCConfiguration(
            iceServers=[RTCIceServer(f"turn:{host}:{port}", username="anybody", credential="anything")],
            iceTransportPolicy=RTCIceTransportPolicy.RELAY,
        )
    )


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
