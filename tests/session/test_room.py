"""Peers that meet in a room: through a real signaling server, over connections that sessions make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import p2pshare
from p2pshare import events as ev
from p2pshare.errors import SharingNotAvailable, SignalingFailed, UploadError
from p2pshare.model import EVERYONE, MIB
from p2pshare.session import Session
from p2pshare.storage import from_bytes
from signaling.server import SignalingServer
from tests.session.peers import Heard, offer_of


@asynccontextmanager
async def room(*names: str) -> AsyncIterator[list[Session]]:
    """Sessions of these names in one room of a server on this machine."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))
        sessions = [
            await stack.enter_async_context(p2pshare.join(server.url, room="den", name=name))
            for name in names
        ]
        for session in sessions:
            heard = Heard(session)
            while len(session.peers) < len(names) - 1:
                await heard.first(ev.PeerJoined, len(heard.of(ev.PeerJoined)) + 1)
        yield sessions


def take_into_memory(session: Session) -> asyncio.Future[bytes]:
    """Download the first file that is offered."""
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(event: ev.FileOffered) -> None:
        done.set_result(await session.download_file(event.offer.files[0], save_to=None))

    session.on(ev.FileOffered, take)
    return done


async def test_members_see_each_other_and_connect_only_when_they_have_something_to_say() -> None:
    async with room("alice", "bob", "carol") as (alice, bob, carol):
        assert alice.peers == ("bob", "carol")
        assert bob.peers == ("alice", "carol")
        at_bob = take_into_memory(bob)
        result = await alice.send_files(from_bytes("a.bin", bytes(MIB)), to="bob")
        assert await at_bob == bytes(MIB)
        assert result.completed == ["bob"]
        assert not alice.links.keys() - {"bob"}
        assert not carol.links


@pytest.mark.parametrize("sender", [0, 1])
async def test_either_side_may_send_whoever_has_the_higher_id(sender: int) -> None:
    async with room("alice", "bob") as sessions:
        one, two = sessions[sender], sessions[1 - sender]
        at_two = take_into_memory(two)
        await one.send_files(from_bytes("a", b"x"), to=two_name(sender))
        assert await at_two == b"x"


def two_name(sender: int) -> str:
    return ["bob", "alice"][sender]


async def test_both_begin_at_once_and_make_one_connection() -> None:
    async with room("alice", "bob") as (alice, bob):
        at_bob, at_alice = take_into_memory(bob), take_into_memory(alice)
        there = alice.send_files(from_bytes("there", b"1"), to="bob")
        back = bob.send_files(from_bytes("back", b"2"), to="alice")
        assert (await at_bob, await at_alice) == (b"1", b"2")
        await there
        await back
        assert len(alice.links) == len(bob.links) == 1


async def test_everyone_reaches_all_members_and_who_joins_later() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))

        async def member(name: str) -> Session:
            return await stack.enter_async_context(p2pshare.join(server.url, room="den", name=name))

        alice, bob = await member("alice"), await member("bob")
        at_bob = take_into_memory(bob)
        heard = Heard(alice)
        while not alice.peers:
            await heard.first(ev.PeerJoined)
        upload = alice.send_files(from_bytes("a", b"for all"), to=EVERYONE)
        assert await at_bob == b"for all"
        assert (await upload).completed == ["bob"]
        carol = await member("carol")
        at_carol = take_into_memory(carol)
        assert await at_carol == b"for all"
        assert [file.name for file in carol.available_files] == ["a"]
        await heard.first(ev.UploadCompleted, 2)
        upload.close()
        await heard.first(ev.UploadClosed)


async def test_with_nobody_there_an_upload_to_everyone_waits_for_the_first() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))
        alice = await stack.enter_async_context(p2pshare.join(server.url, room="den", name="alice"))
        empty = await alice.send_files(from_bytes("b", b"2"), to=EVERYONE, wait_for=0)
        assert not empty.deliveries
        upload = alice.send_files(from_bytes("a", b"1"), to=EVERYONE)
        bob = await stack.enter_async_context(p2pshare.join(server.url, room="den", name="bob"))
        taken = Heard(bob)
        for count in (1, 2):
            offer = await offer_of(taken, count)
            await bob.download_file(offer.files[0], save_to=None)
        assert (await upload).completed == ["bob"]


async def test_a_member_that_has_left_fails_the_delivery_with_5091() -> None:
    async with room("alice", "bob") as (alice, bob):
        heard = Heard(alice)
        await bob.close()
        await heard.first(ev.PeerLeft)
        with pytest.raises(UploadError) as raised:
            await alice.send_files(from_bytes("a", b"1"), to="bob")
        assert raised.value.failures["bob"].code == 5091
        with pytest.raises(ValueError, match="'dave'"):
            alice.send_files(from_bytes("a", b"1"), to="dave")


async def test_a_taken_name_and_an_unreachable_server_are_signaling_errors() -> None:
    async with SignalingServer("127.0.0.1", 0) as server:
        async with p2pshare.join(server.url, room="den", name="alice"):
            with pytest.raises(SignalingFailed, match="alice"):
                await p2pshare.join(server.url, room="den", name="alice")
        url = server.url
    with pytest.raises(SignalingFailed):
        await p2pshare.join(url, room="den", name="alice")


async def test_a_closed_session_says_so() -> None:
    async with room("alice", "bob") as (alice, _):
        await alice.close()
        await alice.close()
        with pytest.raises(SharingNotAvailable, match="closed"):
            alice.send_files(from_bytes("a", b"1"))


async def test_a_file_goes_on_when_the_signaling_server_is_gone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(32 * MIB))
    async with AsyncExitStack() as stack:
        server = SignalingServer("127.0.0.1", 0)
        await server.start()
        stack.push_async_callback(server.close)
        alice = await stack.enter_async_context(p2pshare.join(server.url, room="den", name="alice"))
        bob = await stack.enter_async_context(
            p2pshare.join(server.url, room="den", name="bob", download_dir=tmp_path / "inbox")
        )
        heard = Heard(bob)
        upload = alice.send_files(source, to=EVERYONE)
        download = bob.download_file((await offer_of(heard)).files[0])
        await heard.first(ev.DownloadProgress)
        await server.close()
        assert (await download).stat().st_size == 32 * MIB
        assert (await upload).completed == ["bob"]


async def test_waiting_for_peers_ends_when_all_of_them_are_there() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))

        async def member(name: str) -> Session:
            return await stack.enter_async_context(p2pshare.join(server.url, room="den", name=name))

        alice = await member("alice")
        waiting = asyncio.ensure_future(alice.wait_for_peers("bob", "carol"))
        bob = await member("bob")
        assert not waiting.done()
        at_bob, at_carol = take_into_memory(bob), take_into_memory(await member("carol"))
        await waiting
        await alice.send_files(from_bytes("a", b"1"), to=["bob", "carol"])
        assert (await at_bob, await at_carol) == (b"1", b"1")
        never = asyncio.ensure_future(alice.wait_for_peers("dave"))
        await asyncio.sleep(0)
        await alice.close()
        with pytest.raises(SharingNotAvailable):
            await never


async def test_a_session_that_just_closes_is_no_failed_link() -> None:
    async with room("alice", "bob") as (alice, bob):
        heard = Heard(alice)
        at_bob = take_into_memory(bob)
        await alice.send_files(from_bytes("a", b"1"), to="bob")
        await at_bob
        await bob.close()
        await heard.first(ev.PeerLeft)
        await alice.close()
        assert not heard.of(ev.LinkFailed)
