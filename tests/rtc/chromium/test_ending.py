"""How a connection with Chromium ends, and who notices."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import playwright.async_api
import pytest

from tests.rtc.chromium.peer import ChromiumPeer, meet, negotiate
from tests.rtc.datapath.peers import PATIENCE_S, Pc, closed, opened, transport_of
from tests.support.needs import needs_command

pytestmark = [needs_command("chromium"), pytest.mark.asyncio(loop_scope="package")]


async def test_the_page_notices_that_we_close(pc: Pc, peer: ChromiumPeer, chromium_offers: bool) -> None:
    [channel] = await meet(pc, peer, "one", chromium_offers=chromium_offers)
    channel.send(bytes(200_000))
    await pc.close()
    await peer.closed("one")
    await peer.transport_closed()


async def test_we_notice_that_the_page_closes_the_connection(
    pc: Pc, peer: ChromiumPeer, chromium_offers: bool
) -> None:
    [channel] = await meet(pc, peer, "one", chromium_offers=chromium_offers)
    await peer.page.evaluate("peer.pc.close()")
    await closed(channel)
    assert transport_of(pc).state == "closed"


@pytest.mark.parametrize("end", ["closed", "crashed"])
async def test_we_notice_that_the_page_is_gone(pc: Pc, peer: ChromiumPeer, end: str) -> None:
    channel = pc.createDataChannel("one")
    await negotiate(pc, peer, chromium_offers=False)
    await opened(channel)
    await peer.opened("one")
    sctp = transport_of(pc)
    noticed = asyncio.Event()
    sctp.on("livenesschange", noticed.set)
    channel.on("close", noticed.set)
    if end == "closed":
        await peer.page.close()
    else:
        with suppress(playwright.async_api.Error):
            await peer.page.goto("chrome://crash")
    await asyncio.wait_for(noticed.wait(), PATIENCE_S)
    assert (sctp.liveness, channel.readyState) != ("connected", "open")
