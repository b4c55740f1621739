"""A disk that is too small, or fills up: noticed early, told with numbers, and nothing left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from p2pshare.errors import SaveFailed
from p2pshare.model import BLOCK_SIZE, KIB, MIB, Extent, Limits, OfferedFile
from p2pshare.storage import FolderSink
from tests.storage.transfer import NO_RESERVE, end, extents, offered, save_error, tree
from tests.support.needs import needs_tmpfs


async def test_the_reserve_stays_free(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, [offered("a", b"x")], limits=Limits(disk_reserve=2**60))
    with pytest.raises(SaveFailed, match="stay free"):
        await sink.open()


async def test_an_open_that_fails_leaves_nothing(tmp_path: Path) -> None:
    huge = OfferedFile(0, ("huge",), 2**52)
    sink = FolderSink(tmp_path / "a" / "b", [huge], limits=NO_RESERVE)
    with pytest.raises(SaveFailed, match="4,503,599,627,370,496 bytes are needed") as failed:
        await sink.open()
    assert failed.value.code == 5090
    await sink.close(keep_parts=True)
    assert tree(tmp_path) == {}


@needs_tmpfs()
async def test_a_disk_that_is_too_small_is_noticed_before_the_first_byte(small_disk: Path) -> None:
    sink = FolderSink(small_disk, [OfferedFile(0, ("a",), 9 * MIB)], limits=NO_RESERVE)
    with pytest.raises(SaveFailed, match="9,437,184 bytes are needed and 83,886 are to stay free"):
        await sink.open()


@needs_tmpfs()
async def test_a_disk_that_others_fill_fails_the_file_before_it_is_written(small_disk: Path) -> None:
    files = [OfferedFile(0, ("big",), 6 * MIB), OfferedFile(1, ("small",), 1)]
    sink = FolderSink(small_disk, files, limits=NO_RESERVE)
    await sink.open()
    (small_disk / "other").write_bytes(bytes(4 * MIB))
    report = await sink.store([Extent(0, 0, b"x"), Extent(1, 0, b"x"), end(1, b"x")])
    assert report.confirmed == [1]
    error = report.failed[0]
    assert isinstance(error, SaveFailed)
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.errno == errno.ENOSPC
    await sink.close(keep_parts=True)
    assert sorted(tree(small_disk)) == ["other", "small"]


@needs_tmpfs()
async def test_a_disk_that_fills_up_under_a_file_of_unknown_size_fails_it(small_disk: Path) -> None:
    sink = FolderSink(small_disk, [OfferedFile(0, ("stream",), None)], limits=NO_RESERVE)
    await sink.open()
    for at in range(0, 10 * MIB, 256 * KIB):
        report = await sink.store([Extent(0, at, bytes(256 * KIB))])
        if report.failed:
            break
    assert isinstance(report.failed[0], SaveFailed)
    assert "stay free" in report.failed[0].reason
    assert at < 8 * MIB
    await sink.close(keep_parts=True)
    assert tree(small_disk) == {}


@needs_tmpfs()
async def test_a_disk_without_fallocate_fails_when_it_is_full_and_keeps_what_can_be_resumed(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pshare.storage.kernel.fallocate", lambda *_: False)
    whole = os.urandom(6 * MIB)
    sink = FolderSink(small_disk, [offered("a", whole)], limits=NO_RESERVE)
    await sink.open()
    (small_disk / "other").write_bytes(bytes(5 * MIB))
    await sink.store(extents(0, whole[: 2 * MIB]))
    error = await save_error(sink, extents(0, whole, start=2 * MIB))
    assert isinstance(error, SaveFailed)
    await sink.close(keep_parts=True)
    (small_disk / "other").unlink()
    sink = FolderSink(small_disk, [offered("a", whole)], limits=NO_RESERVE)
    (held,) = await sink.open()
    assert (held.first_block, len(held.digests)) == (0, 2)
    start = len(held.digests) * BLOCK_SIZE
    assert (await sink.store([*extents(0, whole, start=start), end(0, whole)])).confirmed == [0]
    await sink.close(keep_parts=False)
    assert tree(small_disk) == {"a": whole}
