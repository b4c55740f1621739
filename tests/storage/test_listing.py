"""What an offer of some paths consists of."""

from __future__ import annotations

import io
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pshare.errors import StorageAccessDenied, UploadError
from p2pshare.model import FileKind
from p2pshare.storage import SourceLike, UnsafeName, from_bytes, from_file_object, from_stream, list_sources
from tests.storage.conftest import Unprivileged
from tests.support.needs import only_on


async def paths_of(*things: str | Path) -> list[str]:
    return ["/".join(source.file.path) for source in await list_sources(things, state_dir=None)]


async def test_a_tree_is_listed_in_order_with_its_empty_folders(tmp_path: Path) -> None:
    tree = tmp_path / "photos"
    for folder in ("b/deep", "empty", "z/also empty"):
        (tree / folder).mkdir(parents=True)
    for file in ("a", "b/1", "b/deep/x", "b/zz", "c", "z.txt"):
        (tree / file).write_bytes(file.encode())
    sources = await list_sources([tree], state_dir=None)
    assert [("/".join(source.file.path), source.file.kind.value) for source in sources] == [
        ("photos/a", "file"),
        ("photos/b/1", "file"),
        ("photos/b/deep/x", "file"),
        ("photos/b/zz", "file"),
        ("photos/c", "file"),
        ("photos/empty", "directory"),
        ("photos/z/also empty", "directory"),
        ("photos/z.txt", "file"),
    ]
    assert [source.file.index for source in sources] == list(range(8))
    assert await paths_of(f"{tree}/") == await paths_of(tree)


async def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    script = tmp_path / "run.html"
    script.write_bytes(b"12345")
    script.chmod(0o755)
    os.utime(script, ns=(1, 1_234_567_890_123_456_789))
    (source,) = await list_sources([script], state_dir=tmp_path / "state")
    file = source.file
    assert (file.path, file.size, file.kind) == (("run.html",), 5, FileKind.FILE)
    assert (file.media_type, file.mtime_ns, file.executable) == ("text/html", 1_234_567_890_123_456_789, True)
    (again,) = await list_sources([str(script)], state_dir=tmp_path / "state")
    assert again.file == file
    (other,) = await list_sources([script], state_dir=tmp_path / "another state")
    assert other.file.source_id != file.source_id


async def test_an_empty_folder_that_is_named_is_offered(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (source,) = await list_sources([tmp_path / "nothing"], state_dir=None)
    assert (source.file.path, source.file.kind, source.file.size) == (("nothing",), FileKind.DIRECTORY, 0)


async def test_a_link_is_followed_where_it_is_named_and_left_out_in_a_tree(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    (tree / "link").symlink_to(tree / "file")
    (tree / "loop").symlink_to(tree)
    (tree / "dangling").symlink_to("nowhere")
    (tmp_path / "way in").symlink_to(tree)
    (tmp_path / "to a file").symlink_to(tree / "file")
    with caplog.at_level(logging.DEBUG):
        assert await paths_of(tree) == ["tree/file"]
    assert "'link'" in caplog.text
    assert await paths_of(tmp_path / "way in") == ["way in/file"]
    assert await paths_of(tmp_path / "to a file") == ["to a file"]


@only_on("linux")
async def test_what_is_no_file_is_left_out_in_a_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        (source,) = await list_sources([tree], state_dir=None)
        assert source.file.kind is FileKind.DIRECTORY
        (pipe,) = await list_sources([tree / "pipe"], state_dir=None)
        assert (pipe.file.path, pipe.file.size, pipe.file.source_id) == (("pipe",), None, None)
        with pytest.raises(StorageAccessDenied, match="neither a file nor"):
            await list_sources([tree / "socket"], state_dir=None)
        with pytest.raises(StorageAccessDenied, match="neither a file nor"):
            await list_sources(["/dev/null"], state_dir=None)


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(StorageAccessDenied, match="no such file or folder") as denied:
        await list_sources([missing], state_dir=None)
    assert denied.value.file == str(missing)
    assert isinstance(denied.value.__cause__, FileNotFoundError)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageAccessDenied, match="Not a directory"):
        await list_sources([tmp_path / "file" / "below"], state_dir=None)


async def test_what_may_not_be_read_is_named(open_place: Path, unprivileged: Unprivileged) -> None:
    tree = open_place / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "private").write_bytes(b"x")
    (tree / "dir" / "private").chmod(0)
    with unprivileged(), pytest.raises(StorageAccessDenied, match="Permission denied") as denied:
        await list_sources([tree], state_dir=None)
    assert denied.value.file == "tree/dir/private"
    assert isinstance(denied.value.__cause__, PermissionError)
    (tree / "dir").chmod(0)
    with unprivileged(), pytest.raises(StorageAccessDenied) as denied:
        await list_sources([tree], state_dir=None)
    assert denied.value.file == "tree/dir"


