"""A connection that is lost in the middle: what is here stays, and only the rest comes again."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import IntegrityError, OfferDeclined, SaveFailed
from p2pshare.model import BLOCK_SIZE, Conflict, Extent, FileKind, HeldBlocks, OfferedFile, Piece
from p2pshare.storage import (
    BaseSink,
    BlockCache,
    FolderSink,
    MemorySink,
    Sink,
    Stored,
    UploadReader,
    list_sources,
    positioned,
)
from tests.storage.test_resume import digests
from tests.storage.transfer import NO_RESERVE, StuckDisk, end, extents, offered, read_all, save_error, tree

WHOLE = os.urandom(5 * BLOCK_SIZE + 1234)
FILE = offered("a.bin", WHOLE)


def new_sink(kind: str, folder: Path, files: Sequence[OfferedFile] = (FILE,)) -> Sink:
    return MemorySink(files) if kind == "memory" else FolderSink(folder, files, limits=NO_RESERVE)


def result(sink: Sink, index: int = 0) -> bytes:
    return sink.contents[index] if sink.contents else sink.paths[index].read_bytes()


KINDS = pytest.mark.parametrize("kind", ["folder", "memory"])


@KINDS
async def test_what_was_whole_when_the_connection_was_lost_does_not_come_again(
    tmp_path: Path, kind: str
) -> None:
    sink = new_sink(kind, tmp_path)
    assert await sink.open() == []
    start = 0
    for blocks in (1, 2, 2, 4):
        await sink.store(extents(0, WHOLE[: blocks * BLOCK_SIZE + 77], start=start))
        assert await sink.reopen() == [HeldBlocks(0, 0, digests(WHOLE, 0, blocks))]
        assert await sink.reopen() == [HeldBlocks(0, 0, digests(WHOLE, 0, blocks))]
        start = blocks * BLOCK_SIZE
    report = await sink.store([*extents(0, WHOLE, start=start), end(0, WHOLE)])
    assert list(report.confirmed) == [0]
    assert result(sink) == WHOLE
    assert await sink.reopen() == []
    assert result(sink) == WHOLE
    await sink.close(keep_parts=False)


@KINDS
async def test_a_file_that_only_lacked_its_end_needs_only_that(tmp_path: Path, kind: str) -> None:
    sink = new_sink(kind, tmp_path)
    await sink.open()
    await sink.store(extents(0, WHOLE))
    assert await sink.reopen() == [HeldBlocks(0, 0, digests(WHOLE, 0, 6))]
    assert list((await sink.store([end(0, WHOLE)])).confirmed) == [0]
    assert result(sink) == WHOLE
    await sink.close(keep_parts=False)


@KINDS
async def test_files_that_are_confirmed_stay_and_small_ones_begin_anew(tmp_path: Path, kind: str) -> None:
    files = [offered("done", b"done"), offered("small", b"12345", 1), replace(FILE, index=2)]
    sink = new_sink(kind, tmp_path, files)
    await sink.open()
    await sink.store([*extents(0, b"done"), end(0, b"done"), Extent(1, 0, b"123")])
    assert await sink.reopen() == []
    assert set(sink.paths) | set(sink.contents) == {0}
    report = await sink.store([*extents(1, b"12345"), end(1, b"12345"), *extents(2, WHOLE[:-9])])
    assert list(report.confirmed) == [1]
    assert await sink.reopen() == [HeldBlocks(2, 0, digests(WHOLE, 0, 5))]
    report = await sink.store([*extents(2, WHOLE, start=5 * BLOCK_SIZE), end(2, WHOLE)])
    assert list(report.confirmed) == [2]
    assert [result(sink, at) for at in range(3)] == [b"done", b"12345", WHOLE]
    await sink.close(keep_parts=False)


@KINDS
async def test_a_file_of_unknown_size_begins_anew(tmp_path: Path, kind: str) -> None:
    sink = new_sink(kind, tmp_path, [OfferedFile(0, ("s",), None)])
    await sink.open()
    await sink.store(extents(0, WHOLE[: 2 * BLOCK_SIZE]))
    assert await sink.reopen() == []
    assert list((await sink.store([*extents(0, WHOLE), end(0, WHOLE)])).confirmed) == [0]
    assert result(sink) == WHOLE
    await sink.close(keep_parts=False)


@KINDS
async def test_held_blocks_that_the_sender_has_no_more_are_replaced(tmp_path: Path, kind: str) -> None:
    changed = bytearray(WHOLE)
    changed[BLOCK_SIZE + 5] ^= 1
    new = bytes(changed)
    sink = new_sink(kind, tmp_path)
    await sink.open()
    await sink.store(extents(0, WHOLE[: 3 * BLOCK_SIZE + 9]))
    held = await sink.reopen()
    (tmp_path / "source").write_bytes(new)
    pieces = await read_all(await list_sources([tmp_path / "source"], state_dir=None), held=held)
    again = {piece.offset // BLOCK_SIZE for piece in pieces if isinstance(piece, Extent)}
    assert again == {1, 3, 4, 5}
    report = await sink.store(pieces)  # type: ignore[arg-type]  # nothing fails
    assert list(report.confirmed) == [0]
    assert result(sink) == new
    await sink.close(keep_parts=False)


@KINDS
async def test_bytes_that_differ_from_their_digest_after_all_fail_the_file(tmp_path: Path, kind: str) -> None:
    sink = new_sink(kind, tmp_path)
    await sink.open()
    await sink.store(extents(0, WHOLE[: 2 * BLOCK_SIZE]))
    await sink.reopen()
    error = await save_error(sink, [*extents(0, WHOLE, start=2 * BLOCK_SIZE), end(0, WHOLE[::-1])])
    assert isinstance(error, IntegrityError)
    await sink.close(keep_parts=True)
    assert {name for name in tree(tmp_path) if name != "source"} == set()


async def test_what_came_in_part_costs_no_second_reading_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = new_sink("folder", tmp_path)
    await sink.open()
    await sink.store(extents(0, WHOLE[: 4 * BLOCK_SIZE + 500_000]))

    def no_read(fd: int, length: int, offset: int) -> bytes:
        raise AssertionError(f"{length:,} bytes are read again")

    monkeypatch.setattr(positioned, "_pread_some", no_read)
    await sink.reopen()
    report = await sink.store([*extents(0, WHOLE, start=4 * BLOCK_SIZE), end(0, WHOLE)])
    assert list(report.confirmed) == [0]
    await sink.close(keep_parts=False)


async def test_parts_of_earlier_attempts_that_have_not_begun_stay_held(tmp_path: Path) -> None:
    files = [FILE, offered("b.bin", WHOLE[::-1], 1)]
    first = new_sink("folder", tmp_path, files)
    await first.open()
    await first.store(extents(1, WHOLE[::-1][: 3 * BLOCK_SIZE]))
    await first.close(keep_parts=True)
    sink = new_sink("folder", tmp_path, files)
    assert await sink.open() == [HeldBlocks(1, 0, digests(WHOLE[::-1], 0, 3))]
    await sink.store(extents(0, WHOLE[: 2 * BLOCK_SIZE]))
    held = sorted(await sink.reopen(), key=lambda blocks: blocks.index)
    assert held == [
        HeldBlocks(0, 0, digests(WHOLE, 0, 2)),
        HeldBlocks(1, 0, digests(WHOLE[::-1], 0, 3)),
    ]
    for at, whole, start in ((1, WHOLE[::-1], 3), (0, WHOLE, 2)):  # in whatever order they come
        report = await sink.store([*extents(at, whole, start=start * BLOCK_SIZE), end(at, whole)])
        assert list(report.confirmed) == [at]
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"a.bin": WHOLE, "b.bin": WHOLE[::-1]}


async def test_a_download_that_is_broken_off_after_all_is_resumed_by_the_next(tmp_path: Path) -> None:
    sink = new_sink("folder", tmp_path)
    await sink.open()
    await sink.store(extents(0, WHOLE[: 2 * BLOCK_SIZE + 5]))
    await sink.reopen()
    await sink.store(extents(0, WHOLE[: 4 * BLOCK_SIZE], start=2 * BLOCK_SIZE))
    await sink.reopen()
    await sink.close(keep_parts=True)
    again = new_sink("folder", tmp_path)
    assert await again.open() == [HeldBlocks(0, 0, digests(WHOLE, 0, 4))]
    await again.close(keep_parts=False)
    assert tree(tmp_path) == {}


async def test_what_is_skipped_stays_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    sink = FolderSink(tmp_path, [FILE], limits=NO_RESERVE, conflict=Conflict.SKIP)
    await sink.open()
    assert await sink.reopen() == []
    assert list(sink.skipped) == [0]
    assert (await sink.store(extents(0, WHOLE))).stored == 0
    await sink.close(keep_parts=False)


async def test_a_file_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    sink = new_sink("folder", tmp_path, [offered("a", b"x")])
    await sink.open()
    await save_error(sink, [*extents(0, b"y"), end(0, b"x")])
    await sink.reopen()
    assert list((await sink.store([*extents(0, b"x"), end(0, b"x")])).confirmed) == [0]
    await sink.close(keep_parts=False)


async def test_a_store_that_was_cut_short_has_stored_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StuckDisk(monkeypatch)
    files = [offered("small", b"small"), replace(FILE, index=1)]
    sink = new_sink("folder", tmp_path, files)
    await sink.open()
    pieces = [*extents(0, b"small"), end(0, b"small"), *extents(1, WHOLE[: 2 * BLOCK_SIZE + 1])]
    storing = asyncio.create_task(sink.store(pieces))
    await disk.is_stuck.wait()
    storing.cancel()
    disk.let_go()
    await asyncio.wait([storing])
    assert storing.cancelled()
    assert await sink.reopen() == [HeldBlocks(1, 0, digests(WHOLE, 0, 2))]
    assert set(sink.paths) == {0}
    report = await sink.store([*extents(1, WHOLE, start=2 * BLOCK_SIZE), end(1, WHOLE)])
    assert list(report.confirmed) == [1]
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"small": b"small", "a.bin": WHOLE}


_numbers = itertools.count()


@pytest.mark.usefixtures("blocks_of_1_kib")
@given(
    sizes=st.lists(st.integers(0, 6_000), min_size=1, max_size=4),
    losses=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=8),
    chunk_size=st.integers(50, 2_000),
    is_memory=st.booleans(),
)
def test_however_often_the_connection_is_lost_the_files_arrive(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    losses: list[tuple[int, bool]],
    chunk_size: int,
    is_memory: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"losses {next(_numbers)}"
    folder.mkdir()
    wholes = [random.Random(at).randbytes(size) for at, size in enumerate(sizes)]
    for at, each in enumerate(wholes):
        (folder / f"f{at}").write_bytes(each)

    async def transfer() -> None:
        sources = await list_sources([folder / f"f{at}" for at in range(len(wholes))], state_dir=None)
        files = [source.file for source in sources]
        sink = new_sink("memory" if is_memory else "folder", folder / "in", files)
        cache = BlockCache()
        held = await sink.open()
        confirmed: set[int] = set()
        for count, is_new_process in [*losses, (10_000, False)]:
            left = [at for at in range(len(wholes)) if at not in confirmed]
            reader = UploadReader(sources, selection=left, held=held, chunk_size=chunk_size, cache=cache)
            pieces: list[Piece] = []
            while len(pieces) < count and (batch := await reader.next_batch(3_000)):
                pieces += batch  # type: ignore[arg-type]  # nothing fails
            await reader.close()
            report = await sink.store(pieces[:count])
            assert report.failed == {}
            confirmed.update(report.confirmed)
            if is_new_process and not is_memory:
                await sink.close(keep_parts=True)
                left = [at for at in range(len(wholes)) if at not in confirmed]
                sink = new_sink("folder", folder / "in", [files[at] for at in left])
                held = await sink.open()
            else:
                held = await sink.reopen()
        assert confirmed == set(range(len(wholes)))
        if is_memory:
            assert sink.contents == dict(enumerate(wholes))
        await sink.close(keep_parts=False)

    asyncio.run(transfer())
    if not is_memory:
        assert tree(folder / "in") == {f"f{at}": each for at, each in enumerate(wholes)}


class Program(BaseSink):
    """A program's own sink, with no more than it has to have."""

    async def open(self) -> Sequence[HeldBlocks]:
        return ()

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        return Stored()

    async def close(self, *, keep_parts: bool) -> None:
        return None


