"""Recipients that keep pace share what is read, and one that does not costs the others nothing."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import UploadError
from p2pshare.model import BLOCK_SIZE, MIB, Extent, FileEnd, Piece
from p2pshare.storage import BlockCache, FileFailed, Source, UploadReader, file_digests, list_sources
from p2pshare.storage import reading as reading_module
from tests.storage.transfer import content, end, failure

BLOCKS = 10


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """A file of ten blocks and a bit."""
    content = os.urandom(BLOCKS * BLOCK_SIZE + 99)
    (tmp_path / "x").write_bytes(content)
    return content


async def sources_of(path: Path) -> Sequence[Source]:
    return await list_sources([path], state_dir=None)


def new_reader(sources: Sequence[Source], cache: BlockCache | None) -> UploadReader:
    return UploadReader(sources, selection=range(len(sources)), held=(), chunk_size=65_000, cache=cache)


async def read(reader: UploadReader, size: int = 2**62) -> list[Extent | FileEnd | FileFailed]:
    """What a reader gives, about so many bytes of it."""
    pieces: list[Extent | FileEnd | FileFailed] = []
    while size > 0 and (batch := await reader.next_batch(MIB)):
        pieces += batch
        size -= sum(len(piece.payload) for piece in batch if isinstance(piece, Extent))
    return pieces


async def test_recipients_that_keep_pace_read_each_block_once(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    readers = [new_reader(sources, cache) for _ in range(8)]
    for pieces in await asyncio.gather(*map(read, readers)):
        assert content(pieces) == whole
    assert (cache.blocks_read, cache.blocks_shared) == (BLOCKS + 1, 7 * (BLOCKS + 1))
    for reader in readers:
        await reader.close()
    assert cache.in_use == 0


async def test_what_everybody_has_taken_is_not_kept(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    first, second = new_reader(sources, cache), new_reader(sources, cache)
    await read(first)
    assert cache.in_use == len(whole)
    await read(second)
    assert cache.in_use == 0
    await first.close()
    await second.close()


async def test_a_recipient_that_is_alone_leaves_nothing_in_memory(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache()
    reader = new_reader(await sources_of(tmp_path / "x"), cache)
    while await reader.next_batch(MIB):
        assert cache.in_use == 0
    await reader.close()
    assert (cache.blocks_read, cache.blocks_shared) == (BLOCKS + 1, 0)


async def test_memory_is_bounded_and_who_falls_back_reads_for_himself(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache(4 * BLOCK_SIZE)
    sources = await sources_of(tmp_path / "x")
    fast, slow = new_reader(sources, cache), new_reader(sources, cache)
    assert content(await read(fast)) == whole
    assert cache.in_use == cache.size
    assert content(await read(slow)) == whole
    assert cache.blocks_shared == 4
    assert cache.blocks_read == 2 * (BLOCKS + 1) - 4
    await fast.close()
    await slow.close()
    assert cache.in_use == 0


async def test_a_recipient_far_ahead_leaves_the_room_to_those_that_are_together(
    tmp_path: Path, whole: bytes
) -> None:
    cache = BlockCache(2 * BLOCK_SIZE)
    sources = await sources_of(tmp_path / "x")
    readers = [new_reader(sources, cache) for _ in range(3)]
    fast = await read(readers[0])
    before = cache.blocks_read
    together = [await asyncio.gather(*(reader.next_batch(MIB) for reader in readers[1:]))]
    while together[-1] != [[], []]:
        together.append(await asyncio.gather(*(reader.next_batch(MIB) for reader in readers[1:])))
    assert content(fast) == whole
    for at in (0, 1):
        assert content(list(itertools.chain.from_iterable(batches[at] for batches in together))) == whole
    assert cache.blocks_read - before <= BLOCKS + 1
    for reader in readers:
        await reader.close()


async def test_a_block_that_is_being_read_is_waited_for(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    loop, disk, is_stuck = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
    is_waiting = asyncio.Event()
    real = reading_module._pread

    def stuck(fd: int, length: int, offset: int) -> bytes:
        loop.call_soon_threadsafe(is_stuck.set)
        assert disk.wait(60)
        return real(fd, length, offset)

    class Waited(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            loop.call_soon_threadsafe(is_waiting.set)
            return super().wait(timeout)

    monkeypatch.setattr(reading_module, "_pread", stuck)
    monkeypatch.setattr("p2pshare.storage.block_cache.Event", Waited)
    readers = [new_reader(sources, cache) for _ in range(2)]
    first = asyncio.create_task(read(readers[0], MIB))
    await is_stuck.wait()
    second = asyncio.create_task(read(readers[1], MIB))
    await is_waiting.wait()
    assert not second.done()
    disk.set()
    assert await first == await second
    for reader in readers:
        await reader.close()
    assert cache.blocks_shared >= 1


async def test_who_waited_for_a_read_that_failed_tries_for_himself(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    real = reading_module._pread
    failures = iter([True])

    def fails_once(fd: int, length: int, offset: int) -> bytes:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        return real(fd, length, offset)

    monkeypatch.setattr(reading_module, "_pread", fails_once)
    readers = [new_reader(sources, cache) for _ in range(4)]
    results = await asyncio.gather(*map(read, readers))
    failed = [pieces for pieces in results if isinstance(pieces[0], FileFailed)]
    assert len(failed) == 1
    for pieces in results:
        assert pieces in failed or content(pieces) == whole
    for reader in readers:
        await reader.close()


async def test_a_frontrunner_that_gives_up_takes_no_digest_with_it(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    first, second, third = (new_reader(sources, cache) for _ in range(3))
    await read(first, 4 * MIB)
    await first.close()
    assert content(await read(second)) == whole
    await second.close()
    assert content(await read(third)) == whole  # comes when the digest is known already
    await third.close()
    assert cache.in_use == 0


async def test_a_file_that_changes_fails_for_all_of_them(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    readers = [new_reader(sources, cache) for _ in range(3)]
    await asyncio.gather(*(read(reader, MIB) for reader in readers))
    os.utime(tmp_path / "x", ns=(1, 1))
    for pieces in await asyncio.gather(*map(read, readers)):
        error = failure(pieces)
        assert isinstance(error, UploadError)
        assert error.reason == "the file changed while it was being sent"
    for reader in readers:
        await reader.close()


async def test_a_digest_is_made_once_for_asking_and_for_sending(tmp_path: Path, whole: bytes) -> None:
    cache = BlockCache()
    sources = await sources_of(tmp_path / "x")
    reader = new_reader(sources, cache)
    await read(reader)
    await reader.close()
    before = cache.blocks_read
    assert await file_digests(sources, [0], cache=cache) == [end(0, whole)]
    assert cache.blocks_read == before
    os.utime(tmp_path / "x", ns=(1, 1))
    assert await file_digests(sources, [0], cache=cache) == []


_numbers = itertools.count()


@pytest.mark.usefixtures("blocks_of_1_kib")
@given(
    sizes=st.lists(st.integers(0, 6_000), min_size=1, max_size=4),
    cache_blocks=st.integers(0, 5),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(1, 4_000)), max_size=40),
    seed=st.integers(0, 9),
)
def test_in_whatever_order_readers_go_on_and_pause_each_reads_the_files(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    cache_blocks: int,
    steps: list[tuple[int, int, int]],
    seed: int,
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"cache {next(_numbers)}"
    folder.mkdir()
    wholes = [random.Random(seed + at).randbytes(size) for at, size in enumerate(sizes)]
    for at, each in enumerate(wholes):
        (folder / f"f{at}").write_bytes(each)

    async def transfer() -> None:
        sources = await list_sources([folder / f"f{at}" for at in range(len(wholes))], state_dir=None)
        cache = BlockCache(cache_blocks * 1024)
        readers = [
            UploadReader(sources, selection=range(len(wholes)), held=(), chunk_size=300, cache=cache)
            for _ in range(3)
        ]
        got: list[list[Piece]] = [[], [], []]
        for which, unsent, size in steps:
            batch = await readers[which].next_batch(size)
            assert not any(isinstance(piece, FileFailed) for piece in batch)
            got[which] += batch  # type: ignore[arg-type]  # as was said
            if unsent < 5 and batch:
                back = got[which][max(0, len(got[which]) - unsent) :]
                del got[which][len(got[which]) - len(back) :]
                await readers[which].put_back(back)
            assert cache.in_use <= cache.size
        for which, reader in enumerate(readers):
            while batch := await reader.next_batch(2_000):
                got[which] += batch  # type: ignore[arg-type]  # likewise
            await reader.close()
            for at, each in enumerate(wholes):
                assert content(got[which], at) == each
        assert cache.in_use == 0

    asyncio.run(transfer())
