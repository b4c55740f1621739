"""A server's life: where it listens, how it ends, and what it takes from a connection before it is one."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from signaling.client import SignalingClient
from signaling.errors import CannotListen
from signaling.hub import Hub
from signaling.limits import Limits
from signaling.messages import PeerJoined
from signaling.names import peer_id_of
from signaling.server import SignalingServer
from tests.signaling.raw import raw_bytes, raw_client, raw_clients, running

pytestmark = pytest.mark.usefixtures("nothing_goes_wrong_unseen")


async def test_port_0_chooses_a_free_port() -> None:
    async with running() as server:
        assert server.port > 0
        assert server.url == f"ws://127.0.0.1:{server.port}/ws"
        async with raw_client(server.url) as client:
            await client.enter("alice")


async def test_without_a_host_it_is_reached_by_ipv4_and_ipv6() -> None:
    async with SignalingServer(port=0) as server:
        for host in ("127.0.0.1", "[::1]"):
            async with raw_client(f"ws://{host}:{server.port}/ws") as client:
                await client.enter("alice", room=host.strip("[]"))
        assert f"ws://127.0.0.1:{server.port}/ws" in server.urls


async def test_on_ipv6_alone_no_ipv4_url_is_named() -> None:
    async with SignalingServer("::", 0) as server:
        assert server.urls[-1] == f"ws://[::1]:{server.port}/ws"
        for url in server.urls:
            async with raw_client(url) as client:
                await client.enter("alice", room=url)


async def test_a_port_in_use_cannot_be_listened_on() -> None:
    async with running() as first:
        second = SignalingServer("127.0.0.1", first.port)
        with pytest.raises(CannotListen) as caught:
            await second.start()
        assert str(caught.value) == (f"cannot listen on 127.0.0.1 port {first.port}: Address already in use")
        await second.close()
    async with second:  # Free again: nothing was left half open.
        assert second.port == first.port


async def test_a_server_starts_once() -> None:
    server = SignalingServer("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    async with server:
        with pytest.raises(RuntimeError, match="once"):
            await server.start()
    with pytest.raises(RuntimeError, match="once"):
        await server.start()


@pytest.mark.parametrize("options", [{"routes": [web.get("no slash", Hub().health)]}, {"tls": True}])
async def test_a_start_that_fails_leaves_no_socket_open(options: dict[str, Any]) -> None:
    server = SignalingServer("127.0.0.1", 0, **options)
    with pytest.raises((TypeError, ValueError)):
        await server.start()
    assert server.urls == []
    await server.close()  # That no socket is left, pytest sees: it would warn.


async def test_close_says_goodbye_to_everybody_and_frees_the_port() -> None:
    server = SignalingServer("127.0.0.1", 0)
    await server.start()
    async with raw_clients(server.url, 3) as clients:
        await clients[0].enter("alice")
        await clients[1].enter("bob")
        async with asyncio.TaskGroup() as tasks:
            codes = [tasks.create_task(client.closed()) for client in clients]
            tasks.create_task(server.close())
        assert [code.result() for code in codes] == [aiohttp.WSCloseCode.GOING_AWAY] * 3
    assert server.urls == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    await server.close()


async def test_close_delivers_what_is_queued() -> None:
    server = SignalingServer("127.0.0.1", 0)
    await server.start()
    async with raw_clients(server.url, 2) as (alice, bob):
        a, b = await alice.enter("alice"), await bob.enter("bob")
        for number in range(20):
            await alice.signal(b.peer_id, number=number)
        await alice.signal(a.peer_id, marker=True)
        assert await alice.receive() == PeerJoined(b.peer_id, "bob")
        assert await alice.receive_signal() == {"marker": True}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.close())
            assert [await bob.receive_signal() for _ in range(20)] == [{"number": n} for n in range(20)]
            tasks.create_task(alice.closed())
            tasks.create_task(bob.closed())


async def test_close_does_not_wait_for_who_neither_reads_nor_answers() -> None:
    server = SignalingServer(
        "127.0.0.1", 0, limits=Limits(close_timeout_s=0.1, messages_per_s=1e6, bytes_per_s=1e9)
    )
    await server.start()
    secret = "5" * 32
    async with (
        raw_client(server.url) as alice,
        raw_bytes(server.port, is_deaf=True) as deaf,
        raw_bytes(server.port) as mute,
        raw_bytes(server.port),
    ):
        await alice.enter("alice")
        await mute.upgrade()
        await deaf.upgrade()
        deaf.join("deaf", resume={"peer_id": peer_id_of(secret), "secret": secret})
        assert isinstance(await alice.receive(), PeerJoined)
        for _ in range(20):
            await alice.signal(peer_id_of(secret), x="x" * 16_000)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(alice.closed())
            tasks.create_task(mute.ended())
            async with asyncio.timeout(60):
                await server.close()


async def test_close_may_be_called_twice_at_once() -> None:
    async with running() as server, raw_client(server.url) as client:
        await client.enter("alice")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(server.close())
            tasks.create_task(client.closed())


async def test_a_hub_that_closes_takes_no_more_connections() -> None:
    async with running() as server, raw_client(server.url) as client:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.hub.close())
            assert await client.closed() == aiohttp.WSCloseCode.GOING_AWAY
        async with raw_bytes(server.port) as late:
            assert (await late.upgrade()).startswith(b"HTTP/1.1 503 ")


async def test_a_connection_that_asks_nothing_is_closed() -> None:
    async with (
        running(Limits(handshake_timeout_s=0.05)) as server,
        raw_bytes(server.port) as silent,
        raw_bytes(server.port) as slow,
    ):
        slow.writer.write(b"GET /ws HTTP/1.1\r\nHost: ")
        await silent.ended()
        await slow.ended()


async def test_a_tls_handshake_that_does_not_come_is_not_waited_for(server_tls: ssl.SSLContext) -> None:
    limits = Limits(handshake_timeout_s=0.05)
    async with running(limits, tls=server_tls) as server, raw_bytes(server.port) as silent:
        await silent.ended()


async def test_requests_that_are_not_http_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running() as server:
        for garbage in (b"\x16\x03\x01", b"GET /\x1b[31m HTTP/1.1", b"GET / HTTP/1.1\r\nContent-Length: x"):
            async with raw_bytes(server.port) as client:
                client.writer.write(garbage + b"\r\n\r\n")
                assert (await client.reader.read(12)).endswith(b" 400")
    assert [record for record in caplog.records if not record.getMessage().startswith("= ")] == []


async def test_it_serves_more_than_signaling() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async with (
        running(routes=[web.get("/", page)]) as server,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{server.port}/") as response,
    ):
        assert await response.text() == "hello"


async def test_a_hub_serves_in_an_application_of_its_owner() -> None:
    hub = Hub()
    app = web.Application()
    app.add_routes(hub.routes())

    async def close(_: web.Application) -> None:
        await hub.close()

    app.on_shutdown.append(close)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with raw_client(f"ws://{host}:{port}/ws") as client:
        await client.enter("alice")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.cleanup())
            assert await client.closed() == aiohttp.WSCloseCode.GOING_AWAY


async def test_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with running(tls=server_tls) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}/ws"
        alice = SignalingClient(server.url, room="lobby", name="alice", tls=client_tls)
        async with alice, raw_client(server.url, ssl=client_tls) as bob:
            joined = await bob.enter("bob")
            await bob.signal(joined.peers[0].peer_id, hello=1)
            async with aiohttp.ClientSession() as http:
                url = f"https://127.0.0.1:{server.port}/health"
                async with http.get(url, ssl=client_tls) as response:
                    assert (await response.json())["connections"] == 2


async def test_who_reads_nothing_over_tls_is_cut_off_at_the_end(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = SignalingServer("127.0.0.1", 0, limits=Limits(close_timeout_s=0.1), tls=server_tls)
    await server.start()
    async with raw_client(server.url, ssl=client_tls) as client:
        await client.enter("alice")
        async with asyncio.timeout(60):
            await server.close()
