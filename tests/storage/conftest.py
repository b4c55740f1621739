"""What the tests of storage share: small disks, a user without privileges, small blocks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

NOBODY = 65_534

Unprivileged = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB; tests that use it are marked `needs_tmpfs()`."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may enter, where pytest's own are private."""
    place = Path(tempfile.mkdtemp(prefix="p2pshare-test-"))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def fast_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: for tests of very many files, which are not about syncing."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    place = Path(tempfile.mkdtemp(prefix="p2pshare-test-", dir="/dev/shm"))
    yield place
    shutil.rmtree(place)


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def unprivileged() -> Unprivileged:
    """``with unprivileged():`` without root's right to read and write everything."""
    return _as_nobody


@pytest.fixture(scope="module")
def blocks_of_1_kib() -> Iterator[int]:
    """Blocks of 1 KiB instead of 1 MiB, so that a file of many is still small."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("part", "positioned", "journal", "reading", "block_cache", "memory"):
            patch.setattr(f"p2pshare.storage.{module}.BLOCK_SIZE", 1024)
        yield 1024
