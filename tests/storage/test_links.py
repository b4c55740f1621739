"""Symbolic links: which are offered, which are made, and that none leads out of the folder."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import OfferDeclined, SaveFailed
from p2pshare.model import Conflict, FileEnd, FileKind, OfferedFile, Piece
from p2pshare.storage import FolderSink, UnsafeName, check_link, link_refusal, list_sources
from p2pshare.storage.beneath import Way
from p2pshare.storage.links import wire_target
from tests.storage.test_beneath import WAYS
from tests.storage.transfer import NO_RESERVE, end, extents, offered, read_all, save_error, tree
from tests.support.needs import only_on


def link(path: str, target: str, index: int = 0) -> OfferedFile:
    return OfferedFile(index, tuple(path.split("/")), 0, FileKind.LINK, target=target)


async def new_sink(
    folder: Path,
    files: Sequence[OfferedFile],
    *,
    way: Way | None = None,
    conflict: Conflict = Conflict.RENAME,
    keep_hidden: bool = False,
) -> FolderSink:
    sink = FolderSink(
        folder,
        files,
        limits=NO_RESERVE,
        conflict=conflict,
        keep_links=True,
        keep_hidden=keep_hidden,
        way=way,
    )
    await sink.open()
    return sink


async def make(sink: FolderSink, *files: OfferedFile) -> list[Path]:
    """Make links, each by its end."""
    report = await sink.store([end(file.index, b"") for file in files])
    assert report.failed == {}
    assert list(report.confirmed) == [file.index for file in files]
    return [sink.paths[file.index] for file in files]


# What may be --------------------------------------------------------------------------------------------

GOOD = [
    ("l", "a"),
    ("l", "a/b/c"),
    ("d/l", "../a"),
    ("d/l", ".."),
    ("d/e/l", "../../a"),
    ("d/e/l", "../f/g"),
    ("d/l", "...a"),
    ("l", "l"),
    ("l", "ü" * 100),
]
BAD = [
    ("l", ""),
    ("l", "/"),
    ("l", "/etc/passwd"),
    ("l", "//server/share"),
    ("l", ".."),
    ("l", "../a"),
    ("d/l", "../../a"),
    ("d/l", "a/.."),
    ("d/l", "../a/../../.."),
    ("d/e/l", "x/../../../../etc"),
    ("l", "."),
    ("l", "./a"),
    ("d/l", "../."),
    ("l", "a//b"),
    ("l", "a/"),
    ("l", "a\0b"),
    ("l", "a\\..\\b"),
    ("l", "\\\\server\\share"),
    ("l", "C:"),
    ("l", "C:/Windows"),
    ("l", "a/C:b"),
    ("l", "cafe\u0301"),
    ("l", "\udcff"),
    ("l", "x" * 256),
    ("l", "/".join(["x" * 200] * 6)),
    ("d/" * 31 + "l", "../" * 31 + "x" * 250 + ("/" + "x" * 250) * 3),
]


@pytest.mark.parametrize(("path", "target"), GOOD)
def test_a_link_within_the_folder_may_travel(path: str, target: str) -> None:
    check_link(tuple(path.split("/")), target)
    assert link_refusal(link(path, target), keep_links=True) is None


@pytest.mark.parametrize(("path", "target"), BAD)
def test_a_link_that_could_lead_out_is_refused_with_the_reason(path: str, target: str) -> None:
    with pytest.raises(UnsafeName) as refused:
        check_link(tuple(path.split("/")), target)
    assert str(refused.value).isprintable()
    error = link_refusal(link(path, target), keep_links=True)
    assert isinstance(error, SaveFailed)
    assert "a link that is not allowed" in str(error)


def test_links_that_nobody_wants_are_declined() -> None:
    error = link_refusal(link("l", "a"), keep_links=False)
    assert isinstance(error, OfferDeclined)
    assert (error.code, str(error)) == (6002, "a symbolic link, and links are not wanted here")
    assert link_refusal(offered("a", b""), keep_links=False) is None


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("./a", "a"),
        ("a//b/", "a/b"),
        (".././../a", "../../a"),
        ("a\\b", "a_b"),
        ("cafe\u0301", "café"),
        ("\udce9", "%E9"),
        ("a/./b", "a/b"),
    ],
)
def test_a_target_travels_as_names_do(text: str, target: str) -> None:
    assert wire_target(("d", "e", "l"), text) == target


@pytest.mark.parametrize("text", ["/a", ".", "./", "a/..", "../../../a", "", "x" * 2_000])
def test_a_link_that_no_receiver_would_make_is_not_offered(text: str) -> None:
    if text == "x" * 2_000:  # a name is cut as that of a file would be
        assert len(wire_target(("l",), text)) == 255
        return
    with pytest.raises(UnsafeName):
        wire_target(("d", "e", "l"), text)


_names = st.sampled_from(["a", "b", "l", "..", ".", "", "d", "e", "/", "..\\x"])
_numbers = itertools.count()


@only_on("linux")
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "d", "e", "l"]), min_size=1, max_size=4),
            st.lists(_names, max_size=5).map("/".join),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_links_are_made_together_none_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[list[str], str]]
) -> None:
    root = tmp_path_factory.getbasetemp() / f"links {next(_numbers)}" / "in"
    root.mkdir(parents=True)
    for at, (path, target) in enumerate(links):
        file = OfferedFile(at, tuple(path), 0, FileKind.LINK, target=target)
        place = root.joinpath(*path)
        if link_refusal(file, keep_links=True) is None:
            try:  # as the sink does it: no folder is reached through a link
                if os.path.realpath(place.parent) == str(place.parent):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(target)
            except OSError:
                continue
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            real = os.path.realpath(os.path.join(folder, name))
            assert real == str(root) or real.startswith(f"{root}/"), (links, name)


# Offered ------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with links of all kinds."""
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "only links").mkdir()
    (tree / "file").write_bytes(b"content")
    (tree / "sub" / "up").symlink_to("../file")
    (tree / "sub" / "folder").symlink_to("deep/")
    (tree / "dangling").symlink_to("./nowhere")
    (tree / "out").symlink_to("../../secret")
    (tree / "absolute").symlink_to(tree / "file")
    (tree / "only links" / "loop").symlink_to("loop")
    (tree / "z").symlink_to("sub")
    return tree