async def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageAccessDenied, match="file/state"):
        await list_sources([tmp_path / "file"], state_dir=tmp_path / "file" / "state")


@only_on("linux")
async def test_names_that_cannot_travel_are_changed_visibly_and_kept_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = os.fsencode(tmp_path / "tree")
    os.mkdir(tree)
    for name in (b"a\\b", b"a_b", b"caf\xe9", "cafe\u0301".encode(), "café".encode()):
        os.mknod(tree + b"/" + name)
    with caplog.at_level(logging.INFO):
        assert await paths_of(tmp_path / "tree") == [
            "tree/a_b",
            "tree/a_b (1)",
            "tree/café",
            "tree/café (1)",
            "tree/caf%E9",
        ]
    assert r"'a\\b' travels as 'a_b'" in caplog.text


async def test_a_tree_that_is_too_deep_to_travel_is_an_error(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "/".join("x" * 40)).mkdir(parents=True)
    with pytest.raises(UploadError, match="33 folders deep"):
        await list_sources([tree], state_dir=None)


async def test_the_second_thing_of_one_name_is_numbered(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_bytes(folder.encode())
    things: list[Path | SourceLike] = [tmp_path / "one" / "a.txt", tmp_path / "two" / "a.txt"]
    things += [from_bytes("a.txt", b""), tmp_path / "one" / "sub", tmp_path / "two" / "sub"]
    sources = await list_sources(things, state_dir=None)
    names = ["/".join(source.file.path) for source in sources]
    assert names == ["a.txt", "a (1).txt", "a (2).txt", "sub", "sub (1)"]


async def test_bytes_are_known_again_by_what_they_are(tmp_path: Path) -> None:
    things = [from_bytes("a", b"same"), from_bytes("b", bytearray(b"same")), from_bytes("c", b"other")]
    first = await list_sources(things, state_dir=tmp_path)
    again = await list_sources(things, state_dir=tmp_path)
    ids = [source.file.source_id for source in first]
    assert ids == [source.file.source_id for source in again]
    assert ids[0] == ids[1] != ids[2]


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def test_a_stream_has_the_size_that_it_was_given() -> None:
    things = [from_stream("a.txt", nothing(), size=5), from_stream("b", nothing())]
    first, second = await list_sources(things, state_dir=None)
    assert (first.file.size, first.file.source_id, first.file.media_type) == (5, None, "text/plain")
    assert second.file.size is None


def test_what_cannot_be_sent_is_refused_where_it_is_given() -> None:
    with pytest.raises(UnsafeName):
        from_bytes("../x", b"")
    with pytest.raises(ValueError, match="negative"):
        from_stream("x", nothing(), size=-1)
    with pytest.raises(ValueError, match="negative"):
        from_file_object("x", io.BytesIO(), size=-1)
    with pytest.raises(TypeError, match="not an async iterable: list"):
        from_stream("x", [b""])  # type: ignore[arg-type]  # that is the point


async def test_what_is_neither_a_path_nor_a_source_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="bytes"):
        await list_sources([b"raw"], state_dir=None)  # type: ignore[list-item]  # that is the point
