"""A job that pauses gives back what it has not sent, and holds nothing until it goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from p2pshare.errors import UploadError
from p2pshare.model import BLOCK_SIZE, MIB, Extent, HeldBlocks, Piece
from p2pshare.storage import FileFailed, SourceLike, UploadReader, from_bytes, from_stream, list_sources
from tests.storage.test_reader import open_files
from tests.storage.transfer import content, end, failure
from tests.support.needs import only_on


async def reader_of(*things: Path | SourceLike, held: tuple[HeldBlocks, ...] = ()) -> UploadReader:
    sources = await list_sources(things, state_dir=None)
    return UploadReader(sources, selection=range(len(sources)), held=held, chunk_size=65_000)


def sent(pieces: list[Extent | FileFailed | Piece]) -> list[Piece]:
    """Pieces that are no failures."""
    assert not any(isinstance(piece, FileFailed) for piece in pieces)
    return pieces  # type: ignore[return-value]  # as was said


async def rest_of(reader: UploadReader) -> list[Extent | FileFailed | Piece]:
    pieces: list[Extent | FileFailed | Piece] = []
    while batch := await reader.next_batch(MIB):
        pieces += batch
    await reader.close()
    return pieces


async def test_what_was_put_back_comes_again_and_the_rest_after_it(tmp_path: Path) -> None:
    whole = os.urandom(3 * MIB + 5)
    (tmp_path / "a").write_bytes(whole)
    reader = await reader_of(tmp_path / "a", from_bytes("b", whole), from_bytes("c", b""))
    pieces = sent(await reader.next_batch(MIB))
    for kept in (3, 5, 5, 9):
        await reader.put_back(pieces[kept:])
        pieces = pieces[:kept] + sent(await reader.next_batch(MIB))
    await reader.put_back(pieces[10:])
    await reader.put_back([])
    pieces = pieces[:10] + sent(await rest_of(reader))
    assert [content(pieces, at) for at in range(3)] == [whole, whole, b""]


async def test_the_same_pieces_come_in_order_however_often_they_are_put_back(tmp_path: Path) -> None:
    names = [f"f{at}" for at in range(40)]
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(os.urandom(at * 5_000))
    plain = await reader_of(*(tmp_path / name for name in names))
    expected = await rest_of(plain)
    reader = await reader_of(*(tmp_path / name for name in names))
    pieces: list[Piece] = []
    at = 0
    while batch := sent(await reader.next_batch(100_000)):
        at += 1
        kept = len(batch) * (at % 3) // 2
        pieces += batch[:kept]
        if kept < len(batch):
            await reader.put_back(batch[kept:])
    assert pieces == expected
    await reader.close()


@only_on("linux")
async def test_a_job_at_rest_has_no_file_open_and_no_bytes_in_memory(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(8 * MIB))
    reader = await reader_of(tmp_path / "a")
    tracemalloc.start()
    try:
        batch = sent(await reader.next_batch(2 * MIB))
        assert str(tmp_path / "a") in open_files()
        await reader.put_back(batch)
        del batch
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
    assert str(tmp_path / "a") not in open_files()
    assert content(await rest_of(reader)) == bytes(8 * MIB)
    assert str(tmp_path / "a") not in open_files()


async def test_nothing_is_hashed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0

    class Counting:
        def __init__(self) -> None:
            self._hasher = blake3()

        def update(self, payload: bytes) -> None:
            nonlocal hashed
            hashed += len(payload)
            self._hasher.update(payload)

        def digest(self) -> bytes:
            return self._hasher.digest()

    monkeypatch.setattr("p2pshare.storage.block_cache.blake3", Counting)
    whole = os.urandom(5 * MIB + 9)
    (tmp_path / "a").write_bytes(whole)
    reader = await reader_of(tmp_path / "a")
    pieces: list[Piece] = []
    while batch := sent(await reader.next_batch(MIB)):
        pieces += batch[:3]
        if batch[3:]:
            await reader.put_back(batch[3:])
    await reader.close()
    assert content(pieces) == whole
    assert hashed == len(whole)


async def test_blocks_that_the_receiver_holds_stay_left_out(tmp_path: Path) -> None:
    whole = os.urandom(6 * BLOCK_SIZE)
    (tmp_path / "a").write_bytes(whole)
    digests = tuple(blake3(whole[at : at + BLOCK_SIZE]).digest() for at in range(0, len(whole), BLOCK_SIZE))
    reader = await reader_of(tmp_path / "a", held=(HeldBlocks(0, 1, digests[1:4]),))
    pieces: list[Piece] = []
    while batch := sent(await reader.next_batch(MIB)):
        pieces += batch[:9]
        if batch[9:]:
            await reader.put_back(batch[9:])
    await reader.close()
    blocks = {piece.offset // BLOCK_SIZE for piece in pieces if isinstance(piece, Extent)}
    assert blocks == {0, 4, 5}
    assert sum(len(piece.payload) for piece in pieces if isinstance(piece, Extent)) == 3 * BLOCK_SIZE
    assert pieces[-1] == end(0, whole)


@pytest.mark.parametrize("size", [1_000, 5 * MIB])
@pytest.mark.parametrize("change", ["touched", "shrinks", "removed"])
async def test_a_file_that_changed_while_the_job_was_at_rest_fails(
    tmp_path: Path, change: str, size: int
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    reader = await reader_of(path, from_bytes("b", b"next"))
    batch = sent(await reader.next_batch(MIB))
    await reader.put_back(batch[1:])
    match change:
        case "touched":
            os.utime(path, ns=(1, 1))
        case "shrinks":
            os.truncate(path, size // 2)
        case "removed":
            path.unlink()
    pieces = await rest_of(reader)
    assert content(pieces, 1) == b"next"
    error = failure([piece for piece in pieces if piece.index == 0])
    assert isinstance(error, UploadError)
    assert error.file == "a"


async def test_the_end_alone_is_not_given_again_of_a_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(1_000))
    reader = await reader_of(path)
    batch = sent(await reader.next_batch(MIB))
    await reader.put_back(batch[-1:])
    os.utime(path, ns=(1, 1))
    assert isinstance(failure(await rest_of(reader)), UploadError)


async def test_what_a_stream_gave_is_kept_and_what_it_has_not_given_is_not_lost() -> None:
    more, is_asked = asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        is_asked.set()
        await more.wait()
        yield b"second"

    reader = await reader_of(from_stream("s", chunks()), from_bytes("b", b"next"))
    batch = sent(await reader.next_batch(MIB))
    assert batch == [Extent(0, 0, b"first")]
    await is_asked.wait()  # the next chunk is being waited for
    await reader.put_back(batch)
    assert await reader.next_batch(MIB) == batch
    await reader.put_back([])
    more.set()
    pieces = [*batch, *await rest_of(reader)]
    assert content(pieces, 0) == b"firstsecond"
    assert content(pieces, 1) == b"next"


async def test_a_reader_at_rest_can_be_closed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 * MIB))
    reader = await reader_of(tmp_path / "a")
    batch = sent(await reader.next_batch(MIB))
    await reader.put_back(batch)
    await reader.close()
    assert await reader.next_batch(MIB) == []
    await reader.put_back(batch)
    assert await reader.next_batch(MIB) == []
