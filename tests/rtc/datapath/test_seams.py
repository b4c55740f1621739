"""Private names of aiortc, aioice and pyOpenSSL: each test fails when a new version changes one."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import aiortc
import aiortc.rtcpeerconnection
import pytest
from aioice import Candidate, Connection
from aioice.ice import StunProtocol
from aiortc import RTCDataChannel, RTCSctpTransport
from OpenSSL import SSL

from p2pshare.rtc.datapath import RTCPeerConnection, SctpTransport, accelerate, seams, takeover
from tests.rtc.datapath.peers import connected, ours, stock


def test_the_installed_versions_are_tested_ones() -> None:
    assert seams.untested_version() is None


async def test_with_other_versions_stock_serves_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(seams, "TESTED", {})
    with caplog.at_level("INFO", logger="p2pshare"):
        pc = RTCPeerConnection()
    pc.createDataChannel("x")
    assert type(pc.sctp) is RTCSctpTransport
    (line,) = caplog.messages
    assert line == "data channels are aiortc's own: not tested with aiortc 1.16.0"
    assert not accelerate(pc)
    await pc.close()
    async with connected() as (left, right, (channel,), incoming):
        assert type(left.sctp) is type(right.sctp) is RTCSctpTransport
        channel.send("by stock")
        assert await incoming.inboxes["one"].has(1) == ["by stock"]


def test_pyopenssl_has_the_functions_and_pointers() -> None:
    assert seams.has_lib()
    ssl, into, out = seams.pointers(SSL.Connection(SSL.Context(SSL.DTLS_METHOD)))
    assert seams.lib.SSL_get_error(ssl, 1) == 0
    assert seams.lib.BIO_write(into, b"abc", 3) == 3
    buffer = seams.ffi.new("char[]", 3)
    assert seams.lib.BIO_read(out, buffer, 3) <= 0


async def test_aiortcs_dtls_transport_has_what_we_touch() -> None:
    async with connected(stock, stock) as (left, _, _, _):
        assert left.sctp is not None
        dtls = left.sctp.transport
        assert isinstance(seams.ssl_connection(dtls), SSL.Connection)
        assert seams.is_connected(dtls)
        assert seams.is_dtls_server(dtls) == (dtls._role == "server")
        before = next(iter(dtls._get_stats().values()))
        seams.count_received(dtls, 100, 2)
        seams.count_sent(dtls, 50, 1)
        after = next(iter(dtls._get_stats().values()))
        assert after.bytesReceived - before.bytesReceived == 100
        assert after.packetsReceived - before.packetsReceived == 2
        assert after.bytesSent - before.bytesSent == 50
        assert after.packetsSent - before.packetsSent == 1
        assert dtls._data_receiver is left.sctp
        seams.unregister_receiver(dtls, left.sctp)
        assert dtls._data_receiver is None
        seams.register_receiver(dtls, left.sctp)
        seams.register_receiver(dtls, left.sctp)
        assert dtls._data_receiver is left.sctp


async def test_aioices_agent_has_what_we_touch() -> None:
    async with connected(stock, stock) as (left, _, _, _):
        assert left.sctp is not None
        connection = seams.ice_connection(left.sctp.transport)
        assert isinstance(connection, Connection)
        pair = seams.nominated(connection)
        assert pair is not None
        assert isinstance(pair.protocol, StunProtocol)
        assert pair.protocol in seams.protocols(connection)
        assert pair.remote_addr in set(seams.known_addresses(connection))
        assert isinstance(seams.received(connection), asyncio.Queue)
        age = seams.known_addresses_age(connection)
        connection._remote_candidates.append(Candidate("9", 1, "udp", 1, "192.0.2.9", 9, "host"))
        assert seams.known_addresses_age(connection) != age
        assert ("192.0.2.9", 9) in set(seams.known_addresses(connection))


async def test_the_peer_connection_looks_its_transports_class_up_where_we_replace_it() -> None:
    source = inspect.getsource(aiortc.rtcpeerconnection)
    assert source.count("self.__sctp = RTCSctpTransport(dtlsTransport)") == 1
    pc = ours()
    pc.createDataChannel("x")
    assert type(pc.sctp) is SctpTransport
    module: Any = aiortc.rtcpeerconnection
    assert module.RTCSctpTransport is RTCSctpTransport
    await pc.close()


def test_a_data_channel_calls_its_transport_as_we_expect() -> None:
    for name in (
        "_data_channel_open",
        "_data_channel_add_negotiated",
        "_data_channel_send",
        "_data_channel_close",
    ):
        assert f"transport.{name}(self" in inspect.getsource(RTCDataChannel)
        assert callable(getattr(RTCSctpTransport, name))
    for name in ("_addBufferedAmount", "_setId", "_setReadyState"):
        assert callable(getattr(RTCDataChannel, name))


async def test_a_stock_transport_has_all_that_a_takeover_reads() -> None:
    async with connected(stock, stock) as (left, _, _, _):
        for name in takeover.STOCK_NAMES:
            assert hasattr(left.sctp, name), name
