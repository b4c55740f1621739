"""Every wait has an end: whatever a peer, a program or a disk does, a handle settles and a close returns."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import p2pshare
from p2pshare import events as ev
from p2pshare.errors import (
    StorageAccessDenied,
    TransferCancelled,
    TransferError,
    TransferStalled,
    UploadError,
)
from p2pshare.model import EVERYONE, MIB, HeldBlocks, Limits, OfferedFile, Piece
from p2pshare.protocol import frames as f
from p2pshare.session import Link, Session
from p2pshare.session.delivery import DeliveryState
from p2pshare.session.rendezvous import MAX_UNFINISHED
from p2pshare.storage import MemorySink, Stored, from_bytes, from_stream
from p2pshare.storage.threads import MAX_THREADS, in_thread
from signaling.server import SignalingServer
from tests.session.peers import Heard, offer_of, pair
from tests.session.test_hostile import Stranger
from tests.support.connections import connect, new_pc, two_pcs


async def meet(session: Session, stack: AsyncExitStack) -> tuple[Stranger, Link]:
    """A stranger at the other end of a new connection, greeted."""
    ours, theirs = await stack.enter_async_context(two_pcs())
    stranger = Stranger(theirs)
    link = session.attach(ours, peer="stranger")
    await connect(ours, theirs)
    await stranger.greet()
    await link.ready()
    return stranger, link


# What a peer does --------------------------------------------------------------------------------------


async def test_a_job_that_its_sender_gives_up_with_code_0_fails() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(Session())
        stranger, _ = await meet(session, stack)
        heard = Heard(session)
        stranger.send(f.OfferFrame(1, 2, (OfferedFile(0, ("a",), 10), OfferedFile(1, ("b",), 10))))
        download = session.download_files((await offer_of(heard)).files, save_to=None)
        accept = await stranger.next(f.Accept)
        assert isinstance(accept, f.Accept)
        stranger.open(accept.channel)
        stranger.send(f.Reset(accept.job, 0))
        stranger.send(f.Ended(accept.job, 0))
        with pytest.raises(TransferError) as raised:
            await download
        assert raised.value.remote
        assert raised.value.code == 0


async def test_a_job_that_its_receiver_stops_with_code_0_fails_the_delivery() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(Session())
        stranger, _ = await meet(session, stack)
        upload = session.send_files(from_bytes("a", bytes(10)), to="stranger")
        offer = await stranger.next(f.OfferFrame)
        assert isinstance(offer, f.OfferFrame)
        stranger.open(242)
        stranger.send(f.Accept(2, offer.offer, 242, ((0, 0),), 0, 0))  # its nonce is lower: even ids
        stranger.send(f.Stop(2, 0))
        with pytest.raises(UploadError) as raised:
            await upload
        assert raised.value.failures["stranger"].remote


async def test_downloads_that_wait_for_streams_which_the_peer_never_closes_are_stalled() -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(Session(limits=Limits(stall_timeout_s=1.0)))
        stranger, link = await meet(session, stack)
        heard = Heard(session)
        stranger.send(f.OfferFrame(1, 1, (OfferedFile(0, ("a",), 10),)))
        file = (await offer_of(heard)).files[0]
        for _ in range(7):  # all odd ids but one, which a running job has
            download = session.download_file(file, save_to=None)
            accept = await stranger.next(f.Accept)
            assert isinstance(accept, f.Accept)
            stranger.send(f.Reset(accept.job, 6001))  # and no end of the stream is ever made
            stranger.send(f.Ended(accept.job, 0))
            with pytest.raises(TransferCancelled):
                await download
        running = session.download_file(file, save_to=None)
        await stranger.next(f.Accept)
        queued = session.download_file(file, save_to=None)
        for download in (running, queued):
            with pytest.raises(TransferStalled):
                await download
        assert link.is_open


async def test_an_offer_of_which_only_a_part_is_taken_expires_too(tmp_path: Path) -> None:
    async with pair(tmp_path, alice_limits=Limits(offer_timeout_s=0.3)) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files([from_bytes("a", b"1"), from_bytes("b", b"2")], to="bob")
        offer = await offer_of(heard)
        sink = SlowToOpen([offer.files[0].file])
        download = peers.bob.download_into([offer.files[0]], lambda _: sink)
        sink.may_store.clear()
        sink.may_open.set()
        await Heard(peers.alice).first(ev.UploadStarted)
        delivery = upload.deliveries["bob"]
        assert delivery._expiry is not None
        delivery._expiry.cancel()
        delivery._expired()  # the offer's time is over while the job runs
        assert delivery.state is DeliveryState.ACTIVE
        sink.may_store.set()
        await download
        result = await upload
        assert result.completed == ["bob"]
        assert delivery.confirmed == {0}
        await heard.first(ev.FileUnavailable)


async def test_closing_an_upload_waits_for_every_job_of_a_recipient(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files([from_bytes("a", b"1"), from_bytes("b", b"2")], to=EVERYONE)
        offer = await offer_of(heard)
        slow = SlowToOpen([offer.files[1].file])
        slow.may_open.set()
        slow.may_store.clear()
        second = peers.bob.download_into([offer.files[1]], lambda _: slow)
        at_alice = Heard(peers.alice)
        await at_alice.first(ev.UploadStarted)
        first = peers.bob.download_file(offer.files[0], save_to=None)
        await at_alice.first(ev.UploadStarted, 2)
        upload.close()
        assert await first == b"1"
        assert not upload.done
        slow.may_store.set()
        await second
        assert (await upload).deliveries["bob"].confirmed == {0, 1}


# What a program does -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
async def test_a_path_that_no_file_can_have_is_5089(path: str) -> None:
    async with Session() as session:
        with pytest.raises(StorageAccessDenied, match="no file of this name"):
            await session.send_files(path)


@pytest.mark.parametrize("message", ["x" * 1025, "\ud800"])
async def test_a_message_that_cannot_travel_is_a_value_error(message: str) -> None:
    async with Session() as session:
        with pytest.raises(ValueError, match=r"1,024 bytes|surrogates"):
            session.send_files(from_bytes("a", b""), message=message)
        assert not session.uploads


class SlowToOpen(MemorySink):
    """Opens and stores when it is told to."""

    def __init__(self, files: Sequence[OfferedFile]) -> None:
        super().__init__(files)
        self.is_opening = asyncio.Event()
        self.may_open = asyncio.Event()
        self.may_store = asyncio.Event()
        self.may_store.set()

    async def open(self) -> Sequence[HeldBlocks]:
        self.is_opening.set()
        await self.may_open.wait()
        return await super().open()

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        await self.may_store.wait()
        return await super().store(pieces)


async def test_cancelling_while_the_sink_opens_does_not_wait_for_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        offer = await offer_of(heard)
        sink = SlowToOpen([])
        download = peers.bob.download_into(offer.files, lambda _: sink)
        await sink.is_opening.wait()
        download.cancel("not now")
        with pytest.raises(TransferCancelled, match="not now"):
            await download
        assert heard.of(ev.DownloadCancelled)
        assert not peers.bob.downloads


class Broken(MemorySink):
    """Raises what nobody expects, at one of its calls."""

    def __init__(self, files: Sequence[OfferedFile], at: str) -> None:
        super().__init__(files)
        self.at = at

    async def open(self) -> Sequence[HeldBlocks]:
        self._break("open")
        return await super().open()

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        self._break("store")
        return await super().store(pieces)

    async def close(self, *, keep_parts: bool) -> None:
        self._break("close")
        await super().close(keep_parts=keep_parts)

    def _break(self, call: str) -> None:
        if call == self.at:
            raise ZeroDivisionError(call)


@pytest.mark.parametrize("at", ["make", "open", "store"])
async def test_a_sink_that_raises_anything_fails_its_download(tmp_path: Path, at: str) -> None:
    def make(files: Sequence[OfferedFile]) -> Broken:
        if at == "make":
            raise ZeroDivisionError
        return Broken(files, at)

    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to=EVERYONE)
        offer = await offer_of(heard)
        with pytest.raises(TransferError, match="interrupted"):
            await peers.bob.download_into(offer.files, make)
        upload.close()
        await upload.wait()


async def test_a_sink_that_cannot_be_closed_has_what_it_has(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        offer = await offer_of(heard)
        sink = await peers.bob.download_into(offer.files, lambda files: Broken(files, "close"))
        assert sink.contents == {0: b"1"}
        await upload


async def test_who_comes_while_the_files_are_listed_is_the_first_that_is_waited_for(tmp_path: Path) -> None:
    released = threading.Event()
    async with Session() as alice, Session() as bob, two_pcs() as pcs, asyncio.TaskGroup() as tasks:
        for _ in range(MAX_THREADS):  # no thread is left to list anything
            tasks.create_task(in_thread(released.wait))
        upload = alice.send_files(from_bytes("a", b"1"), to=EVERYONE)
        heard = Heard(bob)
        links = alice.attach(pcs[0], peer="bob"), bob.attach(pcs[1], peer="alice")
        await connect(*pcs)
        for link in links:
            await link.ready()
        released.set()
        assert await bob.download_file((await offer_of(heard)).files[0], save_to=None) == b"1"
        assert (await upload).completed == ["bob"]


async def test_a_cancel_of_our_own_that_nobody_awaits_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()
    caplog.clear()  # what earlier tests have left
    async with pair(tmp_path) as peers:
        upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        upload.cancel()
        assert upload.done
        del upload
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_upload_cancelled_from_a_callback_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(8 * MIB))
    async with pair(tmp_path / "inbox") as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob")
        peers.alice.on(ev.UploadProgress, lambda _: upload.cancel())
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        with pytest.raises(TransferCancelled):
            await upload
        with pytest.raises(TransferCancelled):
            await download
        assert not peers.alice._outgoing._deliveries


# Sessions that close -----------------------------------------------------------------------------------


async def test_two_that_close_a_session_at_once_both_wait_for_its_end(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        offer = await offer_of(heard)
        sink = SlowToOpen([])
        download = peers.bob.download_into(offer.files, lambda _: sink)
        await sink.is_opening.wait()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(peers.bob.close())
            second = tasks.create_task(peers.bob.close())
            await second
            assert first.done()
        with pytest.raises(TransferCancelled):
            await download
        assert not peers.bob.tasks._tasks


async def test_a_close_that_was_cancelled_is_finished_by_the_next() -> None:
    async with two_pcs() as pcs:
        session = Session()
        link = session.attach(pcs[0], peer="bob")
        closing = asyncio.create_task(session.close())
        closed = asyncio.Event()
        session.on(ev.LinkFailed, lambda _: closed.set())
        await closed.wait()
        closing.cancel()
        await asyncio.wait([closing])
        await session.close()
        assert link.error is not None
        assert not session.tasks._tasks
        async with Session() as other:
            other.attach(pcs[0], peer="bob")


async def test_both_sides_close_at_once_in_the_middle_of_a_transfer(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(64 * MIB))
    async with pair(tmp_path / "inbox") as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob")
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        await heard.first(ev.DownloadProgress)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(peers.alice.close())
            tasks.create_task(peers.bob.close())
        assert upload.done
        assert download.done


# Who is who --------------------------------------------------------------------------------------------


async def test_a_member_of_the_room_with_an_attached_peers_name_does_not_take_its_place() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))
        alice = await stack.enter_async_context(p2pshare.join(server.url, room="den", name="alice"))
        pcs = await stack.enter_async_context(two_pcs())
        bob = await stack.enter_async_context(Session())
        link = alice.attach(pcs[0], peer="bob")
        bob.attach(pcs[1], peer="alice")
        await connect(*pcs)
        await link.ready()
        other = await stack.enter_async_context(p2pshare.join(server.url, room="den", name="bob"))
        heard = Heard(other)
        while not other.peers:
            await heard.first(ev.PeerJoined)
        with pytest.raises(UploadError, match="attached"):
            await other.send_files(from_bytes("a", b"1"), to="alice")
        assert link.is_open
        assert alice.links["bob"] is link
        at_bob = Heard(bob)
        upload = alice.send_files(from_bytes("secret", b"for bob"), to="bob")
        assert await bob.download_file((await offer_of(at_bob)).files[0], save_to=None) == b"for bob"
        await upload


async def test_a_failure_in_our_own_timer_ends_the_link_and_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        offer = await offer_of(heard)
        sink = SlowToOpen([])
        sink.may_open.set()
        sink.may_store.clear()
        download = peers.bob.download_into(offer.files, lambda _: sink)
        await heard.first(ev.DownloadStarted)
        link = peers.bob.links["alice"]

        def fail(channel_id: int, message: bytes) -> None:
            raise ZeroDivisionError

        assert link._channels is not None
        monkeypatch.setattr(link._channels, "send", fail)
        link.core.ping(0.0)
        link.touch()
        assert not link.is_open
        sink.may_store.set()
        with pytest.raises(TransferError, match="internal error"):
            await download
        assert peers.bob_pc.connectionState == "connected"


async def test_a_session_closes_right_after_it_attached() -> None:
    pc = new_pc()
    async with Session() as session:
        session.attach(pc, peer="bob")
    assert pc.connectionState != "closed"
    await pc.close()


async def test_a_member_that_offers_on_and_on_gets_a_few_connections_at_a_time() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))
        alice = await stack.enter_async_context(p2pshare.join(server.url, room="den", name="alice"))
        room = alice._peers.room
        assert room is not None
        rendezvous = room._rendezvous
        assert rendezvous is not None
        for number in range(20):
            payload = {"kind": "offer", "attempt": f"{number}", "description": None}
            rendezvous.signal_received("f" * 20, "mallory", payload)
            await rendezvous_turns(alice, "answering 'mallory'")
            assert len(rendezvous._connections) <= MAX_UNFINISHED


async def rendezvous_turns(session: Session, name: str) -> None:
    """Until no task of this name runs."""
    await session.tasks.settle(name)


class Closable:
    """A stream that says when it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def __aiter__(self) -> Closable:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed.set()


async def test_a_stream_of_an_upload_that_is_cancelled_at_once_is_closed() -> None:
    async with Session() as session:
        stream = Closable()
        upload = session.send_files(from_stream("s", stream))
        upload.cancel()
        await stream.closed.wait()


async def test_a_failure_that_a_callback_was_told_is_not_logged_as_one_that_nobody_awaited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        told: list[ev.UploadFailed] = []
        for callback in (told.append, None):
            if callback is not None:
                off = peers.alice.on(ev.UploadFailed, callback)
            upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
            peers.bob.decline((await heard.first(ev.FileOffered, 1 + (callback is None))).offer)
            await upload.wait()
            del upload
            gc.collect()
            off()
            assert caplog.text.count("never retrieved") == (callback is None)
    assert len(told) == 1
