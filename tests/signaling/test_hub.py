"""A server as strangers see it: well-behaved ones, careless ones and hostile ones, over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import time
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from signaling.errors import ErrorCode
from signaling.limits import Limits
from signaling.messages import (
    ENVELOPE,
    MAX_PAYLOAD,
    PeerEntry,
    PeerJoined,
    PeerLeft,
    Refused,
    Relayed,
)
from signaling.names import peer_id_of
from signaling.server import SignalingServer
from tests.signaling.raw import Bytes, RawClient, raw_bytes, raw_client, raw_clients, running

pytestmark = pytest.mark.usefixtures("nothing_goes_wrong_unseen")

SECRET = "5" * 32
PROOF = {"peer_id": peer_id_of(SECRET), "secret": SECRET}
"A join with it gives a peer an id that is known beforehand."

UNLIMITED = Limits(messages_per_s=1e6, message_burst=10**6, bytes_per_s=1e9, byte_burst=10**9)


async def refusal(client: RawClient) -> Refused:
    message = await client.receive()
    assert isinstance(message, Refused), message
    return message


async def health(server: SignalingServer) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{server.port}/health") as response,
    ):
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        return dict(await response.json())


async def test_who_joins_gets_the_roster_and_the_others_hear_of_it() -> None:
    async with running() as server, raw_clients(server.url, 2) as (alice, bob):
        a = await alice.enter("alice")
        b = await bob.enter("bob")
        assert (a.peers, a.resumed, a.max_payload) == ((), False, MAX_PAYLOAD)
        assert b.peers == (PeerEntry(a.peer_id, "alice"),)
        assert await alice.receive() == PeerJoined(b.peer_id, "bob")


async def test_signals_are_relayed_in_order() -> None:
    async with running() as server, raw_clients(server.url, 2) as (alice, bob):
        a, b = await alice.enter("alice"), await bob.enter("bob")
        for number in range(50):
            await alice.signal(b.peer_id, number=number)
        assert [await bob.receive() for _ in range(50)] == [
            Relayed(a.peer_id, {"number": number}) for number in range(50)
        ]


async def test_a_payload_arrives_as_it_was_sent() -> None:
    payload: dict[str, Any] = {
        "sdp": "v=0\r\na=\u00e9\U0001f600\u2028\x00",
        "n": [1, -0.5, 2**53, None, True, {}],
        "": "",
    }
    async with running() as server, raw_clients(server.url, 2) as (alice, bob):
        await alice.enter("alice")
        b = await bob.enter("bob")
        await alice.signal(b.peer_id, **payload)
        assert await bob.receive_signal() == payload


async def test_who_leaves_is_reported_at_once_and_its_connection_is_closed() -> None:
    async with running(Limits(grace_s=3600)) as server, raw_clients(server.url, 2) as (alice, bob):
        await alice.enter("alice")
        b = await bob.enter("bob")
        await bob.say(type="leave")
        assert await bob.closed() == aiohttp.WSCloseCode.OK
        assert await alice.receive() == PeerJoined(b.peer_id, "bob")
        assert await alice.receive() == PeerLeft(b.peer_id, "bob", "left")


async def test_a_lost_peer_is_reported_when_its_grace_is_over() -> None:
    async with running(Limits(grace_s=0.05)) as server, raw_client(server.url) as alice:
        await alice.enter("alice")
        async with raw_bytes(server.port) as bob:
            await bob.upgrade()
            bob.join("bob", resume=PROOF)
            assert await alice.receive() == PeerJoined(PROOF["peer_id"], "bob")
        assert await alice.receive() == PeerLeft(PROOF["peer_id"], "bob", "connection lost")


async def test_a_program_that_was_killed_and_started_again_replaces_its_ghost() -> None:
    async with running(Limits(grace_s=3600)) as server, raw_clients(server.url, 3) as (alice, bob, reborn):
        await alice.enter("alice")
        b = await bob.enter("bob")
        await bob.socket.close()
        again = await reborn.enter("bob")
        assert again.peer_id != b.peer_id
        assert [await alice.receive() for _ in range(3)] == [
            PeerJoined(b.peer_id, "bob"),
            PeerLeft(b.peer_id, "bob", "replaced"),
            PeerJoined(again.peer_id, "bob"),
        ]


async def test_who_resumes_gets_its_signals_and_nobody_hears_of_it() -> None:
    async with running(Limits(grace_s=3600)) as server, raw_clients(server.url, 3) as (alice, bob, again):
        a, b = await alice.enter("alice"), await bob.enter("bob")
        await bob.socket.close()
        await alice.signal(b.peer_id, number=1)
        await alice.signal(a.peer_id, marker=True)
        assert await alice.receive() == PeerJoined(b.peer_id, "bob")
        assert await alice.receive_signal() == {"marker": True}
        joined = await again.enter("bob", resume={"peer_id": b.peer_id, "secret": b.secret})
        assert (joined.peer_id, joined.resumed) == (b.peer_id, True)
        assert await again.receive_signal() == {"number": 1}


async def test_resuming_closes_the_old_connection() -> None:
    async with running() as server, raw_clients(server.url, 2) as (old, new):
        await old.enter("bob", resume=PROOF)
        assert (await new.enter("bob", resume=PROOF)).resumed
        assert (await refusal(old)).code == ErrorCode.REPLACED
        assert await old.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_a_taken_name_is_refused_and_the_holder_stays() -> None:
    async with running() as server, raw_clients(server.url, 2) as (bob, second):
        b = await bob.enter("bob")
        refused = await second.join("BOB")
        assert refused == Refused(ErrorCode.NAME_TAKEN, "'bob' is in the room already")
        assert await second.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION
        await bob.signal(b.peer_id, here=True)
        assert await bob.receive_signal() == {"here": True}


async def test_a_full_room_and_a_full_server_are_refused() -> None:
    limits = Limits(max_peers=1, max_rooms=1)
    async with running(limits) as server, raw_clients(server.url, 3) as (alice, bob, carol):
        await alice.enter("alice")
        refused = await bob.join("bob")
        assert refused == Refused(ErrorCode.ROOM_FULL, "1 peers are in it")
        refused = await carol.join("carol", room="elsewhere")
        assert refused == Refused(ErrorCode.SERVER_FULL, "all 1 rooms are in use")


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("no json", ErrorCode.BAD_MESSAGE, "not JSON"),
        ("[]", ErrorCode.BAD_MESSAGE, "not a JSON object"),
        ("{}", ErrorCode.BAD_MESSAGE, "type: is missing"),
        ('{"type": "join", "version": 1, "name": "a"}', ErrorCode.BAD_MESSAGE, "room: is missing"),
        ('{"type": "join", "version": 1, "room": "x", "name": " "}', ErrorCode.BAD_MESSAGE, "name: "),
        ('{"type": "join", "version": 2, "room": "x", "name": "a"}', ErrorCode.UNSUPPORTED_VERSION, "speaks"),
        ('{"type": "leave", "type": "leave"}', ErrorCode.BAD_MESSAGE, "'type': appears twice"),
        (r'{"\ud800": 1, "\ud800": 2}', ErrorCode.BAD_MESSAGE, r"'\u{d800}': appears twice"),
        ('{"type": "signal", "to": "%s", "payload": {}}' % ("0" * 20), ErrorCode.BAD_MESSAGE, "join a room"),
        ("[" * 5000, ErrorCode.BAD_MESSAGE, "nested deeper"),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_cut_off(text: str, code: str, reason: str) -> None:
    async with running() as server, raw_client(server.url) as client:
        await client.socket.send_str(text)
        refused = await refusal(client)
        assert (refused.code, refused.final) == (code, True)
        assert reason in refused.reason
        assert await client.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_a_binary_message_breaks_the_protocol() -> None:
    async with running() as server, raw_client(server.url) as client:
        await client.socket.send_bytes(b"{}")
        assert await refusal(client) == Refused(ErrorCode.BAD_MESSAGE, "messages are text")


async def test_text_that_is_not_utf_8_ends_the_connection() -> None:
    async with running() as server, raw_bytes(server.port) as client:
        await client.upgrade()
        client.send_frame(1, b'{"type": "\xff"}')
        header = await client.reader.readexactly(4)
        assert header[0] == 0x88
        assert int.from_bytes(header[2:]) == aiohttp.WSCloseCode.INVALID_TEXT


async def test_a_message_that_is_too_long_ends_the_connection_with_1009() -> None:
    async with running() as server, raw_client(server.url) as client:
        await client.enter("alice", resume=PROOF)
        longest = {"type": "signal", "to": PROOF["peer_id"], "payload": {"x": ""}}
        longest["payload"] = {"x": "y" * (MAX_PAYLOAD + ENVELOPE - len(json.dumps(longest)))}
        await client.socket.send_str(json.dumps(longest))
        assert await client.receive_signal() == longest["payload"]
        await client.socket.send_str(json.dumps(longest) + " ")
        assert await client.closed() == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_unknown_types_and_keys_are_ignored() -> None:
    async with running() as server, raw_client(server.url) as client:
        await client.say(type="sing", song="♫")
        await client.enter("alice", resume=PROOF, colour="blue")
        await client.say(type="dance")
        await client.signal(PROOF["peer_id"], here=True)
        assert await client.receive_signal() == {"here": True}


async def test_a_signal_to_nobody_is_refused_and_the_sender_stays() -> None:
    async with running() as server, raw_client(server.url) as client:
        await client.enter("alice", resume=PROOF)
        await client.signal("0" * 20, lost=True)
        refused = await refusal(client)
        assert (refused.code, refused.final, refused.peer_id) == (ErrorCode.PEER_GONE, False, "0" * 20)
        await client.signal(PROOF["peer_id"], here=True)
        assert await client.receive_signal() == {"here": True}


async def status_of(server: SignalingServer, **headers: str) -> int:
    async with raw_bytes(server.port) as client:
        head = await client.upgrade(**headers)
        return int(head.split()[1])


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("", "127.0.0.1:{port}", 101),
        ("", "evil.example", 101),
        ("http://127.0.0.1:{port}", "127.0.0.1:{port}", 101),
        ("http://[::1]:{port}", "[::1]:{port}", 101),
        ("http://NAS:{port}", "nas:{port}", 101),
        ("https://nas.local", "nas.local", 101),
        ("https://share.example.com", "127.0.0.1:{port}", 101),
        ("HTTPS://Share.Example.com", "127.0.0.1:{port}", 101),
        ("https://evil.example", "127.0.0.1:{port}", 403),
        ("http://127.0.0.1:1", "127.0.0.1:{port}", 403),
        ("http://localhost:{port}", "127.0.0.1:{port}", 403),
        ("http://evil.example:{port}", "evil.example:{port}", 403),
        ("http://evil.local.example", "evil.local.example", 403),
        ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", 403),
        ("http://share.example.com", "127.0.0.1:{port}", 403),
        ("https://share.example.com.evil.example", "127.0.0.1:{port}", 403),
        ("file://", "127.0.0.1:{port}", 403),
        ("file://nas", "nas", 403),
        ("null", "null", 403),
        ("http://[nonsense", "127.0.0.1:{port}", 403),
    ],
)
async def test_pages_of_other_sites_are_refused(origin: str, host: str, status: int) -> None:
    async with running(origins=["https://share.example.com/"]) as server:
        headers = {"Origin": origin, "Host": host}
        found = await status_of(server, **{k: v.format(port=server.port) for k, v in headers.items()})
        assert found == status


async def test_one_address_may_have_so_many_connections() -> None:
    async with running(Limits(max_connections_per_address=2)) as server:
        async with raw_clients(server.url, 2):
            assert await status_of(server) == 429
            assert (await health(server))["connections"] == 2
        assert await status_of(server) == 101


async def test_one_address_may_connect_so_fast() -> None:
    async with running(Limits(joins_per_s=0.001, join_burst=2)) as server:
        assert [await status_of(server) for _ in range(3)] == [101, 101, 429]


async def test_a_handshake_that_is_none_counts_as_no_connection() -> None:
    async with running(Limits(max_connections_per_address=1)) as server:
        for _ in range(3):
            assert await status_of(server, Upgrade="") == 400
        assert (await health(server))["connections"] == 0
        assert await status_of(server) == 101


async def test_health_counts_connections_and_rooms() -> None:
    async with running() as server:
        assert await health(server) == {"status": "ok", "connections": 0, "rooms": 0}
        async with raw_clients(server.url, 2) as (alice, _):
            await alice.enter("alice")
            assert await health(server) == {"status": "ok", "connections": 2, "rooms": 1}


async def test_a_client_that_never_joins_is_told_and_cut_off() -> None:
    async with running(Limits(join_timeout_s=0.05)) as server, raw_client(server.url) as client:
        assert await refusal(client) == Refused(ErrorCode.TIMED_OUT, "no join within 0.05 s")
        assert await client.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_talking_does_not_replace_joining() -> None:
    async with running(Limits(join_timeout_s=0.1)) as server, raw_client(server.url) as client:

        async def talk() -> None:
            while True:
                await client.say(type="unknown")
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(talk())
            assert (await refusal(client)).code == ErrorCode.TIMED_OUT
            talking.cancel()


async def test_who_has_joined_may_be_silent() -> None:
    async with running(Limits(join_timeout_s=1)) as server, raw_client(server.url) as alice:
        a = await alice.enter("alice")
        async with raw_client(server.url) as late:
            assert (await refusal(late)).code == ErrorCode.TIMED_OUT
        await alice.signal(a.peer_id, here=True)
        assert await alice.receive_signal() == {"here": True}


async def test_a_client_that_answers_no_ping_is_cut_off() -> None:
    async with running(Limits(heartbeat_s=0.1, grace_s=0)) as server, raw_bytes(server.port) as client:
        await client.upgrade()
        client.join("bob")
        await client.ended()
        assert (await health(server))["rooms"] == 0


async def test_a_client_that_answers_pings_stays() -> None:
    async with running(Limits(heartbeat_s=1)) as server, raw_bytes(server.port) as client:
        await client.upgrade()
        for _ in range(2):
            assert await client.reader.readexactly(2) == b"\x89\x00"
            client.send_frame(0xA)
        assert (await health(server))["connections"] == 1


async def test_pings_of_a_client_are_answered_with_their_payload() -> None:
    async with running() as server, raw_bytes(server.port) as client:
        await client.upgrade()
        client.send_frame(9, b"hello")
        assert await client.reader.readexactly(7) == b"\x8a\x05hello"


@pytest.mark.parametrize("kind", ["signals", "empty pings"])
async def test_a_reader_that_stops_is_cut_off_and_the_others_go_on(kind: str) -> None:
    limits = replace(UNLIMITED, grace_s=0, max_queue=65536, heartbeat_s=3600)
    async with running(limits) as server:
        # Connections inherit it: the system's own buffers would take a million empty answers.
        server._listeners[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with (
            raw_clients(server.url, 2) as (alice, carol),
            raw_bytes(server.port, is_deaf=True) as bob,
        ):
            await stop_reading(kind, alice, carol, bob)


async def stop_reading(kind: str, alice: RawClient, carol: RawClient, bob: Bytes) -> None:
    a, c = await alice.enter("alice"), await carol.enter("carol")
    await bob.upgrade()
    bob.join("bob", resume=PROOF)
    assert await alice.receive() == PeerJoined(c.peer_id, "carol")
    assert await alice.receive() == PeerJoined(PROOF["peer_id"], "bob")
    assert await carol.receive() == PeerJoined(PROOF["peer_id"], "bob")
    for number in itertools.count():
        if kind == "signals":
            await alice.signal(PROOF["peer_id"], x="x" * 16_000)
        else:
            for _ in range(1000):
                bob.send_frame(9)
        await alice.signal(c.peer_id, number=number)
        await alice.signal(a.peer_id, number=number)
        heard = await alice.receive(), await carol.receive()
        if any(isinstance(message, PeerLeft) for message in heard):
            break
        assert heard == (Relayed(a.peer_id, {"number": number}), Relayed(a.peer_id, {"number": number}))
    left = PeerLeft(PROOF["peer_id"], "bob", "connection lost")
    assert left in (heard[0], await alice.receive())
    assert left in (heard[1], await carol.receive())


async def test_a_reader_that_keeps_pace_may_get_much_at_once() -> None:
    """More than a queue's worth comes in before the server gets round to send any of it on."""
    limits = replace(UNLIMITED, max_queue=65536)
    async with running(limits) as server, raw_clients(server.url, 2) as (alice, bob):
        await alice.enter("alice")
        b = await bob.enter("bob")
        text = json.dumps({"type": "signal", "to": b.peer_id, "payload": {"x": "x" * 16_000}})
        for _ in range(64):
            await alice.socket.send_str(text)
        for _ in range(64):
            await bob.receive_signal()


