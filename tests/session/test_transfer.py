"""Files between two sessions over a real connection: what arrives, and what both sides are told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pshare import events as ev
from p2pshare.errors import OfferDeclined, TransferCancelled, UploadError
from p2pshare.model import EVERYONE, MIB
from p2pshare.session import DeliveryState
from p2pshare.storage import from_bytes, from_stream
from tests.session.peers import Heard, offer_of, pair


async def test_a_file_arrives_and_both_sides_hear_of_it(tmp_path: Path) -> None:
    source = tmp_path / "data.bin"
    source.write_bytes(os.urandom(3 * MIB + 17))
    async with pair(tmp_path / "inbox") as peers:
        alice, bob = Heard(peers.alice), Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob", message="for you")
        offer = await offer_of(bob)
        assert (offer.peer, offer.message, offer.size) == ("alice", "for you", source.stat().st_size)
        path = await peers.bob.download_file(offer.files[0])
        result = await upload
    assert path == tmp_path / "inbox" / "data.bin"
    assert path.read_bytes() == source.read_bytes()
    assert result.completed == ["bob"]
    assert not result.failures
    assert alice.of(ev.UploadStarted)
    assert [event.peer for event in alice.of(ev.UploadCompleted)] == ["bob"]
    assert len(alice.of(ev.UploadClosed)) == 1
    assert [event.file.name for event in bob.of(ev.FileAvailable)] == ["data.bin"]
    assert len(bob.of(ev.DownloadStarted)) == len(bob.of(ev.DownloadCompleted)) == 1


async def test_a_tree_arrives_with_its_empty_folder_and_times(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "deep" / "er" / "ü.txt").write_text("deep")
    (tree / "zero").write_bytes(b"")
    os.utime(tree / "zero", ns=(1, 1_000_000_000_000_000_000))
    async with pair(tmp_path / "inbox") as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(tree, to=["bob"])
        await peers.bob.download_files((await offer_of(heard)).files)
        await upload
    inbox = tmp_path / "inbox" / "tree"
    assert (inbox / "deep" / "er" / "ü.txt").read_text() == "deep"
    assert (inbox / "zero").stat().st_mtime_ns == 1_000_000_000_000_000_000
    assert (inbox / "empty").is_dir()


async def test_bytes_and_streams_can_be_sent_and_taken_into_memory(tmp_path: Path) -> None:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield str(number).encode()

    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        things = [from_bytes("a.bin", b"\0" * 100_000), from_bytes("b", b""), from_stream("c", numbers())]
        upload = peers.alice.send_files(things, to="bob")
        a, b, c = await peers.bob.download_files((await offer_of(heard)).files, save_to=None)
        await upload
    assert (a, b, c) == (b"\0" * 100_000, b"", "".join(map(str, range(1000))).encode())


async def test_some_files_can_be_taken_and_the_rest_declined(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files([from_bytes("a", b"1"), from_bytes("b", b"2")], to="bob")
        offer = await offer_of(heard)
        assert await peers.bob.download_file(offer.files[1], save_to=None) == b"2"
        assert not upload.done
        peers.bob.decline(offer)
        result = await upload
    assert result.deliveries["bob"].confirmed == {1}


async def test_a_declined_offer_fails_the_upload_with_the_reason(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        peers.bob.decline(await offer_of(heard), "not today\x1b[31m")
        with pytest.raises(UploadError) as raised:
            await upload
        assert not peers.bob.available_files
    failure = raised.value.failures["bob"]
    assert isinstance(failure, OfferDeclined)
    assert "not today" in str(failure)
    assert "\x1b" not in str(raised.value)
    assert upload.deliveries["bob"].state is DeliveryState.DECLINED


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_cancel_in_the_middle_ends_both_sides_as_cancelled(tmp_path: Path, side: str) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(256 * MIB))
    async with pair(tmp_path / "inbox") as peers:
        alice, bob = Heard(peers.alice), Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob")
        download = peers.bob.download_file((await offer_of(bob)).files[0])
        await bob.first(ev.DownloadProgress)
        if side == "sender":
            peers.alice.cancel_upload(upload.id, "changed my mind")
        else:
            peers.bob.cancel_download(download.id, "changed my mind")
        with pytest.raises(TransferCancelled) as cancelled:
            await download
        await upload.wait()
        assert cancelled.value.remote == (side == "sender")
        assert "changed my mind" in str(cancelled.value)
        assert upload.deliveries["bob"].state is DeliveryState.CANCELLED
        assert (await alice.first(ev.UploadCancelled)).error.remote == (side == "receiver")
        assert bob.of(ev.DownloadCancelled)
        with pytest.raises(Exception, match="changed my mind"):
            await upload
        # The link is as good as before.
        again = peers.alice.send_files(from_bytes("next", b"next"), to="bob")
        offer = await offer_of(bob, 2)
        assert await peers.bob.download_file(offer.files[0], save_to=None) == b"next"
        await again
    assert list((tmp_path / "inbox").iterdir()) == []


async def test_cancelling_who_awaits_cancels_the_transfer_but_a_watcher_does_not(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        await offer_of(heard)
        watcher = asyncio.ensure_future(upload.wait())
        waiter = asyncio.ensure_future(_awaited(upload))
        await asyncio.sleep(0)
        watcher.cancel()
        await asyncio.wait([watcher])
        assert not upload.done
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        await heard.first(ev.FileUnavailable)
        with pytest.raises(TransferCancelled):
            await upload


async def _awaited(upload: object) -> object:
    return await upload  # type: ignore[misc]  # any handle


async def test_iterating_a_download_ends_with_all_of_it(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(bytes(8 * MIB))
    async with pair(tmp_path / "inbox") as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob")
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        seen = [progress async for progress in download]
        uploaded = [progress async for progress in upload]
        await upload
    assert seen[-1].stored == seen[-1].size == 8 * MIB
    assert [p.stored for p in seen] == sorted(p.stored for p in seen)
    assert uploaded[-1].stored == 8 * MIB
    assert uploaded[-1].files_done == 1


async def test_many_downloads_at_once_queue_for_streams(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        things = [from_bytes(f"{n}.bin", bytes([n]) * 200_000) for n in range(40)]
        upload = peers.alice.send_files(things, to="bob")
        offer = await offer_of(heard)
        downloads = [peers.bob.download_file(file, save_to=None) for file in offer.files]
        for number, download in enumerate(downloads):
            assert await download == bytes([number]) * 200_000
        assert (await upload).completed == ["bob"]


async def test_both_directions_at_once(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        alice, bob = Heard(peers.alice), Heard(peers.bob)
        there = peers.alice.send_files(from_bytes("there", b"a" * MIB), to="bob")
        back = peers.bob.send_files(from_bytes("back", b"b" * MIB), to="alice")
        at_bob = peers.bob.download_file((await offer_of(bob)).files[0], save_to=None)
        at_alice = peers.alice.download_file((await offer_of(alice)).files[0], save_to=None)
        assert await at_bob == b"a" * MIB
        assert await at_alice == b"b" * MIB
        await there
        await back


async def test_everyone_stays_open_until_it_is_closed(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to=EVERYONE)
        offer = await offer_of(heard)
        for _ in range(2):
            assert await peers.bob.download_file(offer.files[0], save_to=None) == b"1"
        await upload
        assert peers.bob.available_files
        upload.close()
        await heard.first(ev.FileUnavailable)
        assert not peers.bob.available_files
        assert not peers.alice.uploads


async def test_an_unknown_recipient_is_a_value_error_that_names_who_is_there(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        with pytest.raises(ValueError, match=r"'eve'.*'bob'"):
            peers.alice.send_files(from_bytes("a", b""), to="eve")
        with pytest.raises(ValueError, match="no recipient"):
            peers.alice.send_files(from_bytes("a", b""), to=[])
        with pytest.raises(ValueError, match="nothing to send"):
            peers.alice.send_files([], to="bob")


async def test_closing_a_session_ends_everything_and_leaves_the_connection(tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(64 * MIB))
    async with pair(tmp_path / "inbox") as peers:
        bob = Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob")
        download = peers.bob.download_file((await offer_of(bob)).files[0])
        await bob.first(ev.DownloadProgress)
        await peers.alice.close()
        with pytest.raises(TransferCancelled):
            await download
        with pytest.raises(TransferCancelled):
            await upload
        await bob.first(ev.PeerLeft)
        assert not peers.bob.peers
        assert peers.alice_pc.connectionState == peers.bob_pc.connectionState == "connected"


@pytest.mark.parametrize("thing", [b"raw bytes", [b"raw bytes"], [7]])
async def test_what_has_no_name_is_a_type_error_that_says_what_to_do(tmp_path: Path, thing: object) -> None:
    async with pair(tmp_path) as peers:
        with pytest.raises(TypeError, match="from_bytes"):
            peers.alice.send_files(thing, to="bob")  # type: ignore[arg-type]  # that is what is tested
        assert not peers.alice.uploads


async def test_only_events_can_be_listened_to(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        with pytest.raises(TypeError, match="OfferDeclined"):
            peers.alice.on(OfferDeclined, print)  # type: ignore[type-var]  # that is what is tested


async def test_the_error_of_an_upload_names_who_did_not_get_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        peers.bob.decline(await offer_of(heard), "no thanks")
        with pytest.raises(UploadError, match=r"Not delivered to 'bob' \(no thanks\)") as raised:
            await upload
        assert raised.value.code == 1182
