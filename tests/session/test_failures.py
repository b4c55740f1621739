"""What goes wrong ends in a clear error at both ends, and nothing that was there is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

import p2pshare
from p2pshare import events as ev
from p2pshare.errors import (
    ConnectionLost,
    FileTooLarge,
    SaveFailed,
    StorageAccessDenied,
    TransferError,
    TransferStalled,
    UploadError,
)
from p2pshare.model import EVERYONE, MIB, Limits
from p2pshare.storage import from_bytes, from_stream
from signaling.server import SignalingServer
from tests.session.peers import Heard, Pair, offer_of, pair
from tests.support.needs import needs_command, needs_tmpfs

HASTY = Limits(reconnect_timeout_s=0, silence_timeout_s=1.0, lost_timeout_s=2.0)


async def failure_of(upload: p2pshare.Upload, peer: str = "bob") -> TransferError:
    with pytest.raises(UploadError) as raised:
        await upload
    failure = raised.value.failures[peer]
    assert failure.peer == peer
    assert failure.job_id == upload.id
    return failure


async def test_a_source_that_is_not_there_is_5089_and_nothing_is_offered(tmp_path: Path) -> None:
    async with pair(tmp_path) as peers:
        with pytest.raises(StorageAccessDenied) as raised:
            await peers.alice.send_files(tmp_path / "nothing.bin", to="bob")
        assert raised.value.code == 5089
        assert isinstance(raised.value.__cause__, OSError)
        assert "nothing.bin" in str(raised.value)
        assert not peers.bob.available_files
        assert not peers.alice.uploads


async def test_a_file_above_the_receivers_limit_fails_with_the_limit_before_a_byte_is_read(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, bob_limits=Limits(max_file_size=1000)) as peers:
        bob = Heard(peers.bob)
        failure = await failure_of(peers.alice.send_files(from_bytes("big.bin", bytes(2000)), to="bob"))
        assert isinstance(failure, FileTooLarge)
        assert failure.code == 1185
        assert (failure.size, failure.limit) == (2000, 1000)
        assert "1,000" in str(failure)
        assert not bob.of(ev.FileOffered)
        upload = peers.alice.send_files(from_bytes("small.bin", bytes(1000)), to="bob")
        await peers.bob.download_file((await offer_of(bob)).files[0], save_to=None)
        await upload


async def test_a_stream_that_grows_beyond_the_limit_ends_the_link(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(500)

    async with pair(tmp_path, bob_limits=Limits(max_file_size=100_000)) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_stream("endless", endless()), to="bob")
        with pytest.raises(TransferError):
            await peers.bob.download_file((await offer_of(heard)).files[0], save_to=None)
        await failure_of(upload)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@needs_tmpfs()
@needs_command("mount", "umount")
async def test_a_full_disk_is_5090_at_both_ends_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        async with pair(disk, bob_limits=Limits(disk_reserve=0)) as peers:
            await _is_refused_for_space(peers, disk)


async def _is_refused_for_space(peers: Pair, disk: Path) -> None:
    heard = Heard(peers.bob)

    async def stream() -> AsyncIterator[bytes]:  # of unknown length: the disk fills up while it arrives
        for _ in range(80):
            yield bytes(100_000)

    for thing in (from_bytes("declared", bytes(8 * MIB)), from_stream("unknown", stream())):
        upload = peers.alice.send_files(thing, to="bob")
        offer = await offer_of(heard, len(heard.of(ev.FileOffered)) + 1)
        with pytest.raises(SaveFailed) as raised:
            await peers.bob.download_file(offer.files[0])
        assert raised.value.code == 5090
        peers.bob.decline(offer)
        assert (await failure_of(upload)).code in (5090, 6002)
        assert os.listdir(disk) == []
    upload = peers.alice.send_files(from_bytes("fits", bytes(MIB)), to="bob")
    offer = await offer_of(heard, len(heard.of(ev.FileOffered)) + 1)
    path = await peers.bob.download_file(offer.files[0])
    assert path.stat().st_size == MIB
    await upload


@pytest.mark.parametrize("change", ["shrinks", "is rewritten"])
async def test_a_source_that_changes_while_it_is_sent_is_1182(tmp_path: Path, change: str) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(64 * MIB))
    async with pair(tmp_path / "inbox") as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(source, to="bob")
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        await heard.first(ev.DownloadProgress)
        if change == "shrinks":
            os.truncate(source, MIB)
        else:
            source.write_bytes(b"\1" * 64 * MIB)
        failure = await failure_of(upload)
        assert failure.code == 1182
        assert "source.bin" in str(failure)
        with pytest.raises(TransferError) as raised:
            await download
        assert raised.value.remote
        assert raised.value.code == 1182
    assert not (tmp_path / "inbox" / "source.bin").exists()


async def test_a_stream_that_raises_fails_its_own_file_and_not_the_others(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("the camera was unplugged")

    async with pair(tmp_path) as peers:
        heard = Heard(peers.bob)
        things = [from_bytes("a", b"1"), from_stream("b", broken()), from_bytes("c", b"3")]
        upload = peers.alice.send_files(things, to="bob")
        download = peers.bob.download_files((await offer_of(heard)).files)
        with pytest.raises(TransferError) as raised:
            await download
        assert raised.value.file == "b"
        assert (tmp_path / "a").read_bytes() + (tmp_path / "c").read_bytes() == b"13"
        await failure_of(upload)
        assert upload.deliveries["bob"].confirmed == {0, 2}


async def test_nothing_moving_for_the_stall_timeout_is_6003(tmp_path: Path) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"a beginning"
        await asyncio.Event().wait()

    limits = Limits(stall_timeout_s=1.0)
    async with pair(tmp_path, alice_limits=limits, bob_limits=limits) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_stream("s", silent()), to="bob")
        download = peers.bob.download_file((await offer_of(heard)).files[0])
        with pytest.raises(TransferStalled) as raised:
            await download
        assert raised.value.code == 6003
        assert isinstance(await failure_of(upload), TransferStalled)


async def test_an_offer_that_nobody_answers_expires_as_declined(tmp_path: Path) -> None:
    async with pair(tmp_path, alice_limits=Limits(offer_timeout_s=0.2)) as peers:
        heard = Heard(peers.bob)
        upload = peers.alice.send_files(from_bytes("a", b"1"), to="bob")
        await heard.first(ev.FileUnavailable)
        assert (await failure_of(upload)).code == 6002


class Process:
    """A peer in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, *arguments: str) -> Process:
        command = [sys.executable, "-m", "tests.session.peer_process", *arguments]
        return cls(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


async def test_a_receiver_that_is_killed_ends_the_upload_as_connection_lost(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(256 * MIB))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))
        joining = p2pshare.join(server.url, room="den", name="alice", limits=HASTY)
        alice = await stack.enter_async_context(joining)
        bob = await Process.start(server.url, "bob", "receive", str(tmp_path / "inbox"))
        stack.push_async_callback(bob.kill)
        upload = alice.send_files(source, to=EVERYONE)
        assert await bob.line() == "joined"
        assert int(await bob.line()) > 0
        await bob.kill()
        failure = await failure_of(upload)
        assert isinstance(failure, ConnectionLost)
        upload.close()