async def test_links_are_left_out_and_told(source: Path) -> None:
    listing = await list_sources([source], state_dir=None)
    assert ["/".join(each.file.path) for each in listing] == ["tree/file", "tree/only links", "tree/sub/deep"]
    assert {(each.path, each.reason) for each in listing.left_out} == {
        (f"tree/{name}", "a symbolic link")
        for name in ("absolute", "dangling", "only links/loop", "out", "sub/folder", "sub/up", "z")
    }


async def test_links_are_offered_where_that_is_wanted_and_those_that_lead_out_are_told(source: Path) -> None:
    listing = await list_sources([source], state_dir=None, keep_links=True)
    assert [("/".join(each.file.path), each.file.kind.value, each.file.target) for each in listing] == [
        ("tree/dangling", "link", "nowhere"),
        ("tree/file", "file", None),
        ("tree/only links/loop", "link", "loop"),
        ("tree/sub/deep", "directory", None),
        ("tree/sub/folder", "link", "deep"),
        ("tree/sub/up", "link", "../file"),
        ("tree/z", "link", "sub"),
    ]
    assert [each.path for each in listing.left_out] == ["tree/absolute", "tree/out"]
    assert "not relative" in listing.left_out[0].reason
    assert "out of the folder" in listing.left_out[1].reason
    assert [each.file.index for each in listing] == list(range(7))


async def test_a_folder_whose_links_all_lead_out_is_offered_as_empty(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "out").symlink_to("/etc")
    (only,) = await list_sources([tmp_path / "tree"], state_dir=None, keep_links=True)
    assert (only.file.path, only.file.kind) == (("tree",), FileKind.DIRECTORY)


async def test_a_link_that_is_named_is_followed_all_the_same(source: Path) -> None:
    (only,) = await list_sources([source / "sub" / "up"], state_dir=None, keep_links=True)
    assert (only.file.path, only.file.kind, only.file.size) == (("up",), FileKind.FILE, 7)


# Made ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_a_tree_with_links_arrives_as_it_was(source: Path, tmp_path: Path, way: Way) -> None:
    sources = await list_sources([source], state_dir=None, keep_links=True)
    sink = await new_sink(tmp_path / "in", [each.file for each in sources], way=way)
    report = await sink.store(await read_all(sources))  # type: ignore[arg-type]  # nothing fails
    await sink.close(keep_parts=False)
    assert sorted(report.confirmed) == list(range(len(sources)))
    assert report.failed == {}
    inbox = tmp_path / "in" / "tree"
    assert os.readlink(inbox / "sub" / "up") == "../file"
    assert (inbox / "sub" / "up").read_bytes() == b"content"
    assert (inbox / "sub" / "folder").is_dir()
    assert os.readlink(inbox / "dangling") == "nowhere"
    assert sink.paths[4] == inbox / "sub" / "folder"
    assert not (inbox / "out").exists()


async def test_by_default_no_link_is_made_and_the_others_arrive(tmp_path: Path) -> None:
    files = [link("l", "a"), offered("a", b"x", 1)]
    sink = FolderSink(tmp_path, files, limits=NO_RESERVE)
    await sink.open()
    report = await sink.store([end(0, b""), *extents(1, b"x"), end(1, b"x")])
    await sink.close(keep_parts=False)
    assert report.confirmed == [1]
    assert isinstance(report.failed[0], OfferDeclined)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("path", "target"), [("l", "../x"), ("d/l", "/etc"), ("d/l", "a/../../../x")])
