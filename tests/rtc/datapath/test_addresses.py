"""Where only loopback is up, or only IPv6: the same path, with the packets that it takes."""

from __future__ import annotations

import aioice.ice
import pytest

from p2pshare.rtc.datapath import accelerate
from tests.rtc.datapath.peers import (
    Inbox,
    connected,
    messages,
    opened,
    ours,
    send_all,
    stock,
    transport_of,
)


@pytest.mark.parametrize("takes_over", [False, True], ids=["from the start", "taken over"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_content_arrives_over_a_single_address(
    address: str, takes_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: [address])
    make = stock if takes_over else ours
    async with connected(make, make) as (left, right, (channel,), incoming):
        if takes_over:
            assert accelerate(left)
            assert accelerate(right)
        there = incoming.channels["one"]
        planned, back = messages(40, 3), Inbox(channel)
        await send_all(channel, planned)
        await send_all(there, planned)
        assert await incoming.inboxes["one"].has(40) == planned
        assert await back.has(40) == planned
        for pc in (left, right):
            chosen = transport_of(pc)._wire.network.chosen()
            assert chosen is not None
            assert chosen.get_extra_info("sockname")[0] == address
            assert not any(transport_of(pc).stats().dropped.values())
        await opened(left.createDataChannel("later"))
        await incoming.channel("later")