async def test_a_sender_that_is_killed_leaves_a_part_and_the_next_download_goes_on_from_it(
    tmp_path: Path,
) -> None:
    source, inbox = tmp_path / "source.bin", tmp_path / "inbox"
    source.write_bytes(os.urandom(48 * MIB))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SignalingServer("127.0.0.1", 0))
        joining = p2pshare.join(server.url, room="den", name="bob", limits=HASTY, download_dir=inbox)
        bob = await stack.enter_async_context(joining)
        heard = Heard(bob)
        alice = await Process.start(server.url, "alice", "send", str(source))
        stack.push_async_callback(alice.kill)
        download = bob.download_file((await offer_of(heard)).files[0])
        async for progress in download:
            if progress.stored > 8 * MIB:
                await alice.kill()
                break
        with pytest.raises(ConnectionLost):
            await download
        again = await Process.start(server.url, "alice", "send", str(source))
        stack.push_async_callback(again.kill)
        resumed = bob.download_file((await offer_of(heard, 2)).files[0])
        path = await resumed
        assert path.read_bytes() == source.read_bytes()
        of_resumed = [event for event in heard.of(ev.DownloadProgress) if event.job_id == resumed.id]
        assert of_resumed[0].progress.stored > 8 * MIB, "what was held is there from the start"
    assert [each.name for each in inbox.iterdir()] == ["source.bin"]
