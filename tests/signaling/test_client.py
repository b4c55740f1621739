"""A client against real servers: ours, others, none, and ours behind a connection that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from aiohttp import web

from signaling.client import (
    ClientOptions,
    Closed,
    Disconnected,
    Event,
    Joined,
    PeerJoined,
    PeerLeft,
    Reconnected,
    SignalingClient,
    SignalReceived,
)
from signaling.errors import (
    BadMessage,
    ErrorCode,
    InvalidArgument,
    MessageTooLarge,
    NameTaken,
    NotAllowed,
    NotConnected,
    PeerGone,
    RefusedError,
    Replaced,
    RoomFull,
    ServerFull,
    SignalingError,
    Unreachable,
)
from signaling.limits import Limits
from signaling.messages import Refused, encode
from signaling.names import peer_id_of
from signaling.server import SignalingServer
from tests.signaling.forwarder import forwarder
from tests.signaling.raw import raw_client, running

pytestmark = pytest.mark.usefixtures("nothing_goes_wrong_unseen")

FAST = ClientOptions(backoff_first_s=0.01, backoff_cap_s=0.1)
E_ = TypeVar("E_", bound=Event)


def client_of(url: str, name: str, room: str = "lobby", options: ClientOptions = FAST) -> SignalingClient:
    return SignalingClient(url, room=room, name=name, options=options)


async def next_of(client: SignalingClient, kind: type[E_]) -> E_:
    """The next event, which has to be of this kind."""
    event = await anext(client)
    assert isinstance(event, kind), event
    return event


async def rest_of(client: SignalingClient) -> list[Event]:
    return [event async for event in client.events()]


def my_id(client: SignalingClient) -> str:
    assert client.peer_id is not None
    return client.peer_id


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that is none of ours; the URL of its WebSocket."""
    app = web.Application()
    app.router.add_get("/ws", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
    finally:
        await runner.cleanup()


def saying(*texts: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer a join with these messages and close."""

    async def speak(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive_str()
        for text in texts:
            await socket.send_str(text)
        await socket.close()
        return socket

    return speak


def joined_text(name: str = "alice") -> str:
    secret = "5" * 32
    return (
        f'{{"type": "joined", "peer_id": "{peer_id_of(secret)}", "secret": "{secret}", "name": "{name}", '
        '"peers": [], "resumed": false, "max_payload": 16384}'
    )


# --- In the room ---


async def test_connect_returns_who_is_there_and_events_say_who_comes_and_goes() -> None:
    async with running() as server, client_of(server.url, "alice") as alice:
        bob = client_of(server.url, "bob")
        joined = await bob.connect()
        assert joined == Joined(my_id(bob), "bob", {my_id(alice): "alice"})
        assert await next_of(alice, PeerJoined) == PeerJoined(my_id(bob), "bob")
        assert alice.peers == {my_id(bob): "bob"}
        assert alice.is_connected
        await bob.close()
        assert await next_of(alice, PeerLeft) == PeerLeft(my_id(bob), "bob", "left")
        assert alice.peers == {}
        assert await rest_of(bob) == [Closed(None)]


async def test_signals_arrive_in_order() -> None:
    async with (
        running() as server,
        client_of(server.url, "alice") as alice,
        client_of(server.url, "bob") as bob,
    ):
        for number in range(50):
            await bob.send(my_id(alice), {"number": number})
        await next_of(alice, PeerJoined)
        assert [await next_of(alice, SignalReceived) for _ in range(50)] == [
            SignalReceived(my_id(bob), {"number": number}) for number in range(50)
        ]


async def test_a_decomposed_name_is_composed() -> None:
    async with running() as server, client_of(server.url, "Zoe\u0308") as zoe:
        assert zoe.name == "Zo\u00eb"


async def test_http_urls_and_bare_addresses_reach_the_server() -> None:
    async with running() as server:
        for address in (f"127.0.0.1:{server.port}", f"http://127.0.0.1:{server.port}"):
            async with client_of(address, "alice", room=address):
                pass


# --- Sending ---


async def test_a_signal_to_nobody_raises() -> None:
    async with running() as server, client_of(server.url, "alice") as alice:
        with pytest.raises(PeerGone, match="not in the room"):
            await alice.send("0" * 20, {})


async def test_a_signal_to_a_peer_that_has_just_gone_is_lost_without_harm() -> None:
    async with running() as server, client_of(server.url, "alice") as alice:
        async with client_of(server.url, "bob") as bob:
            await next_of(alice, PeerJoined)
            await bob.close()
            # Alice has not heard of it yet: nothing has come in since.
            await alice.send(my_id(bob), {"late": True})
        await next_of(alice, PeerLeft)
        with pytest.raises(PeerGone):
            await alice.send(my_id(bob), {})
        async with client_of(server.url, "carol") as carol:
            await next_of(alice, PeerJoined)
            await alice.send(my_id(carol), {"still": "here"})
            await next_of(carol, SignalReceived)


async def test_a_payload_must_fit_and_be_json() -> None:
    async with (
        running(Limits(max_payload=1000)) as server,
        client_of(server.url, "alice") as alice,
        client_of(server.url, "bob") as bob,
    ):
        await next_of(alice, PeerJoined)
        with pytest.raises(MessageTooLarge, match="the limit is 1,000"):
            await alice.send(my_id(bob), {"x": "x" * 1000})
        with pytest.raises(BadMessage):
            await alice.send(my_id(bob), {"x": object()})
        await alice.send(my_id(bob), {"x": "x" * (1000 - len('{"x":""}'))})
        await next_of(bob, SignalReceived)


# --- Errors ---


async def test_no_server_is_an_error_that_says_so() -> None:
    async with running() as server:
        url = server.url
    client = client_of(url, "alice")
    with pytest.raises(Unreachable) as caught:
        await client.connect()
    assert str(caught.value) == (
        f"no signaling server answers at {url} (Connection refused); is it running, and is the address right?"
    )
    assert client.peer_id is None
    await client.close()


async def test_a_client_may_try_again_after_an_error() -> None:
    async with running() as server, client_of(server.url, "alice"):
        second = client_of(server.url, "alice")
        for _ in range(2):
            with pytest.raises(NameTaken, match="the name 'alice' is taken in room 'lobby'"):
                await second.connect()


async def test_a_client_connects_once() -> None:
    async with running() as server:
        client = client_of(server.url, "alice")
        async with client:
            with pytest.raises(RuntimeError, match="once"):
                await client.connect()
        with pytest.raises(RuntimeError, match="once"):
            await client.connect()


async def test_a_full_room_is_an_error() -> None:
    async with running(Limits(max_peers=1)) as server, client_of(server.url, "alice"):
        with pytest.raises(RoomFull, match="room 'lobby' is full"):
            await client_of(server.url, "bob").connect()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, Unreachable),
        (301, Unreachable),
        (403, NotAllowed),
        (404, Unreachable),
        (429, ServerFull),
        (500, Unreachable),
        (503, ServerFull),
    ],
)
async def test_an_http_server_that_is_none_of_signaling_is_an_error(
    status: int, error: type[SignalingError]
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "/ws"})

    async with serving(answer) as url:
        sentence = {301: "elsewhere without end", 429: "too many"}.get(status, str(status))
        with pytest.raises(error, match=sentence):
            await client_of(url, "alice").connect()


async def test_a_tcp_server_that_says_nothing_is_an_error() -> None:
    async with running() as server, forwarder(server.port) as between:
        between.hold()
        client = client_of(between.url, "alice", options=ClientOptions(connect_timeout_s=0.1))
        with pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            await client.connect()


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ("nonsense", BadMessage, "not JSON"),
        ('{"type": "peer_joined", "peer_id": "%s", "name": "x"}' % ("0" * 20), BadMessage, "before Joined"),
        ('{"type": "joined"}', BadMessage, "peer_id: is missing"),
        ('{"type": "news"}', Unreachable, "the connection was closed, code 1000"),
        (encode(Refused("sleepy", "come \x1b[31m back")), RefusedError, r"come \\u\{1b\}\[31m back"),
        (encode(Refused(ErrorCode.REPLACED, "")), Replaced, "took over"),
    ],
)
async def test_a_server_that_says_something_else_is_an_error(
    answer: str, error: type[SignalingError], sentence: str
) -> None:
    async with serving(saying(answer)) as url:
        with pytest.raises(error, match=sentence):
            await client_of(url, "alice").connect()


async def test_a_certificate_that_is_not_trusted_is_named(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with running(tls=server_tls) as server:
        with pytest.raises(Unreachable, match="certificate is not trusted: self-signed certificate"):
            await client_of(server.url, "alice").connect()
        client_tls.check_hostname = True
        other = server.url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(Unreachable, match=r"certificate is not trusted|refused"):
            await SignalingClient(other, room="lobby", name="alice", tls=client_tls).connect()


async def test_tls_with_a_server_that_has_none_is_named() -> None:
    async with running() as server:
        with pytest.raises(Unreachable, match="TLS failed: "):
            await client_of(server.url.replace("ws:", "wss:"), "alice").connect()


@pytest.mark.parametrize(
    ("room", "name", "sentence"),
    [
        ("lobby", "", "the name '' must have 1 to 64 characters, has 0"),
        ("lobby", "a\x1b", r"the name 'a\u{1b}' holds a character that cannot be seen"),
        (" lobby", "alice", "the room ' lobby' begins or ends with a space"),
    ],
)
def test_names_are_checked_before_anything_happens(room: str, name: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        SignalingClient("localhost", room=room, name=name)
    assert str(caught.value) == sentence


# --- Lost connections ---


async def test_a_cut_connection_is_restored_and_the_others_notice_nothing() -> None:
    async with (
        running(Limits(grace_s=3600)) as server,
        forwarder(server.port) as between,
        client_of(server.url, "alice") as alice,
        client_of(between.url, "bob") as bob,
    ):
        bob_id = my_id(bob)
        await next_of(alice, PeerJoined)
        between.cut()
        await next_of(bob, Disconnected)
        assert await next_of(bob, Reconnected) == Reconnected(bob_id, {my_id(alice): "alice"})
        assert my_id(bob) == bob_id
        await alice.send(bob_id, {"number": 1})
        assert await next_of(bob, SignalReceived) == SignalReceived(my_id(alice), {"number": 1})
        await bob.send(my_id(alice), {"number": 2})
        assert await next_of(alice, SignalReceived) == SignalReceived(bob_id, {"number": 2})


async def test_signals_while_away_arrive_afterwards() -> None:
    async with (
        running(Limits(grace_s=3600)) as server,
        forwarder(server.port) as between,
        client_of(server.url, "alice") as alice,
        client_of(between.url, "bob") as bob,
    ):
        await next_of(alice, PeerJoined)
        between.is_refusing = True
        between.cut()
        await next_of(bob, Disconnected)
        assert not bob.is_connected
        sending = asyncio.create_task(bob.send(my_id(alice), {"number": 0}))
        for number in range(3):
            await alice.send(my_id(bob), {"number": number})
        between.is_refusing = False
        await next_of(bob, Reconnected)
        assert [(await next_of(bob, SignalReceived)).payload for _ in range(3)] == [
            {"number": number} for number in range(3)
        ]
        await sending
        assert (await next_of(alice, SignalReceived)).payload == {"number": 0}


async def test_who_came_and_went_meanwhile_is_reported() -> None:
    async with (
        running(Limits(grace_s=3600)) as server,
        forwarder(server.port) as between,
        client_of(between.url, "bob") as bob,
    ):
        alice = client_of(server.url, "alice")
        await alice.connect()
        await next_of(bob, PeerJoined)
        between.is_refusing = True
        between.cut()
        await next_of(bob, Disconnected)
        await alice.close()
        async with client_of(server.url, "carol") as carol:
            between.is_refusing = False
            await next_of(bob, Reconnected)
            assert await next_of(bob, PeerLeft) == PeerLeft(my_id(alice), "alice", "connection lost")
            assert await next_of(bob, PeerJoined) == PeerJoined(my_id(carol), "carol")


async def test_a_server_that_restarts_is_found_again_under_the_same_ids() -> None:
    first = SignalingServer("127.0.0.1", 0)
    await first.start()
    async with client_of(first.url, "alice") as alice, client_of(first.url, "bob") as bob:
        ids = my_id(alice), my_id(bob)
        await next_of(alice, PeerJoined)
        await first.close()
        for client in (alice, bob):
            assert await next_of(client, Disconnected) == Disconnected("the server is shutting down")
        async with SignalingServer("127.0.0.1", first.port):
            for client in (alice, bob):
                await next_of(client, Reconnected)
            assert (my_id(alice), my_id(bob)) == ids
            # Nobody was reported as left or joined: what comes next is the signal.
            await alice.send(my_id(bob), {"still": "you"})
            assert await next_of(bob, SignalReceived) == SignalReceived(my_id(alice), {"still": "you"})


async def test_peers_that_do_not_come_back_to_a_restarted_server_are_given_up() -> None:
    first = SignalingServer("127.0.0.1", 0)
    await first.start()
    options = ClientOptions(backoff_first_s=0.01, backoff_cap_s=0.1, settle_s=0.1)
    async with client_of(first.url, "alice", options=options) as alice:
        bob = client_of(first.url, "bob", options=ClientOptions(backoff_first_s=3600))
        await bob.connect()
        await next_of(alice, PeerJoined)
        await first.close()
        await next_of(alice, Disconnected)
        async with SignalingServer("127.0.0.1", first.port):
            await next_of(alice, Reconnected)
            assert await next_of(alice, PeerLeft) == PeerLeft(my_id(bob), "bob", "connection lost")
            await bob.close()


async def test_a_connection_that_went_silent_is_replaced() -> None:
    async with running(Limits(grace_s=3600)) as server, forwarder(server.port) as between:
        options = ClientOptions(heartbeat_s=0.1, connect_timeout_s=0.5, backoff_first_s=0.01)
        async with client_of(between.url, "bob", options=options) as bob:
            between.hold()
            assert "PONG" in (await next_of(bob, Disconnected)).reason


async def test_a_name_that_was_taken_meanwhile_ends_the_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="signaling")
    async with (
        running(Limits(grace_s=3600)) as server,
        forwarder(server.port) as between,
        client_of(between.url, "bob") as bob,
    ):
        between.is_refusing = True
        between.cut()
        await next_of(bob, Disconnected)
        thief = client_of(server.url, "bob")
        while thief.peer_id is None:  # Until the server, too, has noticed.
            with contextlib.suppress(NameTaken):
                await thief.connect()
        between.is_refusing = False
        closed = await next_of(bob, Closed)
        assert isinstance(closed.error, NameTaken)
        with pytest.raises(NotConnected, match="closed"):
            await bob.send(my_id(thief), {})
        assert await rest_of(bob) == []
        await thief.close()
        assert "lobby" in str(closed.error)  # Who knows the room can come in: a log must not know it.
        assert "lobby" not in caplog.text


async def test_who_is_replaced_does_not_fight_for_its_place() -> None:
    async with running() as server, client_of(server.url, "bob") as bob:
        assert bob._resume is not None
        proof = {"peer_id": bob._resume.peer_id, "secret": bob._resume.secret}
        async with raw_client(server.url) as other:
            await other.enter("bob", resume=proof)
            closed = await next_of(bob, Closed)
            assert isinstance(closed.error, Replaced)


async def test_a_message_that_breaks_the_protocol_costs_the_connection() -> None:
    async with serving(saying(joined_text(), "nonsense")) as url, client_of(url, "alice") as alice:
        assert "the server broke the protocol: " in (await next_of(alice, Disconnected)).reason


async def test_a_server_that_drops_us_at_once_is_not_hammered() -> None:
    options = ClientOptions(backoff_first_s=0.02, backoff_cap_s=60)
    async with serving(saying(joined_text())) as url, client_of(url, "alice", options=options) as alice:
        started = time.monotonic()
        for _ in range(5):
            await next_of(alice, Disconnected)
            await next_of(alice, Reconnected)
        assert time.monotonic() - started >= (0.02 + 0.04 + 0.08 + 0.16 + 0.32) / 2 - 0.05


async def test_a_program_that_does_not_read_its_events_is_cut_off_and_comes_back() -> None:
    """The server's pings pile up behind events; when they are read at last, no answer can be sent."""
    options = ClientOptions(max_events=1, backoff_first_s=0.01)
    async with (
        running(Limits(heartbeat_s=1, grace_s=0)) as server,
        client_of(server.url, "bob", options=options) as bob,
        client_of(server.url, "alice") as alice,
    ):
        for number in range(3):
            await alice.send(my_id(bob), {"number": number})
        while not isinstance(await anext(alice), PeerLeft):
            pass
        await next_of(bob, PeerJoined)
        for number in range(3):
            assert (await next_of(bob, SignalReceived)).payload == {"number": number}
        await next_of(bob, Disconnected)
        await next_of(bob, Reconnected)


# --- Closing ---


async def test_close_may_be_called_at_any_time_and_again() -> None:
    async with running() as server:
        client = client_of(server.url, "alice")
        await client.connect()
        await client.close()
        await client.close()
        assert await rest_of(client) == [Closed(None)]
        assert await rest_of(client) == []
        unused = client_of(server.url, "bob")
        await unused.close()
        await unused.close()
        assert await rest_of(unused) == [Closed(None)]
        with pytest.raises(RuntimeError):
            await unused.connect()


async def test_closing_twice_at_once_ends_everything() -> None:
    async with running() as server, forwarder(server.port) as between:
        client = client_of(between.url, "alice")
        await client.connect()
        between.hold()  # The closing handshake hangs, and the second close comes in its midst.
        first = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.close()
        await first
        assert await rest_of(client) == [Closed(None)]
        assert client._http is not None
        assert client._http.closed


async def test_a_close_that_is_cancelled_can_be_repeated() -> None:
    async with running() as server, client_of(server.url, "alice") as client:
        first = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        await client.close()
        assert await rest_of(client) == [Closed(None)]


async def test_close_ends_a_reconnection_and_who_waits_to_send() -> None:
    async with running() as server, forwarder(server.port) as between:
        bob = client_of(between.url, "bob", options=ClientOptions(backoff_first_s=3600, backoff_cap_s=3600))
        await bob.connect()
        async with client_of(server.url, "alice") as alice:
            await next_of(bob, PeerJoined)
            between.cut()
            await next_of(bob, Disconnected)
            sending = asyncio.create_task(bob.send(my_id(alice), {}))
            await asyncio.sleep(0)
            await bob.close()
            with pytest.raises(NotConnected, match="the client is closed"):
                await sending


async def test_close_in_the_midst_of_an_attempt_to_reconnect_leaves_nothing() -> None:
    async with running() as server, forwarder(server.port) as between:
        bob = client_of(between.url, "bob")
        await bob.connect()
        between.hold()
        between.accepted.clear()
        between.cut()
        await next_of(bob, Disconnected)
        await between.accepted.wait()
        await bob.close()
        assert await rest_of(bob) == [Closed(None)]


async def test_close_while_connecting_lets_nobody_in() -> None:
    async with running() as server:
        client = client_of(server.url, "alice")
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(NotConnected):
            await connecting
        assert await rest_of(client) == [Closed(None)]


async def test_a_connect_that_is_cancelled_leaves_nothing() -> None:
    async with running() as server, forwarder(server.port) as between:
        between.hold()
        client = client_of(between.url, "alice")
        connecting = asyncio.create_task(client.connect())
        await between.accepted.wait()
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()
        await client.close()


async def test_a_send_gives_up_when_the_server_does_not_come_back() -> None:
    options = ClientOptions(send_timeout_s=0.1, backoff_first_s=3600, backoff_cap_s=3600)
    async with (
        running() as server,
        forwarder(server.port) as between,
        client_of(server.url, "alice") as alice,
        client_of(between.url, "bob", options=options) as bob,
    ):
        between.cut()
        await next_of(bob, Disconnected)
        with pytest.raises(NotConnected, match=r"not restored within 0\.1 s"):
            await bob.send(my_id(alice), {})


# --- Logs ---


async def test_nothing_secret_and_nothing_raw_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="signaling")
    text = encode(Refused("tired\x1b", "go \x1b[31m away", final=False))
    secrets = ["the secret room", "5" * 32, "\x1b"]
    room = "the secret room"
    async with serving(saying(joined_text(), text)) as url, client_of(url, "alice", room) as alice:
        await next_of(alice, Disconnected)
    async with running(Limits(grace_s=3600)) as server, forwarder(server.port) as between:
        async with client_of(between.url, "bob", room=room) as bob:
            assert bob._resume is not None
            secrets.append(bob._resume.secret)
            thief = {"peer_id": bob._resume.peer_id, "secret": bob._resume.secret}
            async with raw_client(server.url) as other:
                await other.enter("bob", room=room, resume=thief)
                await next_of(bob, Closed)
        async with client_of(server.url, "bob", room=room):
            pass
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "refused for good: 'replaced'" in logged
    assert r"'go \u{1b}[31m away'" in logged
    for secret in secrets:
        assert secret not in logged
