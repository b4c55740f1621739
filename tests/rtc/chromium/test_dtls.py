"""The version of DTLS that Chromium and we agree on: the newest that OpenSSL has, with the batches on it."""

from __future__ import annotations

import pytest

from p2pshare.rtc.datapath import seams
from tests.rtc.chromium.bulk import MIB, exchange_bulk
from tests.rtc.chromium.peer import ChromiumPeer, meet
from tests.rtc.datapath.peers import Pc, newest_dtls, transport_of
from tests.support.needs import needs_command

pytestmark = [needs_command("chromium"), pytest.mark.asyncio(loop_scope="package")]


async def test_data_goes_over_the_newest_dtls_there_is(
    pc: Pc, peer: ChromiumPeer, chromium_offers: bool
) -> None:
    out, back = await meet(pc, peer, "out", "back", chromium_offers=chromium_offers)
    version = seams.ssl_connection(transport_of(pc).transport).get_protocol_version()
    assert version == newest_dtls()
    assert (await peer.stats())["transport"]["tlsVersion"] == f"{version:04X}"
    await exchange_bulk(out, back, peer, MIB)