async def test_what_a_closed_connection_did_not_read_is_not_kept() -> None:
    """It said goodbye with its buffer full: asyncio alone would keep both for as long as it likes."""
    limits = replace(UNLIMITED, close_timeout_s=0.1, heartbeat_s=3600)
    async with running(limits) as server, raw_bytes(server.port, is_deaf=True) as client:
        await client.upgrade()
        client.join("bob", resume=PROOF)
        async with raw_client(server.url) as alice:
            await alice.enter("alice")
            (transport,) = [each._transport for each in server.hub._connections.values() if each.number != 2]
            while not transport.get_write_buffer_size():
                await alice.signal(PROOF["peer_id"], x="x" * 4000)
                await alice.signal("0" * 20)
                while not isinstance(await alice.receive(), Refused):
                    pass
        client.send_frame(8)
        sock = transport.get_extra_info("socket")
        async with asyncio.timeout(60):
            while sock.fileno() != -1:  # noqa: ASYNC110 -- nothing announces it
                await asyncio.sleep(0.01)


async def test_a_flood_slows_down_its_sender_alone() -> None:
    limits = Limits(messages_per_s=0.001, message_burst=4)
    async with (
        running(limits) as server,
        raw_clients(server.url, 2) as (alice, carol),
        raw_bytes(server.port) as bob,
    ):
        a, c = await alice.enter("alice"), await carol.enter("carol")
        await bob.upgrade()
        bob.join("bob", resume=PROOF)
        for number in range(20):
            bob.say(type="signal", to=a.peer_id, payload={"bob": number})
        assert await alice.receive() == PeerJoined(c.peer_id, "carol")
        assert await alice.receive() == PeerJoined(PROOF["peer_id"], "bob")
        assert [await alice.receive_signal() for _ in range(3)] == [{"bob": 0}, {"bob": 1}, {"bob": 2}]
        await carol.signal(a.peer_id, carol=0)
        assert await alice.receive() == Relayed(c.peer_id, {"carol": 0})


