"""Where a platform lacks a call, another way does: all of Linux's own taken away at once, in a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LACKING = """
import os, select, sys
for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "pread", "pwritev"):
    delattr(os, name)
del os.posix_fadvise, os.fdatasync, os.fchmod
del select.poll
os.supports_dir_fd, os.supports_fd, os.supports_effective_ids = set(), set(), set()

import asyncio
from pathlib import Path
from p2pshare.model import BLOCK_SIZE, Limits
from p2pshare.storage import FolderSink, UploadReader, from_file_object, list_sources, kernel
from p2pshare.storage.beneath import Way, best_way
kernel._libc = None
assert best_way() is Way.PATHS

async def main(source, folder):
    for attempt in (1, 2):
        stream = from_file_object("stream", open(source / "a", "rb"))
        sources = await list_sources([source, stream], state_dir=None)
        files = [each.file for each in sources]
        sink = FolderSink(folder, files, limits=Limits(disk_reserve=0))
        held = await sink.open()
        assert bool(held) == (attempt == 2)
        reader = UploadReader(sources, selection=range(len(files)), held=held, chunk_size=65_000)
        confirmed = []
        while batch := await reader.next_batch(BLOCK_SIZE):
            confirmed += (await sink.store(batch)).confirmed
            if attempt == 1 and batch[-1].offset > 3 * BLOCK_SIZE:
                break
        await reader.close()
        await sink.close(keep_parts=attempt == 1)
    assert sorted(confirmed) == list(range(len(files))), confirmed

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_files_arrive_and_are_resumed_without_the_calls_of_linux(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    (source / "a").write_bytes(bytes(range(256)) * 20_000)
    for number in range(200):
        (source / f"b{number}").write_bytes(b"%d" % number)
    command = [sys.executable, "-W", "ignore", "-c", LACKING, str(source), str(tmp_path / "in")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    for path in source.rglob("*"):
        arrived = tmp_path / "in" / "source" / path.relative_to(source)
        assert arrived.is_dir() if path.is_dir() else arrived.read_bytes() == path.read_bytes()
        assert path.is_dir() or arrived.stat().st_mtime_ns == path.stat().st_mtime_ns
    assert (tmp_path / "in" / "stream").read_bytes() == (source / "a").read_bytes()
    assert not list((tmp_path / "in").rglob(".*"))