async def test_a_sink_of_the_programs_own_says_that_it_cannot_go_on() -> None:
    sink: Sink = Program()
    assert (sink.paths, sink.contents, sink.skipped, sink.lookalikes) == ({}, {}, (), ())
    assert not await sink.adopt(0, 1, bytes(32))
    with pytest.raises(SaveFailed, match="cannot take a file twice"):
        await sink.reopen()


async def test_memory_makes_no_links() -> None:
    sink = MemorySink([OfferedFile(0, ("l",), 0, FileKind.LINK, target="a")])
    await sink.open()
    error = await save_error(sink, [end(0, b"")])
    assert isinstance(error, OfferDeclined)
    assert error.code == 6002


async def test_memory_is_counted_once_however_often_it_is_opened_again() -> None:
    sink = MemorySink([FILE], max_size=len(WHOLE))
    await sink.open()
    start = 0
    for blocks in (1, 3, 5):
        await sink.store(extents(0, WHOLE[: blocks * BLOCK_SIZE + 999], start=start))
        await sink.reopen()
        start = blocks * BLOCK_SIZE
    assert list((await sink.store([*extents(0, WHOLE, start=start), end(0, WHOLE)])).confirmed) == [0]
    assert blake3(sink.contents[0]).digest() == end(0, WHOLE).digest
