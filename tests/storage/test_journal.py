"""Killed at whatever write: at most one block of a part is there that its journal cannot prove."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from p2pshare.model import BLOCK_SIZE, OfferedFile
from p2pshare.storage import positioned
from p2pshare.storage.beneath import Beneath
from p2pshare.storage.part import Part, part_key
from tests.support.needs import only_on

BLOCKS = 4
SIZE = BLOCKS * BLOCK_SIZE + 77

# Children are forked from a process without threads. Each writes the file, and is killed at one of its
# writes: before it, in the middle of it, or after it.
KILLED = """
import os, signal, sys
from pathlib import Path
from p2pshare.model import OfferedFile
from p2pshare.storage.beneath import Beneath
from p2pshare.storage.part import Part, part_key

folder, size, chunk = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
whole = (bytes(range(256)) * (size // 256 + 1))[:size]
file = OfferedFile(0, ("a",), size, mtime_ns=5, source_id=bytes(16))

def child(where, deadly, moment):
    calls = written = 0
    def at_write(count, write):
        nonlocal calls
        if calls == deadly and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = write(count // 2 if calls == deadly and moment == "during" else count)
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return done
    real_pwritev, real_write = os.pwritev, os.write
    def pwritev(fd, buffers, offset):
        joined = b"".join(buffers)
        return at_write(len(joined), lambda count: real_pwritev(fd, [joined[:count]], offset))
    os.pwritev = pwritev
    os.write = lambda fd, line: at_write(len(line), lambda count: real_write(fd, line[:count]))
    part = Part.create(file, Beneath(where).folder((), make=False), "a", part_key("", file))
    for at in range(0, size, chunk):
        end = min(at + chunk, size)
        part.write(at, [whole[cut : min(cut + 65_000, end)] for cut in range(at, end, 65_000)])

for deadly in range(10_000):
    was_killed = False
    for moment in ("before", "during", "after"):
        where = folder / f"{deadly:05} {moment}"
        where.mkdir()
        pid = os.fork()
        if not pid:
            child(where, deadly, moment)
            os._exit(0)
        was_killed |= os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    if not was_killed:
        break
"""


@dataclass(frozen=True)
class Left:
    """What a killed process left."""

    whole: int
    "Blocks whose bytes are all there, from the start on."
    proven: int
    "Blocks that a later attempt takes."


def find(folder: Path, content: bytes) -> Left:
    file = OfferedFile(0, ("a",), SIZE, mtime_ns=5, source_id=bytes(16))
    beneath = Beneath(folder)
    parts = list(folder.glob(".*-part"))
    there = parts[0].read_bytes() if parts else b""
    whole = 0
    while (
        whole < BLOCKS
        and there[whole * BLOCK_SIZE : (whole + 1) * BLOCK_SIZE]
        == content[whole * BLOCK_SIZE : (whole + 1) * BLOCK_SIZE]
    ):
        whole += 1
    found = Part.resume(file, beneath.folder((), make=False), "a", part_key("", file), stop=Event())
    proven = 0
    if found is not None:
        part, held = found
        assert held[0].first_block == 0
        assert len(held) == 1
        proven = min(len(held[0].digests), BLOCKS)
        part.close()
    beneath.close()
    return Left(whole, proven)


@only_on("linux")
@pytest.mark.parametrize("chunk", [400_000, 3 * BLOCK_SIZE + 5, SIZE], ids=["small", "large", "all at once"])
def test_a_part_that_is_killed_at_any_write_has_at_most_one_block_that_is_not_proven(
    tmp_path: Path, chunk: int
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(SIZE), str(chunk)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    content = (bytes(range(256)) * (SIZE // 256 + 1))[:SIZE]
    left = [find(folder, content) for folder in sorted(tmp_path.iterdir())]
    assert len(left) > 3 * 2 * BLOCKS
    for each in left:
        assert each.whole - 1 <= each.proven <= each.whole, left
    assert {each.proven for each in left} == set(range(BLOCKS + 1))


def test_going_on_with_a_large_part_reads_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * BLOCK_SIZE
    file = OfferedFile(0, ("a",), size + 5, mtime_ns=5, source_id=bytes(16))
    beneath = Beneath(tmp_path)
    folder = beneath.folder((), make=False)
    part = Part.create(file, folder, "a", part_key("", file))
    block = bytes(BLOCK_SIZE)
    for at in range(0, size, BLOCK_SIZE):
        part.write(at, [block])
    part.close()
    read = 0
    real = positioned._pread_some

    def count(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        payload = real(fd, length, offset)
        read += len(payload)
        return payload

    monkeypatch.setattr(positioned, "_pread_some", count)
    found = Part.resume(file, folder, "a", part_key("", file))
    assert found is not None
    again, held = found
    assert [(blocks.first_block, len(blocks.digests)) for blocks in held] == [(0, 64)]
    again.write(size, [b"12345"])
    assert read == size
    again.discard()
    beneath.close()
