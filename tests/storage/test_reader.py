"""Reading files: in order, in batches, and never anything but what was offered."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from p2pshare.errors import StorageAccessDenied, UploadError
from p2pshare.model import BLOCK_SIZE, MIB, Extent, FileEnd, HeldBlocks
from p2pshare.storage import SourceLike, UploadReader, file_digests, from_bytes, list_sources
from tests.storage.conftest import Unprivileged
from tests.storage.transfer import content, end, failure, read_all
from tests.support.needs import only_on


def open_files() -> set[str]:
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.add(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return links


async def test_files_and_folders_come_whole_and_in_order(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    wholes = {"a": os.urandom(3 * MIB + 5), "b": b"", "c": b"small"}
    for name, whole in wholes.items():
        (tree / name).write_bytes(whole)
    things: list[Path | SourceLike] = [tree, from_bytes("last", wholes["a"])]
    pieces = await read_all(await list_sources(things, state_dir=None))
    assert [piece.index for piece in pieces] == sorted(piece.index for piece in pieces)
    assert [content(pieces, index) for index in range(5)] == [*wholes.values(), b"", wholes["a"]]
    assert all(len(piece.payload) <= 65_000 for piece in pieces if isinstance(piece, Extent))


async def test_only_what_is_selected_is_read(tmp_path: Path) -> None:
    sources = await list_sources([from_bytes(name, name.encode()) for name in "abcd"], state_dir=None)
    pieces = await read_all(sources, selection=[1, 3])
    assert {piece.index for piece in pieces} == {1, 3}


async def test_a_batch_holds_about_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(5 * MIB))
    for number in range(3000):
        (tmp_path / f"empty {number}").write_bytes(b"")
    sources = await list_sources([tmp_path], state_dir=None)
    reader = UploadReader(sources, selection=range(len(sources)), held=(), chunk_size=65_000)
    batches = []
    while batch := await reader.next_batch(256 * 1024):
        batches.append(batch)
    await reader.close()
    assert await reader.next_batch(1) == []
    for batch in batches:
        assert sum(len(piece.payload) for piece in batch if isinstance(piece, Extent)) < 256 * 1024 + 65_000
        assert len(batch) <= 2048 + 1
    assert reader.hashed == 5 * MIB


@only_on("linux")
async def test_a_file_is_open_only_while_it_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(3 * MIB))
    sources = await list_sources([tmp_path / "a", tmp_path / "b"], state_dir=None)
    reader = UploadReader(sources, selection=[0, 1], held=(), chunk_size=65_000)
    assert not open_files() & {str(tmp_path / "a"), str(tmp_path / "b")}
    await reader.next_batch(MIB)
    await reader.next_batch(MIB)
    assert open_files() & {str(tmp_path / "a"), str(tmp_path / "b")} == {str(tmp_path / "a")}
    await reader.close()
    await reader.close()
    assert not open_files() & {str(tmp_path / "a"), str(tmp_path / "b")}


@pytest.mark.parametrize("kind", ["file", "bytes"])
async def test_held_blocks_are_left_out_where_they_are_equal(tmp_path: Path, kind: str) -> None:
    whole = os.urandom(4 * BLOCK_SIZE + 99)
    (tmp_path / "x").write_bytes(whole)
    thing = tmp_path / "x" if kind == "file" else from_bytes("x", whole)
    sources = await list_sources([thing], state_dir=None)
    digests = [blake3(whole[at : at + BLOCK_SIZE]).digest() for at in range(0, len(whole), BLOCK_SIZE)]
    held = [
        HeldBlocks(0, 1, (digests[1], bytes(32))),  # the second of them is not what we have
        HeldBlocks(0, 4, (digests[4], b"beyond the end, nobody looks")),
    ]
    pieces = await read_all(sources, held=held)
    sent = bytearray(len(whole))
    for piece in pieces:
        if isinstance(piece, Extent):
            sent[piece.offset : piece.offset + len(piece.payload)] = piece.payload
    assert sent[:BLOCK_SIZE] == whole[:BLOCK_SIZE]
    assert sent[BLOCK_SIZE : 2 * BLOCK_SIZE] == bytes(BLOCK_SIZE)
    assert sent[2 * BLOCK_SIZE : 4 * BLOCK_SIZE] == whole[2 * BLOCK_SIZE : 4 * BLOCK_SIZE]
    assert sent[4 * BLOCK_SIZE :] == bytes(99)
    assert pieces[-1] == end(0, whole)


async def test_a_file_that_is_all_held_is_only_its_end(tmp_path: Path) -> None:
    whole = os.urandom(2 * BLOCK_SIZE)
    (tmp_path / "x").write_bytes(whole)
    sources = await list_sources([tmp_path / "x"], state_dir=None)
    digests = tuple(blake3(whole[at : at + BLOCK_SIZE]).digest() for at in (0, BLOCK_SIZE))
    assert await read_all(sources, held=[HeldBlocks(0, 0, digests)]) == [end(0, whole)]


@pytest.mark.parametrize("change", ["grows", "shrinks", "touched", "replaced"])
async def test_a_file_that_changed_since_it_was_listed_fails(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(100))
    sources = await list_sources([path, from_bytes("y", b"next")], state_dir=None)
    match change:
        case "grows":
            path.write_bytes(bytes(101))
        case "shrinks":
            os.truncate(path, 99)
        case "touched":
            os.utime(path, ns=(1, 1))
        case "replaced":
            found = path.stat()
            (tmp_path / "new").write_bytes(bytes(100))
            os.utime(tmp_path / "new", ns=(found.st_mtime_ns, found.st_mtime_ns))
            (tmp_path / "new").rename(path)
    pieces = await read_all(sources)
    assert content(pieces, 1) == b"next"
    error = failure(pieces[:1])
    assert isinstance(error, UploadError)
    assert (error.code, error.file, error.reason) == (1182, "x", "the file changed while it was being sent")


@pytest.mark.parametrize("change", ["grows", "shrinks", "touched"])
async def test_a_file_that_changes_while_it_is_read_fails_and_no_byte_too_many_is_sent(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "x"
    size = 8 * MIB
    path.write_bytes(bytes(size))
    sources = await list_sources([path], state_dir=None)
    reader = UploadReader(sources, selection=[0], held=(), chunk_size=65_000)
    pieces = await reader.next_batch(MIB)
    match change:
        case "grows":
            with path.open("ab") as file:
                file.write(bytes(MIB))
        case "shrinks":
            os.truncate(path, size // 2)
        case "touched":
            os.utime(path, ns=(1, 1))
    while batch := await reader.next_batch(MIB):
        pieces.extend(batch)
    await reader.close()
    error = failure(pieces)
    assert isinstance(error, UploadError)
    assert ("shorter" if change == "shrinks" else "changed") in error.reason
    sent = sum(len(piece.payload) for piece in pieces if isinstance(piece, Extent))
    assert sent <= size


async def test_a_file_that_is_gone_fails_and_the_others_arrive(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    sources = await list_sources([tmp_path / name for name in "abc"], state_dir=None)
    (tmp_path / "b").unlink()
    pieces = await read_all(sources)
    assert (content(pieces, 0), content(pieces, 2)) == (b"a", b"c")
    error = failure([piece for piece in pieces if piece.index == 1])
    assert isinstance(error, UploadError)
    assert "removed" in error.reason
    assert isinstance(error.__cause__, FileNotFoundError)


async def test_a_file_that_may_no_longer_be_read_is_access_denied(
    open_place: Path, unprivileged: Unprivileged
) -> None:
    path = open_place / "x"
    path.write_bytes(b"x")
    sources = await list_sources([path], state_dir=None)
    path.chmod(0)
    with unprivileged():
        error = failure(await read_all(sources))
    assert isinstance(error, StorageAccessDenied)
    assert isinstance(error.__cause__, PermissionError)


@only_on("linux")
async def test_a_link_put_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "x").write_bytes(b"x")
    sources = await list_sources([tmp_path / "x"], state_dir=None)
    (tmp_path / "x").unlink()
    (tmp_path / "x").symlink_to("secret")
    assert isinstance(failure(await read_all(sources)), StorageAccessDenied)


async def test_the_loop_runs_on_and_the_next_batch_is_read_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(bytes(3 * MIB))
    sources = await list_sources([tmp_path / "x"], state_dir=None)
    loop, disk = asyncio.get_running_loop(), threading.Event()
    is_stuck = asyncio.Event()
    real = os.pread

    def stuck(fd: int, length: int, offset: int) -> bytes:
        if offset >= MIB:
            loop.call_soon_threadsafe(is_stuck.set)
            assert disk.wait(60), "the loop waited for the disk"
        return real(fd, length, offset)

    monkeypatch.setattr("p2pshare.storage.reading._pread", stuck)
    reader = UploadReader(sources, selection=[0], held=(), chunk_size=65_536)
    batch = await reader.next_batch(MIB)
    await is_stuck.wait()  # nobody has asked for the next one yet
    disk.set()
    while more := await reader.next_batch(MIB):
        batch += more
    await reader.close()
    assert len(content(batch)) == 3 * MIB


async def test_closing_in_the_middle_of_a_read_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(bytes(MIB))
    sources = await list_sources([tmp_path / "x"], state_dir=None)
    loop, disk = asyncio.get_running_loop(), threading.Event()
    is_stuck = asyncio.Event()
    real = os.pread

    def stuck(fd: int, length: int, offset: int) -> bytes:
        loop.call_soon_threadsafe(is_stuck.set)
        assert disk.wait(60)
        return real(fd, length, offset)  # EBADF, had the file been closed

    monkeypatch.setattr("p2pshare.storage.reading._pread", stuck)
    reader = UploadReader(sources, selection=[0], held=(), chunk_size=65_536)
    reading = asyncio.create_task(reader.next_batch(MIB))
    await is_stuck.wait()
    closing = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    assert not closing.done()
    disk.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_digests_are_of_what_can_be_read_again(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    things: list[Path | SourceLike] = [*(tmp_path / name for name in "abc"), from_bytes("d", b"d")]
    sources = await list_sources(things, state_dir=None)
    (tmp_path / "b").unlink()
    assert await file_digests(sources, [0, 1, 3]) == [end(0, b"a" * 100_000), end(3, b"d")]
    assert await file_digests(sources, []) == []


def test_a_file_end_is_what_blake3_says() -> None:
    assert end(0, b"") == FileEnd(0, 0, blake3(b"").digest())


async def test_digests_that_nobody_wants_any_more_are_not_made(tmp_path: Path) -> None:
    sources = await list_sources([from_bytes("a", b"1"), from_bytes("b", b"2")], state_dir=None)
    assert len(await file_digests(sources, [0, 1], lambda: True)) == 2
    assert await file_digests(sources, [0, 1], lambda: False) == []
