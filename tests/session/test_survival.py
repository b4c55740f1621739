"""Jobs that outlive their connections, are paused, keep a pace, and are taken by rule; with real peers."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import p2pshare
from p2pshare import events as ev
from p2pshare.errors import ConnectionLost, TransferCancelled, UploadError
from p2pshare.model import KIB, MIB, Conflict, Limits
from p2pshare.session import Accept, AcceptRule, Decline, Session
from p2pshare.session.delivery import DeliveryState
from p2pshare.storage import from_bytes
from tests.session.peers import Heard, offer_of, pair
from tests.support.connections import connect, two_pcs


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Lost connections -----------------------------------------------------------------------------------------


async def reattached(alice: Session, bob: Session, stack: AsyncExitStack) -> None:
    """A new connection between the two, attached under the same names."""
    pcs = await stack.enter_async_context(two_pcs())
    alice.attach(pcs[0], peer="bob")
    bob.attach(pcs[1], peer="alice")
    await connect(*pcs)


async def test_a_job_goes_on_when_the_peer_is_attached_anew_and_only_the_rest_travels(tmp_path: Path) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(os.urandom(24 * MIB))
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(pair(tmp_path / "inbox"))
        heard, alices = Heard(peers.bob), Heard(peers.alice)
        upload = peers.alice.send_files(source, to="bob", rate_limit=40 * MIB)
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        async for progress in download:
            if progress.stored > 8 * MIB:
                break
        await peers.bob_pc.close()
        await heard.first(ev.DownloadInterrupted)
        interrupted = await alices.first(ev.UploadInterrupted)
        assert isinstance(interrupted.error, ConnectionLost)
        assert upload.deliveries["bob"].state is DeliveryState.INTERRUPTED
        assert download.is_interrupted
        await reattached(peers.alice, peers.bob, stack)
        await heard.first(ev.DownloadStarted, 2)
        assert download.progress.stored > 7 * MIB, "what was held is there from the start"
        assert (await download).read_bytes() == source.read_bytes()
        await upload
        link = peers.alice.links["bob"]
        assert link.stats().bytes_sent < 18 * MIB
        assert len(heard.of(ev.FileOffered)) == 1, "nobody is asked twice"
        assert len(heard.of(ev.FileAvailable)) == 2
        assert len(heard.of(ev.FileUnavailable)) == 2


async def test_an_offer_that_nobody_has_answered_is_there_again_on_the_new_connection(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(pair(tmp_path))
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a.txt", b"one"), to="bob")
        offer = await offer_of(heard)
        await peers.alice_pc.close()
        await heard.first(ev.FileUnavailable)
        assert peers.bob.available_files == ()
        await reattached(peers.alice, peers.bob, stack)
        await heard.first(ev.FileAvailable, 2)
        assert peers.bob.offers == (offer,)
        assert await peers.bob.download_file(offer.files[0], save_to=None) == b"one"
        await upload


async def test_what_was_declined_stays_declined_after_the_connection_was_lost(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(pair(tmp_path))
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a.txt", b"one"), to="bob")
        offer = await offer_of(heard)
        link = peers.bob.links["alice"]
        assert link._channels is not None
        link._channels.send = lambda *_: None  # type: ignore[method-assign]  # the word gets lost
        peers.bob.decline(offer, "no")
        await peers.alice_pc.close()
        await heard.first(ev.PeerLeft)
        await reattached(peers.alice, peers.bob, stack)
        with pytest.raises(UploadError) as raised:
            await upload
        assert isinstance(raised.value.failures["bob"], p2pshare.OfferDeclined)
        assert len(heard.of(ev.FileOffered)) == 1


async def test_what_was_in_place_when_the_word_of_it_was_lost_is_not_sent_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(pair(tmp_path))
        heard, alices = Heard(peers.bob), Heard(peers.alice)
        upload = peers.alice.send_files(from_bytes("a.txt", b"one"), to="bob")
        offer = await offer_of(heard)
        core = peers.bob.links["alice"].core.downloads
        core.confirm = lambda *_: None  # type: ignore[method-assign]  # CONFIRM gets lost
        download = peers.bob.download_file(offer.files[0])
        async for progress in download:
            if progress.stored == 3:
                break
        await peers.alice_pc.close()
        assert (await download).read_bytes() == b"one"
        await reattached(peers.alice, peers.bob, stack)
        result = await upload
        assert result.completed == ["bob"]
        assert len(alices.of(ev.UploadStarted)) == 1


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_a_peer_that_does_not_come_back_in_time_is_a_lost_connection(tmp_path: Path, side: str) -> None:
    hasty = Limits(reconnect_timeout_s=0.3)
    async with pair(tmp_path, alice_limits=hasty, bob_limits=hasty) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a.bin", bytes(64 * KIB)), to="bob", rate_limit=16 * KIB)
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        await heard.first(ev.DownloadStarted)
        await (peers.alice_pc if side == "sender" else peers.bob_pc).close()
        with pytest.raises(ConnectionLost):
            await download
        with pytest.raises(UploadError) as raised:
            await upload
        assert isinstance(raised.value.failures["bob"], ConnectionLost)


async def test_a_job_that_waits_for_its_peer_can_be_cancelled_at_either_end(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard, alices = Heard(peers.bob), Heard(peers.alice)
        upload = peers.alice.send_files(from_bytes("a.bin", bytes(64 * KIB)), to="bob", rate_limit=16 * KIB)
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        await heard.first(ev.DownloadStarted)
        await peers.alice_pc.close()
        await heard.first(ev.DownloadInterrupted)
        await alices.first(ev.UploadInterrupted)
        upload.cancel("enough")
        with pytest.raises(TransferCancelled):
            await upload
        download.cancel()
        with pytest.raises(TransferCancelled):
            await download
    assert not names_in(tmp_path), "a part is removed with its cancelled download"


async def test_a_sender_that_closes_its_session_is_not_waited_for(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard, alices = Heard(peers.bob), Heard(peers.alice)
        peers.alice.send_files(from_bytes("a.bin", bytes(MIB)), to="bob", rate_limit=16 * KIB)
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        await alices.first(ev.UploadStarted)
        await peers.alice.close()
        with pytest.raises(TransferCancelled) as raised:
            await download
        assert raised.value.remote


async def test_a_download_that_is_cancelled_before_its_sender_heard_of_it_ends_there_as_well(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a.bin", bytes(KIB)), to="bob")
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        download.cancel("changed my mind")
        with pytest.raises(UploadError) as raised:
            await upload
        error = raised.value.failures["bob"]
        assert isinstance(error, TransferCancelled)
        assert (error.remote, error.reason) == (True, "changed my mind")
        assert upload.deliveries["bob"].state is DeliveryState.CANCELLED


# Pause, and pace ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_a_paused_job_rests_and_goes_on(tmp_path: Path, side: str) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(os.urandom(24 * MIB))
    # Nothing moves for longer than the stall timeout, which a paused job does not mind.
    hasty = Limits(stall_timeout_s=1.0)
    async with pair(tmp_path / "inbox", alice_limits=hasty, bob_limits=hasty) as peers:
        heard, alices = Heard(peers.bob), Heard(peers.alice)
        upload = peers.alice.send_files(source, to="bob", rate_limit=20 * MIB)
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        await heard.first(ev.DownloadProgress)
        handle: p2pshare.Upload | p2pshare.Download[Path] = upload if side == "sender" else download
        handle.pause()
        handle.pause()
        assert handle.is_paused
        assert (await alices.first(ev.UploadPaused)).remote is (side == "receiver")
        assert (await heard.first(ev.DownloadPaused)).remote is (side == "sender")
        await asyncio.sleep(0.5)  # what was on its way has arrived by then
        stored = download.progress.stored
        await asyncio.sleep(2.0)
        assert download.progress.stored == stored < 24 * MIB
        handle.resume()
        assert (await download).read_bytes() == source.read_bytes()
        await upload
        assert [event.remote for event in alices.of(ev.UploadResumed)] == [side == "receiver"]
        assert [event.remote for event in heard.of(ev.DownloadResumed)] == [side == "sender"]


async def test_an_upload_can_be_paused_before_it_is_accepted(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a.bin", bytes(MIB)), to="bob")
        upload.pause()
        download = peers.bob.download_file((await offer_of(heard)).files[0], save_to=None)
        assert (await heard.first(ev.DownloadPaused)).remote
        await asyncio.sleep(0.2)
        assert download.progress.stored == 0
        upload.resume()
        assert await download == bytes(MIB)


@pytest.mark.parametrize("which", ["upload", "download", "sending session", "receiving session"])
async def test_a_rate_limit_holds_and_can_be_lifted(tmp_path: Path, which: str) -> None:
    loop = asyncio.get_running_loop()
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        size, rate = 8 * MIB, 2 * MIB
        upload = peers.alice.send_files(from_bytes("a.bin", bytes(size)), to="bob")
        offer = await offer_of(heard)
        if which == "upload":
            upload.rate_limit = rate
        elif which == "sending session":
            peers.alice.upload_rate_limit = rate
        elif which == "receiving session":
            peers.bob.download_rate_limit = rate
        began = loop.time()
        limit = rate if which == "download" else None
        download = peers.bob.download_file(offer.files[0], save_to=None, rate_limit=limit)
        await asyncio.sleep(1.0)
        stored = download.progress.stored
        # The receiver's limit works by credit: up to a window is there at once.
        assert stored <= 1.2 * rate * (loop.time() - began) + 2 * MIB
        upload.rate_limit = download.rate_limit = None
        peers.alice.upload_rate_limit = peers.bob.download_rate_limit = None
        assert len(await download) == size


def test_a_rate_of_nothing_is_no_rate(tmp_path: Path) -> None:
    async def refuse() -> None:
        async with Session() as session:
            with pytest.raises(ValueError, match="not above 0"):
                session.upload_rate_limit = 0
            with pytest.raises(ValueError, match="not above 0"):
                session.send_files(from_bytes("a", b"1"), wait_for=0, rate_limit=-1)

    asyncio.run(refuse())


# What is there already ------------------------------------------------------------------------------------


async def test_a_file_that_is_there_already_is_not_fetched(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "b.bin").write_bytes(bytes(MIB))
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(
            [from_bytes("a.bin", content), from_bytes("b.bin", os.urandom(MIB))], to="bob"
        )
        paths = await peers.bob.download_files((await offer_of(heard)).files)
        assert [path.name for path in paths] == ["a.bin", "b (1).bin"]
        assert (await upload).completed == ["bob"]
        assert peers.alice.links["bob"].stats().bytes_sent < 2 * MIB


@pytest.mark.parametrize("conflict", [Conflict.SKIP, Conflict.OVERWRITE])
async def test_a_name_that_is_taken_is_skipped_or_overwritten(tmp_path: Path, conflict: Conflict) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files([from_bytes("a.txt", b"new!"), from_bytes("b.txt", b"b")], to="bob")
        offer = await offer_of(heard)
        download = peers.bob.download_files(offer.files, conflict=conflict)
        assert [path.name for path in await download] == ["a.txt", "b.txt"]
        is_skipped = conflict is Conflict.SKIP
        assert (tmp_path / "a.txt").read_bytes() == (b"old" if is_skipped else b"new!")
        assert download.skipped == (frozenset({0}) if is_skipped else frozenset())
        await upload
        assert upload.deliveries["bob"].declined == ({0} if is_skipped else set())
    assert names_in(tmp_path) == ["a.txt", "b.txt"]


# Accepting by rule ----------------------------------------------------------------------------------------


async def test_rules_take_what_fits_and_leave_the_rest_to_be_asked_about(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    rules = [
        AcceptRule(peer="ali*", names=("*.JPG",), max_size=MIB, max_files=2, then=Accept(save_to=photos)),
        AcceptRule(room="den"),
    ]
    async with (
        two_pcs() as pcs,
        Session() as alice,
        Session(download_dir=tmp_path, accept=rules) as bob,
    ):
        alice.attach(pcs[0], peer="bob")
        bob.attach(pcs[1], peer="alice")
        await connect(*pcs)
        heard = Heard(bob)
        fits = alice.send_files([from_bytes("a.jpg", b"a"), from_bytes("b.jpg", b"b")], to="bob")
        await fits
        assert names_in(photos) == ["a.jpg", "b.jpg"]
        for things in (
            [from_bytes("a.exe", b"a")],
            [from_bytes("c.jpg", bytes(MIB + 1))],
            [from_bytes(f"{n}.jpg", b"") for n in range(3)],
        ):
            alice.send_files(things, to="bob")
        await heard.first(ev.FileOffered, 4)
        assert len(bob.offers) == 3
        assert len(heard.of(ev.DownloadStarted)) == 1


async def test_a_function_decides_and_a_quota_holds(tmp_path: Path) -> None:
    async def decide(offer: p2pshare.Offer) -> Accept | Decline | None:
        match offer.files[0].name:
            case "no":
                return Decline("not that")
            case "some":
                return Accept(files=offer.files[1:])
            case "oops":
                raise ZeroDivisionError
            case _:
                return Accept()

    async with (
        two_pcs() as pcs,
        Session() as alice,
        Session(download_dir=tmp_path, accept=decide, limits=Limits(max_peer_bytes=10)) as bob,
    ):
        alice.attach(pcs[0], peer="bob")
        bob.attach(pcs[1], peer="alice")
        await connect(*pcs)
        heard = Heard(bob)
        await alice.send_files(from_bytes("a", bytes(6)), to="bob")
        for name, reason in (("no", "not that"), ("b", "more than 10 bytes in all from one peer")):
            with pytest.raises(UploadError) as raised:
                await alice.send_files(from_bytes(name, bytes(6)), to="bob")
            assert raised.value.failures["bob"].reason == reason
        alice.send_files([from_bytes("some", b"1"), from_bytes("other", b"22")], to="bob")
        await heard.first(ev.DownloadCompleted, 2)
        assert names_in(tmp_path) == ["a", "other"]
        alice.send_files(from_bytes("oops", b"1"), to="bob")
        await heard.first(ev.FileOffered, 5)
        assert [offer.files[0].name for offer in bob.offers] == ["some", "oops"]
