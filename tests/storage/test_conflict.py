"""A name that is taken: renamed, skipped or replaced, as the user says; and what is there may be the file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from p2pshare.errors import IntegrityError
from p2pshare.model import BLOCK_SIZE, Conflict, Extent, FileEnd, FileKind, OfferedFile
from p2pshare.storage import FolderSink, MemorySink
from p2pshare.storage import lookalike as lookalike_module
from p2pshare.storage.beneath import Folder, Way
from tests.storage.test_beneath import WAYS
from tests.storage.transfer import NO_RESERVE, end, extents, offered, save_error, tree
from tests.support.needs import needs_tmpfs, only_on

RENAME, SKIP, OVERWRITE = Conflict.RENAME, Conflict.SKIP, Conflict.OVERWRITE


async def new_sink(
    folder: Path, files: Sequence[OfferedFile], conflict: Conflict, way: Way | None = None
) -> FolderSink:
    sink = FolderSink(folder, files, limits=NO_RESERVE, conflict=conflict, way=way)
    await sink.open()
    return sink


async def store(sink: FolderSink, file: OfferedFile, whole: bytes) -> Path:
    report = await sink.store([*extents(file.index, whole), end(file.index, whole)])
    assert report.failed == {}
    assert list(report.confirmed) == [file.index]
    return sink.paths[file.index]


# Overwrite -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_takes_the_place_of_another(tmp_path: Path, way: Way) -> None:
    file = offered("sub/a", b"new")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"old and longer")
    sink = await new_sink(tmp_path, [file], OVERWRITE, way)
    assert await store(sink, file, b"new") == tmp_path / "sub" / "a"
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"sub": None, "sub/a": b"new"}
    assert (tmp_path / "sub" / "a").stat().st_mtime_ns == file.mtime_ns


@pytest.mark.parametrize("way", WAYS)
async def test_folders_and_links_are_never_overwritten(tmp_path: Path, way: Way) -> None:
    files = [offered(name, b"new", at) for at, name in enumerate(["folder", "empty", "link", "loop"])]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / "loop").symlink_to("loop")
    sink = await new_sink(tmp_path, files, OVERWRITE, way)
    for file in files:
        assert await store(sink, file, b"new") == tmp_path / f"{file.name} (1)"
    await sink.close(keep_parts=False)
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert (tmp_path / "folder" / "mine").read_bytes() == b"mine"
    assert os.readlink(tmp_path / "link") == "mine"
    assert os.readlink(tmp_path / "loop") == "loop"


@pytest.mark.parametrize("size", [3, 3 * BLOCK_SIZE])
async def test_what_is_there_stays_until_the_new_file_is_verified(tmp_path: Path, size: int) -> None:
    whole = os.urandom(size)
    file = offered("a", whole)
    (tmp_path / "a").write_bytes(b"old")
    sink = await new_sink(tmp_path, [file], OVERWRITE)
    await sink.store(extents(0, whole))
    assert (tmp_path / "a").read_bytes() == b"old"
    error = await save_error(sink, [FileEnd(0, len(whole), bytes(32))])
    assert isinstance(error, IntegrityError)
    await sink.close(keep_parts=True)
    assert tree(tmp_path) == {"a": b"old"}


async def test_a_second_name_of_the_file_keeps_what_it_had(tmp_path: Path) -> None:
    file = offered("a", b"new")
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    sink = await new_sink(tmp_path, [file], OVERWRITE)
    await store(sink, file, b"new")
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"a": b"new", "b": b"old"}


@only_on("linux")
async def test_a_folder_that_comes_in_the_last_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = offered("a", b"new")
    (tmp_path / "a").write_bytes(b"old")
    real = Folder.replace

    def late(folder: Folder, old: str, new: str) -> None:
        (tmp_path / "a").unlink()
        (tmp_path / "a").mkdir()
        real(folder, old, new)

    monkeypatch.setattr(Folder, "replace", late)
    sink = await new_sink(tmp_path, [file], OVERWRITE)
    assert await store(sink, file, b"new") == tmp_path / "a (1)"
    await sink.close(keep_parts=False)


async def test_two_files_of_one_name_in_a_job_are_still_kept_apart(tmp_path: Path) -> None:
    files = [OfferedFile(0, ("A",), 1), OfferedFile(1, ("a",), 1)]
    sink = await new_sink(tmp_path, files, OVERWRITE)
    for file in files:
        await store(sink, file, b"x")
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"A": b"x", "a (1)": b"x"}


# Skip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_what_has_the_name_already_is_the_result(tmp_path: Path, way: Way) -> None:
    names = ["file", "sub/deep", "folder", "link", "new", "sub/new"]
    files = [offered(name, b"new", at) for at, name in enumerate(names)]
    files.append(OfferedFile(6, ("sub", "empty"), 0, kind=FileKind.DIRECTORY))
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "sub" / "deep").write_bytes(b"old")
    (tmp_path / "link").symlink_to("nowhere")
    sink = await new_sink(tmp_path, files, SKIP, way)
    assert list(sink.skipped) == [0, 1, 2, 3]
    assert sink.lookalikes == []
    assert sink.paths == {at: tmp_path / names[at] for at in range(4)}
    assert (await sink.store([*extents(0, b"new"), end(0, b"new")])).stored == 0
    for file in files[4:6]:
        assert await store(sink, file, b"new") == tmp_path.joinpath(*file.path)
    assert (await sink.store([end(6, b"")])).confirmed == [6]
    await sink.close(keep_parts=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not (tmp_path / "nowhere").exists()


async def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = offered("a", b"new")
    sink = await new_sink(tmp_path, [file], SKIP)
    assert sink.skipped == []
    (tmp_path / "a").write_bytes(b"mine")
    assert await store(sink, file, b"new") == tmp_path / "a (1)"
    await sink.close(keep_parts=False)
    assert (tmp_path / "a").read_bytes() == b"mine"


async def test_what_is_skipped_needs_no_space(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"")
    sink = await new_sink(tmp_path, [OfferedFile(0, ("huge",), 2**52)], SKIP)
    assert list(sink.skipped) == [0]
    await sink.close(keep_parts=False)


# Lookalikes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conflict", [RENAME, OVERWRITE])
@pytest.mark.parametrize("way", WAYS)
async def test_a_file_that_is_here_already_is_adopted(tmp_path: Path, way: Way, conflict: Conflict) -> None:
    whole = os.urandom(2 * BLOCK_SIZE + 5)
    files = [offered(name, whole, at) for at, name in enumerate(["same", "sub/other", "size", "new", "link"])]
    (tmp_path / "sub").mkdir()
    (tmp_path / "same").write_bytes(whole)
    (tmp_path / "sub" / "other").write_bytes(whole[::-1])
    (tmp_path / "size").write_bytes(whole[1:])
    (tmp_path / "link").symlink_to("same")
    before = (tmp_path / "same").stat()
    sink = await new_sink(tmp_path, files, conflict, way)
    assert list(sink.lookalikes) == [0, 1]
    digest = end(0, whole).digest
    assert [await sink.adopt(at, len(whole), digest) for at in range(5)] == [True, False, False, False, False]
    assert sink.lookalikes == [1]
    assert sink.paths == {0: tmp_path / "same"}
    late = await sink.store([*extents(0, whole), end(0, whole)])
    assert (late.stored, late.confirmed) == (0, [])
    stored = await store(sink, files[1], whole)
    assert stored.name == ("other" if conflict is OVERWRITE else "other (1)")
    await sink.close(keep_parts=False)
    after = (tmp_path / "same").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )


async def test_what_is_gone_or_changed_since_it_was_seen_is_not_adopted(tmp_path: Path) -> None:
    files = [offered(name, b"x", at) for at, name in enumerate(["gone", "grown", "folder", "other"])]
    for file in files:
        (tmp_path / file.name).write_bytes(b"x")
    sink = await new_sink(tmp_path, files, RENAME)
    assert list(sink.lookalikes) == [0, 1, 2, 3]
    (tmp_path / "gone").unlink()
    (tmp_path / "grown").write_bytes(b"xy")
    (tmp_path / "folder").unlink()
    (tmp_path / "folder").mkdir()
    assert not any([await sink.adopt(at, 1, end(0, b"x").digest) for at in range(3)])
    assert not await sink.adopt(3, 2, end(0, b"x").digest)  # of another size at the sender now
    assert await store(sink, files[0], b"x") == tmp_path / "gone"
    await sink.close(keep_parts=False)


async def test_adopting_removes_what_an_earlier_attempt_left(tmp_path: Path) -> None:
    whole = os.urandom(3 * BLOCK_SIZE)
    file = offered("a", whole)
    sink = await new_sink(tmp_path, [file], RENAME)
    await sink.store(extents(0, whole[: 2 * BLOCK_SIZE]))
    await sink.close(keep_parts=True)
    (tmp_path / "a").write_bytes(whole)
    sink = FolderSink(tmp_path, [file], limits=NO_RESERVE)
    (held,) = await sink.open()
    assert len(held.digests) == 2
    assert await sink.adopt(0, len(whole), end(0, whole).digest)
    await sink.close(keep_parts=True)
    assert tree(tmp_path) == {"a": whole}


@needs_tmpfs()
async def test_a_lookalike_counts_as_here_until_it_is_none(small_disk: Path) -> None:
    file = OfferedFile(0, ("a",), 9 * BLOCK_SIZE)
    with (small_disk / "a").open("wb") as sparse:
        sparse.truncate(9 * BLOCK_SIZE)
    sink = await new_sink(small_disk, [file], OVERWRITE)
    error = await save_error(sink, [Extent(0, 0, b"x")])
    assert "9,437,184 bytes are needed" in str(error)
    await sink.close(keep_parts=False)


async def test_adopting_ends_early_when_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytes(8 * BLOCK_SIZE)
    (tmp_path / "a").write_bytes(whole)
    sink = await new_sink(tmp_path, [offered("a", whole)], RENAME)
    loop, begun, hashed = asyncio.get_running_loop(), asyncio.Event(), 0

    class Slow:
        def update(self, payload: bytes) -> None:
            nonlocal hashed
            hashed += 1
            loop.call_soon_threadsafe(begun.set)
            sink._stop.wait()

    monkeypatch.setattr(lookalike_module, "blake3", Slow)
    adopting = asyncio.create_task(sink.adopt(0, len(whole), bytes(32)))
    await begun.wait()
    adopting.cancel()
    await asyncio.wait([adopting])
    assert adopting.cancelled()
    assert hashed == 1
    await sink.close(keep_parts=False)


async def test_memory_has_no_names_that_could_be_taken() -> None:
    sink = MemorySink([offered("a", b"x")])
    await sink.open()
    assert (sink.skipped, sink.lookalikes) == ((), ())
    assert not await sink.adopt(0, 1, end(0, b"x").digest)