async def test_a_link_that_could_lead_out_fails_alone(
    tmp_path: Path, way: Way, path: str, target: str
) -> None:
    sink = await new_sink(tmp_path / "in", [link(path, target), offered("a", b"x", 1)], way=way)
    report = await sink.store([end(0, b""), *extents(1, b"x"), end(1, b"x")])
    await sink.close(keep_parts=False)
    assert report.confirmed == [1]
    assert isinstance(report.failed[0], SaveFailed)
    assert tree(tmp_path) == {"in": None, "in/a": b"x"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_one_job", [True, False])
async def test_a_file_that_goes_through_a_link_made_before_does_not_leave_the_folder(
    tmp_path: Path, way: Way, is_one_job: bool
) -> None:
    (tmp_path / "outside").mkdir()
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "there").symlink_to(tmp_path / "outside")  # the user's own
    jobs: list[tuple[list[OfferedFile], list[Piece]]] = [
        ([link("l", "there")], [end(0, b"")]),
        (
            [
                offered("l/x", b"x", 1),
                offered("there/x", b"x", 2),
                link("l/m", "x", 3),
                link("there/m", "x", 4),
            ],
            [*extents(1, b"x"), end(1, b"x"), *extents(2, b"x"), end(2, b"x"), end(3, b""), end(4, b"")],
        ),
    ]
    if is_one_job:
        jobs = [(jobs[0][0] + jobs[1][0], jobs[0][1] + jobs[1][1])]
    for files, pieces in jobs:
        sink = await new_sink(inbox, files, way=way)
        report = await sink.store(pieces)
        await sink.close(keep_parts=False)
    # In one job the link and the folder are told apart by name; what is there already is not gone through.
    assert set(report.confirmed) == ({0, 1, 3} if is_one_job else set())
    assert {2, 4} <= set(report.failed)
    assert list((tmp_path / "outside").iterdir()) == []
    assert os.readlink(inbox / "l") == "there"


@pytest.mark.parametrize("way", WAYS)
async def test_a_link_takes_nobodys_place_and_is_not_made_twice(tmp_path: Path, way: Way) -> None:
    files = [link(name, "target", at) for at, name in enumerate(["file", "folder", "other", "same"])]
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").symlink_to("elsewhere")
    (tmp_path / "same").symlink_to("target")
    sink = await new_sink(tmp_path, files, way=way, conflict=Conflict.OVERWRITE)
    made = await make(sink, *files)
    await sink.close(keep_parts=False)
    assert [path.name for path in made] == ["file (1)", "folder (1)", "other (1)", "same"]
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert os.readlink(tmp_path / "other") == "elsewhere"
    assert all(os.readlink(path) == "target" for path in made)


async def test_a_link_whose_name_is_taken_is_skipped_where_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"mine")
    sink = await new_sink(tmp_path, [link("l", "a")], conflict=Conflict.SKIP)
    assert list(sink.skipped) == [0]
    await sink.close(keep_parts=False)
    assert (tmp_path / "l").read_bytes() == b"mine"


async def test_a_link_leads_to_files_by_the_names_that_they_get_here(tmp_path: Path) -> None:
    files = [
        offered("aux", b"1", 0),
        offered(".hidden", b"2", 1),
        offered("d/.kept", b"3", 2),
        link("to aux", "aux", 3),
        link("d/to hidden", "../.hidden", 4),
        link("d/to kept", ".kept", 5),
    ]
    pieces: list[Piece] = []
    for at, whole in enumerate([b"1", b"2", b"3"]):
        pieces += [*extents(at, whole), end(at, whole)]
    sink = await new_sink(tmp_path, files)
    report = await sink.store([*pieces, end(3, b""), end(4, b""), end(5, b"")])
    await sink.close(keep_parts=False)
    assert report.failed == {}
    assert [(tmp_path / path).read_bytes() for path in ("to aux", "d/to hidden", "d/to kept")] == [
        b"1",
        b"2",
        b"3",
    ]


async def test_bytes_for_a_link_are_no_link(tmp_path: Path) -> None:
    sink = await new_sink(tmp_path, [link("l", "a")])
    error = await save_error(sink, [*extents(0, b"x"), FileEnd(0, 1, bytes(32))])
    assert isinstance(error, SaveFailed)
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {}


@only_on("linux")
async def test_many_links_and_empty_folders_keep_few_folders_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files = [link(f"d{at}/l", "x", at) for at in range(300)]
    files += [OfferedFile(at, (f"e{at}",), 0, kind=FileKind.DIRECTORY) for at in range(300, 600)]
    sink = await new_sink(tmp_path, files)
    report = await sink.store([end(file.index, b"") for file in files])
    assert len(os.listdir("/proc/self/fd")) - before < 50
    assert sorted(report.confirmed) == list(range(600))
    await sink.close(keep_parts=False)
