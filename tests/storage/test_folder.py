"""Files into a folder: verified, in place, and nothing but them."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from p2pshare.errors import IntegrityError, SaveFailed, StorageAccessDenied
from p2pshare.model import MIB, Extent, FileEnd, FileKind, OfferedFile
from p2pshare.storage import FolderSink, list_sources
from p2pshare.storage import part as part_module
from p2pshare.storage.beneath import Folder, Way
from tests.storage.conftest import Unprivileged
from tests.storage.test_beneath import WAYS
from tests.storage.transfer import (
    NO_RESERVE,
    StuckDisk,
    end,
    extents,
    offered,
    read_all,
    save,
    save_error,
    tree,
)
from tests.support.needs import only_on


@pytest.mark.parametrize("way", WAYS)
async def test_a_tree_arrives_as_it_was_offered(tmp_path: Path, way: Way) -> None:
    source = tmp_path / "tree"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty" / "too").mkdir(parents=True)
    (source / "deep" / "er" / "ü.txt").write_bytes(os.urandom(3 * MIB + 1))
    (source / "zero").write_bytes(b"")
    (source / "run").write_bytes(b"#!")
    (source / "run").chmod(0o755)
    os.utime(source / "zero", ns=(1, 10**18 + 123_456_789))
    sources = await list_sources([source], state_dir=None)
    files = [each.file for each in sources]
    sink = FolderSink(tmp_path / "in" / "box", files, limits=NO_RESERVE, way=way)
    assert await sink.open() == []
    report = await sink.store(await read_all(sources))  # type: ignore[arg-type]  # nothing fails
    await sink.close(keep_parts=False)
    assert sorted(report.confirmed) == list(range(len(files)))
    assert report.stored == 3 * MIB + 3
    inbox = tmp_path / "in" / "box"
    assert tree(inbox / "tree") == tree(source)
    assert sink.paths == {file.index: inbox.joinpath(*file.path) for file in files}
    assert sink.contents == {}
    assert (inbox / "tree" / "zero").stat().st_mtime_ns == 10**18 + 123_456_789
    assert (inbox / "tree" / "run").stat().st_mode & 0o7777 == 0o644


async def test_a_file_is_executable_only_where_the_user_wants_that(tmp_path: Path) -> None:
    file = replace(offered("run", b"x"), executable=True)
    umask = os.umask(0o027)
    try:
        sink = FolderSink(tmp_path, [file], limits=NO_RESERVE, keep_executable=True)
        await sink.open()
        await sink.store([*extents(0, b"x"), end(0, b"x")])
        await sink.close(keep_parts=False)
    finally:
        os.umask(umask)
    assert (tmp_path / "run").stat().st_mode & 0o7777 == 0o750


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for expected in ("a.txt", "a (1).txt", "a (2).txt"):
        assert await save(tmp_path, offered("a.txt", b"x"), b"x") == tmp_path / expected
    (tmp_path / "b").mkdir()
    (tmp_path / "c").symlink_to("nowhere")
    assert await save(tmp_path, offered("b", b"x"), b"x") == tmp_path / "b (1)"
    assert await save(tmp_path, offered("c", b"x"), b"x") == tmp_path / "c (1)"
    assert not (tmp_path / "nowhere").exists()


@only_on("linux")
@pytest.mark.parametrize("has_links", [True, False])
async def test_nothing_is_overwritten_where_the_kernel_cannot_rename_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    monkeypatch.setattr(Folder, "rename_noreplace", lambda *_: False)
    if not has_links:

        def link(self: Folder, old: str, new: str) -> None:
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(Folder, "link", link)
    (tmp_path / "a").write_bytes(b"mine")
    assert await save(tmp_path, offered("a", b"theirs"), b"theirs") == tmp_path / "a (1)"
    assert tree(tmp_path) == {"a": b"mine", "a (1)": b"theirs"}


async def test_names_that_collide_are_kept_apart(tmp_path: Path) -> None:
    names = ["A", "a", "con", ".profile", "x?", "x*"]
    files = [OfferedFile(index, (name,), 1) for index, name in enumerate(names)]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    for file in files:
        await sink.store([*extents(file.index, b"x"), end(file.index, b"x")])
    await sink.close(keep_parts=False)
    assert [path.name for path in sink.paths.values()] == ["A", "a (1)", "_con", "_profile", "x_", "x_ (1)"]


async def test_a_hostile_name_fails_its_file_alone(tmp_path: Path) -> None:
    files = [OfferedFile(0, ("..", "x"), 1), OfferedFile(1, ("ok",), 1)]
    sink = FolderSink(tmp_path / "in", files, limits=NO_RESERVE)
    await sink.open()
    report = await sink.store([*extents(0, b"x"), end(0, b"x"), *extents(1, b"x"), end(1, b"x")])
    await sink.close(keep_parts=False)
    assert report.confirmed == [1]
    assert isinstance(report.failed[0], SaveFailed)
    assert "not a name" in str(report.failed[0])
    assert tree(tmp_path) == {"in": None, "in/ok": b"x"}


async def test_a_link_where_a_folder_has_to_be_fails_what_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "in" / "sub").symlink_to(tmp_path / "outside")
    sink = FolderSink(tmp_path / "in", [offered("sub/x", b"x")], limits=NO_RESERVE)
    await sink.open()
    error = await save_error(sink, [*extents(0, b"x"), end(0, b"x")])
    await sink.close(keep_parts=False)
    assert isinstance(error, SaveFailed)
    assert str(error) == "'sub/x': a file or a link is where a folder has to be"
    assert isinstance(error.__cause__, OSError)
    assert list((tmp_path / "outside").iterdir()) == []


async def test_a_digest_that_differs_fails_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    files = [offered("sub/bad", b"12345"), offered("good", b"x", 1)]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    error = await save_error(sink, [*extents(0, b"12345"), FileEnd(0, 5, bytes(32))])
    assert isinstance(error, IntegrityError)
    assert error.code == 6005
    late = await sink.store([*extents(0, b"12345"), *extents(1, b"x"), end(1, b"x")])
    assert (late.stored, late.confirmed, late.failed) == (1, [1], {})
    await sink.close(keep_parts=True)
    assert tree(tmp_path) == {"good": b"x"}


@pytest.mark.parametrize("size", [5, 5 * MIB])
async def test_a_part_is_private_and_hidden_until_it_is_whole(tmp_path: Path, size: int) -> None:
    whole = os.urandom(size)
    sink = FolderSink(tmp_path, [offered("a.bin", whole)], limits=NO_RESERVE)
    await sink.open()
    report = await sink.store(extents(0, whole))
    assert (report.stored, report.confirmed) == (size, [])
    parts = [tmp_path / name for name in tree(tmp_path)]
    assert [path.suffix for path in parts] == [".p2pshare-journal", ".p2pshare-part"][size == 5 :]
    for path in parts:
        assert path.name.startswith(".a.bin.")
        assert path.stat().st_mode & 0o7777 == 0o600
    assert (await sink.store([end(0, whole)])).confirmed == [0]
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"a.bin": whole}


async def test_a_file_that_its_sender_gave_up_leaves_nothing(tmp_path: Path) -> None:
    files = [OfferedFile(0, ("sub", "half"), 10), offered("next", b"x", 1)]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    await sink.store([Extent(0, 0, b"12345")])
    report = await sink.store([*extents(1, b"x"), end(1, b"x")])
    assert report.confirmed == [1]
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"next": b"x"}


async def test_an_unknown_size_is_what_its_end_says(tmp_path: Path) -> None:
    whole = os.urandom(2 * MIB + 3)
    file = OfferedFile(0, ("stream",), None)
    assert (await save(tmp_path, file, whole)).read_bytes() == whole
    sink = FolderSink(tmp_path, [file], limits=NO_RESERVE)
    await sink.open()
    error = await save_error(sink, [*extents(0, whole[:5]), end(0, whole)])
    await sink.close(keep_parts=False)
    assert isinstance(error, SaveFailed | IntegrityError)
    assert tree(tmp_path) == {"stream": whole}


async def test_more_bytes_than_declared_are_never_written(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, [offered("a", b"123")], limits=NO_RESERVE)
    await sink.open()
    error = await save_error(sink, [Extent(0, 0, b"12"), Extent(0, 2, b"34")])
    assert isinstance(error, SaveFailed)
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {}


async def test_ten_thousand_small_files(fast_disk: Path) -> None:
    wholes = [b"%d" % number * 100 for number in range(10_000)]
    names = [f"d{number % 50}/f{number}" for number in range(10_000)]
    files = [offered(name, whole, at) for at, (name, whole) in enumerate(zip(names, wholes, strict=True))]
    sink = FolderSink(fast_disk, files, limits=NO_RESERVE)
    await sink.open()
    confirmed: list[int] = []
    for first in range(0, 10_000, 700):
        pieces = []
        for file in files[first : first + 700]:
            pieces += [*extents(file.index, wholes[file.index]), end(file.index, wholes[file.index])]
        confirmed += (await sink.store(pieces)).confirmed
    await sink.close(keep_parts=False)
    assert confirmed == list(range(10_000))
    got = {name: whole for name, whole in tree(fast_disk).items() if whole is not None}
    assert got == dict(zip(names, wholes, strict=True))


@only_on("linux")
async def test_no_more_files_are_open_at_once_than_a_group_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    real = os.fdatasync

    def count(fd: int) -> None:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        real(fd)

    monkeypatch.setattr(part_module, "_sync", count)
    before = len(os.listdir("/proc/self/fd"))
    files = [OfferedFile(index, (f"d{index}", "f"), 1) for index in range(500)]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    report = await sink.store(
        [piece for file in files for piece in (Extent(file.index, 0, b"x"), end(file.index, b"x"))]
    )
    assert len(report.confirmed) == 500
    assert most - before < 400
    await sink.close(keep_parts=False)
    assert len(os.listdir("/proc/self/fd")) == before


@only_on("linux")
async def test_what_is_confirmed_is_synced_bytes_first_and_names_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    in_place: list[int] = []

    def record(sync: Callable[[int], None]) -> Callable[[int], None]:
        def synchronise(fd: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{fd}"))
            in_place.append(len(list(tmp_path.glob("in/*/f*"))))
            sync(fd)

        return synchronise

    monkeypatch.setattr(part_module, "_sync", record(os.fdatasync))
    monkeypatch.setattr(os, "fsync", record(os.fsync))
    files = [OfferedFile(index, (f"d{index % 150}", f"f{index}"), 1) for index in range(300)]
    sink = FolderSink(tmp_path / "in", files, limits=NO_RESERVE)
    await sink.open()
    assert synced == [str(tmp_path)]  # where the folder itself was made
    await sink.store(
        [piece for file in files for piece in (Extent(file.index, 0, b"x"), end(file.index, b"x"))]
    )
    await sink.close(keep_parts=False)
    assert len(sink.paths) == 300
    parts = [path for path in synced if path.endswith(".p2pshare-part")]
    assert len(set(parts)) == 300
    assert in_place[synced.index(parts[0])] == 0
    assert str(tmp_path / "in") in synced
    for index in range(150, 300):  # the later one of two in a folder
        folder, last = str(tmp_path / "in" / f"d{index % 150}"), synced.index(parts[index])
        assert folder in synced[last:]


async def test_a_folder_that_cannot_be_synced_confirms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Folder) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    files = [OfferedFile(index, (f"d{index}", "f"), 0) for index in range(200)]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "sync", fail)
        report = await sink.store([end(file.index, b"") for file in files])
    assert report.confirmed == []
    assert set(report.failed) == set(range(200))
    assert isinstance(report.failed[0], SaveFailed)
    assert report.failed[0].reason == "Input/output error"
    await sink.close(keep_parts=False)


async def test_a_file_that_cannot_be_synced_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = part_module._sync

    def fail(fd: int) -> None:
        if os.fstat(fd).st_size == 77:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(part_module, "_sync", fail)
    wholes = [bytes(77 if index == 70 else 1) for index in range(150)]
    sink = FolderSink(
        tmp_path, [offered(f"f{at}", whole, at) for at, whole in enumerate(wholes)], limits=NO_RESERVE
    )
    await sink.open()
    report = await sink.store(
        [piece for at, whole in enumerate(wholes) for piece in (Extent(at, 0, whole), end(at, whole))]
    )
    await sink.close(keep_parts=True)
    assert list(report.failed) == [70]
    assert len(report.confirmed) == 149
    assert set(tree(tmp_path)) == {f"f{at}" for at in range(150)} - {"f70"}


async def test_the_loop_runs_on_while_the_disk_is_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StuckDisk(monkeypatch)
    sink = FolderSink(tmp_path, [offered("a", b"x")], limits=NO_RESERVE)
    await sink.open()
    storing = asyncio.create_task(sink.store([*extents(0, b"x"), end(0, b"x")]))
    await disk.is_stuck.wait()
    disk.let_go()
    assert (await storing).confirmed == [0]
    await sink.close(keep_parts=False)


async def test_a_cancelled_store_ends_before_the_sink_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StuckDisk(monkeypatch)
    sink = FolderSink(tmp_path, [offered("a", b"x")], limits=NO_RESERVE)
    await sink.open()
    storing = asyncio.create_task(sink.store([*extents(0, b"x"), end(0, b"x")]))
    await disk.is_stuck.wait()
    storing.cancel()
    await asyncio.sleep(0)
    storing.cancel()
    await asyncio.sleep(0)
    assert not storing.done()
    disk.let_go()
    with pytest.raises(asyncio.CancelledError):
        await storing
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"a": b"x"}


@only_on("linux")
async def test_a_short_write_goes_on_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev

    def short(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        return real(fd, [bytes(buffers[0])[:1000]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    whole = os.urandom(200_001)
    assert (await save(tmp_path, offered("a", whole), whole)).read_bytes() == whole


# Opening ---------------------------------------------------------------------------------------------------


async def test_the_home_folder_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(StorageAccessDenied, match="home folder itself"):
            await FolderSink(folder, [], limits=NO_RESERVE).open()
    assert (await save(tmp_path / "below", offered("a", b"x"), b"x")).exists()


async def test_a_folder_that_may_not_be_written_to_is_access_denied(
    open_place: Path, unprivileged: Unprivileged
) -> None:
    folder = open_place / "mine"
    folder.mkdir(mode=0o555)
    with unprivileged(), pytest.raises(StorageAccessDenied) as denied:
        await FolderSink(folder / "below", [], limits=NO_RESERVE).open()
    assert isinstance(denied.value.__cause__, PermissionError)
    with unprivileged():
        sink = FolderSink(folder, [offered("a", b"x")], limits=NO_RESERVE)
        with pytest.raises(StorageAccessDenied, match="may not be written"):
            await sink.open()
    assert list(folder.iterdir()) == []


async def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SaveFailed):
            await FolderSink(folder, [], limits=NO_RESERVE).open()


async def test_an_empty_folder_stays_and_one_that_was_only_made_for_a_part_goes(tmp_path: Path) -> None:
    files = [
        OfferedFile(0, ("kept",), 0, kind=FileKind.DIRECTORY),
        OfferedFile(1, ("gone", "deep", "x"), 9),
    ]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    assert (await sink.store([end(0, b""), Extent(1, 0, b"x")])).confirmed == [0]
    assert (tmp_path / "gone" / "deep").is_dir()
    await sink.close(keep_parts=False)
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"kept": None}