async def test_who_is_slowed_down_loses_nothing() -> None:
    limits = Limits(messages_per_s=50, message_burst=1)
    async with running(limits) as server, raw_client(server.url) as client:
        started = time.monotonic()
        await client.enter("alice", resume=PROOF)
        for number in range(20):
            await client.signal(PROOF["peer_id"], number=number)
        received = [await client.receive_signal() for _ in range(20)]
        assert received == [{"number": number} for number in range(20)]
        assert time.monotonic() - started >= 20 / 50 - 0.05


async def test_nothing_secret_and_nothing_raw_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    name = "‮moc.elgoog"
    async with running() as server, raw_clients(server.url, 3) as (alice, bob, mallory):
        await status_of(server, Origin="http://\x9b31m.example")
        a = await alice.enter("alice", room="the secret room")
        b = await bob.enter("bob", room="the secret room")
        await alice.signal(b.peer_id, sdp="a=ice-pwd:hunter2")
        await bob.receive_signal()
        refused = await mallory.join(name, room="the secret room")
        assert isinstance(refused, Refused)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "alice" in logged
    assert a.peer_id in logged
    for secret in ("the secret room", a.secret, b.secret, "hunter2", name, "\u202e", "\x9b"):
        assert secret not in logged
    assert r"\u{9b}31m" in logged
