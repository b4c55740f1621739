"""Files into memory."""

from __future__ import annotations

import pytest

from p2pshare.errors import FileTooLarge, IntegrityError, SaveFailed
from p2pshare.model import Extent, FileEnd, FileKind, OfferedFile
from p2pshare.storage import MemorySink, Stored
from tests.storage.transfer import end, extents, save_error


async def test_files_of_known_and_unknown_size_are_kept() -> None:
    files = [
        OfferedFile(0, ("a",), 5),
        OfferedFile(2, ("b",), None),
        OfferedFile(3, ("c",), 0),
        OfferedFile(4, ("dir",), 0, kind=FileKind.DIRECTORY),
    ]
    sink = MemorySink(files)
    assert await sink.open() == []
    assert await sink.store([*extents(0, b"12345"), end(0, b"12345"), Extent(2, 0, b"x")]) == Stored(
        6, [0], {}
    )
    report = await sink.store([Extent(2, 1, b"y"), end(2, b"xy"), end(3, b""), end(4, b"")])
    assert report == Stored(1, [2, 3, 4], {})
    await sink.close(keep_parts=True)
    assert sink.contents == {0: b"12345", 2: b"xy", 3: b"", 4: b""}
    assert sink.paths == {}


async def test_what_does_not_fit_its_digest_fails_and_the_next_goes_on() -> None:
    sink = MemorySink([OfferedFile(0, ("a",), 1), OfferedFile(1, ("b",), 1)])
    await sink.open()
    report = await sink.store(
        [Extent(0, 0, b"x"), FileEnd(0, 1, bytes(32)), Extent(0, 0, b"late"), *extents(1, b"y"), end(1, b"y")]
    )
    assert report.confirmed == [1]
    assert isinstance(report.failed[0], IntegrityError)
    assert report.failed[0].file == "a"
    await sink.close(keep_parts=False)
    assert sink.contents == {1: b"y"}


@pytest.mark.parametrize(
    "pieces",
    [
        [Extent(0, 0, b"1234")],
        [Extent(0, 1, b"1")],
        [Extent(0, 0, b"12"), Extent(0, 1, b"2")],
    ],
)
async def test_bytes_that_are_missing_or_too_many_fail_the_file(pieces: list[Extent]) -> None:
    sink = MemorySink([OfferedFile(0, ("a",), 3)])
    await sink.open()
    assert isinstance(await save_error(sink, pieces), SaveFailed)


async def test_memory_is_bounded_by_what_is_declared_and_by_what_comes() -> None:
    with pytest.raises(FileTooLarge, match="11 bytes are too many for memory, the limit is 10"):
        await MemorySink([OfferedFile(0, ("a",), 6), OfferedFile(1, ("b",), 5)], max_size=10).open()
    sink = MemorySink([OfferedFile(0, ("a",), None), OfferedFile(1, ("b",), None)], max_size=10)
    await sink.open()
    await sink.store([Extent(0, 0, bytes(8))])
    error = await save_error(sink, [Extent(1, 0, bytes(3))], 1)
    assert isinstance(error, FileTooLarge)
    assert str(error) == "'b' is larger than the limit of 10 bytes"
    assert (await sink.store([end(0, bytes(8))])).confirmed == [0]
    await sink.close(keep_parts=False)


async def test_bytes_in_tiny_pieces_take_little_more_memory_than_they_are() -> None:
    whole = bytes(range(256)) * 1200
    sink = MemorySink([OfferedFile(0, ("a",), len(whole))])
    await sink.open()
    await sink.store(extents(0, whole[:200_000], chunk_size=1))
    assert len(sink._payloads[0]) == 1
    large = [Extent(0, 200_000, whole[200_000:300_000]), Extent(0, 300_000, whole[300_000:])]
    report = await sink.store([*large, end(0, whole)])
    assert report.confirmed == [0]
    assert sink.contents == {0: whole}
