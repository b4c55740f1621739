"""Nothing gets out of a folder, whichever way it is reached, and whoever swaps links in meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2pshare.storage import kernel
from p2pshare.storage.beneath import MAX_OPEN_FOLDERS, Beneath, Way, best_way
from tests.support.needs import only_on

WAYS = [
    pytest.param(Way.OPENAT2, marks=only_on("linux")),
    pytest.param(Way.WALK, marks=only_on("linux")),
    Way.PATHS,
]
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

SWAP = """
import os, sys, contextlib
os.chdir(sys.argv[1])
print(flush=True)
while True:  # until it is killed
    with contextlib.suppress(OSError):
        os.rename("sub", "aside")
        os.symlink("../outside", "sub")
        os.unlink("sub")
        os.rename("aside", "sub")
"""


@pytest.mark.parametrize("way", WAYS)
def test_folders_are_made_and_opened(tmp_path: Path, way: Way) -> None:
    beneath = Beneath(tmp_path, way)
    with pytest.raises(FileNotFoundError):
        beneath.folder(("a", "b"), make=False)
    folder = beneath.folder(("a", "b"), make=True)
    assert beneath.folder(("a", "b"), make=True) is folder
    os.close(folder.open("file", NEW))
    assert (tmp_path / "a" / "b" / "file").stat().st_mode & 0o777 == 0o600
    assert folder.path == tmp_path / "a" / "b"
    with pytest.raises(FileExistsError):
        folder.open("file", NEW)
    folder.rename("file", "other")
    assert folder.stat("other").st_size == 0
    folder.link("other", "third")
    folder.unlink("other")
    folder.unlink("third")
    beneath.sync()
    beneath.remove_made()
    beneath.close()
    beneath.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_link_in_the_way_is_refused_wherever_it_stands(tmp_path: Path, way: Way) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "victim").write_bytes(b"untouched")
    inside = tmp_path / "inside"
    (inside / "real").mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    (inside / "real" / "link").symlink_to("../../outside")
    (inside / "real" / "loop").symlink_to("loop")
    (inside / "file").write_bytes(b"")
    (inside / "victim").symlink_to(outside / "victim")
    beneath = Beneath(inside, way)
    for parts in (
        ("link",),
        ("link", "sub"),
        ("real", "link"),
        ("real", "loop", "x"),
        ("file",),
        ("file", "x"),
    ):
        with pytest.raises(OSError, match=r"link|directory"):
            beneath.folder(parts, make=True)
    folder = beneath.folder((), make=False)
    for flags in (os.O_RDWR, NEW, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(OSError, match=r"link|exists"):
            folder.open("victim", flags)
    beneath.close()
    assert sorted(path.name for path in outside.iterdir()) == ["sub", "victim"]
    assert (outside / "victim").read_bytes() == b"untouched"


@pytest.mark.parametrize("way", [Way.OPENAT2, Way.WALK])
@only_on("linux")
def test_a_folder_that_a_process_keeps_swapping_for_a_link_leads_nowhere(tmp_path: Path, way: Way) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    for folder in (outside / "deep", inside / "sub" / "deep"):
        folder.mkdir(parents=True)
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, inside], stdout=subprocess.PIPE)
    assert swapper.stdout is not None
    swapper.stdout.readline()
    opened, links_met = 0, 0
    until = time.monotonic() + 60  # seconds; it takes less than one
    try:
        while (opened < 50 or links_met < 50) and time.monotonic() < until:
            beneath = Beneath(inside, way)
            try:
                os.close(beneath.folder(("sub", "deep"), make=False).open(f"{opened}", NEW))
                opened += 1
            except FileNotFoundError:
                pass
            except OSError as exc:
                assert exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV)
                links_met += 1
            beneath.close()
    finally:
        swapper.kill()
        swapper.communicate()
    assert opened
    assert links_met
    assert list((outside / "deep").iterdir()) == []


@only_on("linux")
def test_a_folder_swapped_for_a_link_after_it_was_opened_by_path_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    beneath = Beneath(tmp_path / "inside", Way.PATHS)
    folder = beneath.folder(("sub",), make=False)
    (tmp_path / "inside" / "sub").rename(tmp_path / "aside")
    (tmp_path / "inside" / "sub").symlink_to(tmp_path / "outside")
    for act in (
        lambda: folder.open("x", NEW),
        lambda: folder.mkdir("x"),
        lambda: folder.unlink("x"),
        lambda: folder.rename("x", "y"),
    ):
        with pytest.raises(NotADirectoryError):
            act()
    assert list((tmp_path / "outside").iterdir()) == []


@only_on("linux")
def test_a_pipe_in_the_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match=r"address|device"):
        Beneath(tmp_path).folder((), make=False).open("x", os.O_WRONLY)


def test_the_root_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    beneath = Beneath(tmp_path / "link")
    assert beneath.folder(("sub",), make=True).path == tmp_path / "real" / "sub"
    beneath.close()


def test_only_so_many_folders_stay_open(tmp_path: Path) -> None:
    beneath = Beneath(tmp_path)
    folders = [beneath.folder((f"{number}",), make=True) for number in range(2 * MAX_OPEN_FOLDERS)]
    beneath.trim([folders[0]])
    assert [folder for folder in folders if folder.fd >= 0] == [folders[0], *folders[-MAX_OPEN_FOLDERS + 2 :]]
    assert beneath.folder(("1",), make=False) is not folders[1]
    beneath.close()


@only_on("linux")
def test_the_best_way_is_probed_once_and_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_way() is Way.OPENAT2
    monkeypatch.setattr(kernel, "has_openat2", lambda: False)
    assert best_way() is Way.WALK
    monkeypatch.setattr(os, "supports_dir_fd", set())
    assert best_way() is Way.PATHS


def test_elsewhere_the_calls_of_linux_say_that_they_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.has_openat2.cache_clear()
    monkeypatch.setattr(kernel, "_libc", None)
    assert not kernel.has_openat2()
    assert not kernel.rename_noreplace(0, "a", "b")
    assert not kernel.fallocate(0, 1)
    kernel.has_openat2.cache_clear()
