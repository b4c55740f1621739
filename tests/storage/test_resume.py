"""What a broken transfer left is gone on with, where it is what it says it is, and only there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from p2pshare.errors import IntegrityError
from p2pshare.model import BLOCK_SIZE, MIB, Extent, HeldBlocks, OfferedFile
from p2pshare.storage import FolderSink, list_sources, positioned
from p2pshare.storage import part as part_module
from p2pshare.storage.beneath import Way
from tests.storage.test_beneath import WAYS
from tests.storage.transfer import NO_RESERVE, end, extents, offered, read_all, save_error, tree
from tests.support.needs import only_on

WHOLE = os.urandom(5 * BLOCK_SIZE + 1234)
FILE = offered("sub/a.bin", WHOLE)


def digests(whole: bytes, first: int, count: int) -> tuple[bytes, ...]:
    blocks = (whole[at * BLOCK_SIZE : (at + 1) * BLOCK_SIZE] for at in range(first, first + count))
    return tuple(blake3(block).digest() for block in blocks)


def new_sink(folder: Path, file: OfferedFile = FILE, *, peer: str = "", way: Way | None = None) -> FolderSink:
    return FolderSink(folder, [file], limits=NO_RESERVE, peer=peer, way=way)


async def break_off(folder: Path, size: int, file: OfferedFile = FILE, *, way: Way | None = None) -> None:
    """An attempt that comes as far as this many bytes."""
    sink = new_sink(folder, file, way=way)
    await sink.open()
    await sink.store(extents(0, WHOLE[:size]))
    await sink.close(keep_parts=True)


async def finish(sink: FolderSink, start: int) -> None:
    report = await sink.store([*extents(0, WHOLE, start=start), end(0, WHOLE)])
    await sink.close(keep_parts=False)
    assert report.failed == {}
    assert report.confirmed == [0]
    assert report.stored == len(WHOLE) - start


def parts(folder: Path) -> tuple[Path, Path]:
    """The journal and the part."""
    journal, part = sorted((folder / "sub").iterdir())
    return journal, part


@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_transfer_goes_on_after_its_last_whole_block(tmp_path: Path, way: Way) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE + 77, way=way)
    sink = new_sink(tmp_path, way=way)
    assert await sink.open() == [HeldBlocks(0, 0, digests(WHOLE, 0, 3))]
    await finish(sink, 3 * BLOCK_SIZE)
    assert tree(tmp_path) == {"sub": None, "sub/a.bin": WHOLE}


async def test_a_file_that_only_lacked_its_end_is_put_into_place(tmp_path: Path) -> None:
    await break_off(tmp_path, len(WHOLE))
    sink = new_sink(tmp_path)
    assert await sink.open() == [HeldBlocks(0, 0, digests(WHOLE, 0, 6))]
    await finish(sink, len(WHOLE))
    assert tree(tmp_path) == {"sub": None, "sub/a.bin": WHOLE}


async def test_held_blocks_from_the_start_on_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_off(tmp_path, 4 * BLOCK_SIZE)
    read = 0
    real = positioned._pread_some

    def count(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        payload = real(fd, length, offset)
        read += len(payload)
        return payload

    monkeypatch.setattr(positioned, "_pread_some", count)
    sink = new_sink(tmp_path)
    await sink.open()
    await finish(sink, 4 * BLOCK_SIZE)
    assert read == 4 * BLOCK_SIZE


async def test_a_transfer_can_break_off_again_and_again(tmp_path: Path) -> None:
    start = 0
    for blocks in range(1, 6):
        sink = new_sink(tmp_path)
        held = await sink.open()
        assert sum(len(each.digests) for each in held) * BLOCK_SIZE == start
        await sink.store(extents(0, WHOLE[: blocks * BLOCK_SIZE + 5], start=start))
        await sink.close(keep_parts=True)
        start = blocks * BLOCK_SIZE
    sink = new_sink(tmp_path)
    await sink.open()
    await finish(sink, start)


async def test_a_cancelled_transfer_leaves_nothing(tmp_path: Path) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    sink = new_sink(tmp_path)
    await sink.open()
    await sink.close(keep_parts=False)
    assert tree(tmp_path) == {"sub": None}
    await break_off(tmp_path / "other", 0)
    assert tree(tmp_path / "other") == {}


async def test_an_open_that_fails_for_want_of_space_keeps_what_was_there(tmp_path: Path) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    before = tree(tmp_path)
    sink = FolderSink(tmp_path, [FILE, OfferedFile(1, ("huge",), 2**52)], limits=NO_RESERVE)
    with pytest.raises(Exception, match="are needed"):
        await sink.open()
    await sink.close(keep_parts=True)
    assert tree(tmp_path) == before


def flip_a_byte(journal: Path, part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(BLOCK_SIZE + 5)
        file.write(bytes([WHOLE[BLOCK_SIZE + 5] ^ 1]))


def truncate_the_part(journal: Path, part: Path) -> None:
    os.truncate(part, BLOCK_SIZE + 1)


def tear_the_last_line(journal: Path, part: Path) -> None:
    os.truncate(journal, journal.stat().st_size - 30)


def claim_what_is_not_there(journal: Path, part: Path) -> None:
    with journal.open("a") as file:
        file.write(f"3 {'0' * 64}\n999999 {'0' * 64}\n-1 {'0' * 64}\nnonsense\n\x00\xff\n4 {'0' * 63}")


def append_to_the_part(journal: Path, part: Path) -> None:
    with part.open("ab") as file:
        file.write(b"more than the file has")


@pytest.mark.parametrize(
    ("tamper", "good"),
    [
        (flip_a_byte, [0, 2]),
        (truncate_the_part, [0]),
        (tear_the_last_line, [0, 1]),
        (claim_what_is_not_there, [0, 1, 2]),
        (append_to_the_part, [0, 1, 2]),
    ],
)
async def test_a_torn_or_tampered_block_is_simply_not_claimed(
    tmp_path: Path, tamper: Callable[[Path, Path], None], good: list[int]
) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    tamper(*parts(tmp_path))
    sink = new_sink(tmp_path)
    held = await sink.open()
    claimed = [each.first_block + at for each in held for at in range(len(each.digests))]
    assert claimed == good
    (tmp_path / "source").write_bytes(WHOLE)
    sources = await list_sources([tmp_path / "source"], state_dir=None)
    pieces = await read_all(sources, held=held)
    sent = sum(len(piece.payload) for piece in pieces if isinstance(piece, Extent))
    assert sent == len(WHOLE) - len(good) * BLOCK_SIZE
    assert (await sink.store(pieces)).confirmed == [0]  # type: ignore[arg-type]  # nothing fails
    await sink.close(keep_parts=False)
    assert tree(tmp_path / "sub") == {"a.bin": WHOLE}


async def test_a_journal_goes_on_on_a_line_of_its_own(tmp_path: Path) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    tear_the_last_line(*parts(tmp_path))
    sink = new_sink(tmp_path)
    await sink.open()
    await sink.store(extents(0, WHOLE[: 4 * BLOCK_SIZE], start=2 * BLOCK_SIZE))
    await sink.close(keep_parts=True)
    sink = new_sink(tmp_path)
    assert await sink.open() == [HeldBlocks(0, 0, digests(WHOLE, 0, 4))]
    await finish(sink, 4 * BLOCK_SIZE)


async def test_blocks_that_the_sender_sends_again_replace_what_was_held(tmp_path: Path) -> None:
    old = bytearray(WHOLE)
    old[100] ^= 1  # the first block is another one at the sender
    sink = new_sink(tmp_path)
    await sink.open()
    await sink.store(extents(0, bytes(old[: 4 * BLOCK_SIZE])))
    await sink.close(keep_parts=True)
    sink = new_sink(tmp_path)
    assert await sink.open() == [HeldBlocks(0, 0, digests(bytes(old), 0, 4))]
    resent = [*extents(0, WHOLE[:BLOCK_SIZE]), *extents(0, WHOLE, start=4 * BLOCK_SIZE), end(0, WHOLE)]
    assert (await sink.store(resent)).confirmed == [0]
    await sink.close(keep_parts=False)
    assert tree(tmp_path / "sub") == {"a.bin": WHOLE}


async def test_a_resumed_file_whose_digest_differs_is_removed(tmp_path: Path) -> None:
    await break_off(tmp_path, 4 * BLOCK_SIZE)
    sink = new_sink(tmp_path)
    await sink.open()
    error = await save_error(sink, [*extents(0, WHOLE, start=4 * BLOCK_SIZE), end(0, WHOLE[::-1])])
    assert isinstance(error, IntegrityError)
    await sink.close(keep_parts=True)
    assert tree(tmp_path / "sub") == {}


@pytest.mark.parametrize(
    "changed",
    [replace(FILE, mtime_ns=5), replace(FILE, mtime_ns=None), replace(FILE, size=len(WHOLE) + 1)],
)
async def test_a_source_that_changed_starts_over(tmp_path: Path, changed: OfferedFile) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    sink = new_sink(tmp_path, changed)
    assert await sink.open() == []
    assert tree(tmp_path / "sub") == {}
    await sink.close(keep_parts=True)


@pytest.mark.parametrize("other", [replace(FILE, source_id=b"1" * 16), replace(FILE, path=("sub", "b.bin"))])
async def test_a_part_is_of_one_source_in_one_place(tmp_path: Path, other: OfferedFile) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    sink = new_sink(tmp_path, other)
    assert await sink.open() == []
    await finish(sink, 0)
    sink = new_sink(tmp_path)
    assert await sink.open() == [HeldBlocks(0, 0, digests(WHOLE, 0, 3))]
    await sink.close(keep_parts=False)


async def test_a_part_is_of_one_peer(tmp_path: Path) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    other = new_sink(tmp_path, peer="mallory")
    assert await other.open() == []
    await other.close(keep_parts=True)


@pytest.mark.parametrize(
    "file", [replace(FILE, source_id=None), OfferedFile(0, ("small",), 5, source_id=bytes(16))]
)
async def test_what_cannot_be_read_again_or_is_small_leaves_no_part(
    tmp_path: Path, file: OfferedFile
) -> None:
    await break_off(tmp_path, min(file.size or 0, 3 * BLOCK_SIZE), file)
    assert tree(tmp_path) == {}


@only_on("linux")
async def test_two_jobs_at_the_same_file_keep_out_of_each_others_way(tmp_path: Path) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    first, second, third = new_sink(tmp_path), new_sink(tmp_path), new_sink(tmp_path)
    assert await first.open() != []
    assert await second.open() == []
    assert await third.open() == []
    await second.store(extents(0, WHOLE[:MIB]))
    await third.store(extents(0, WHOLE[:MIB]))
    await second.store([*extents(0, WHOLE, start=MIB), end(0, WHOLE)])
    await third.close(keep_parts=False)
    await finish(first, 3 * BLOCK_SIZE)
    await second.close(keep_parts=False)
    assert tree(tmp_path / "sub") == {"a.bin": WHOLE, "a (1).bin": WHOLE}


@only_on("linux")
@pytest.mark.parametrize("plant", ["symlink", "hard link", "fifo", "folder"])
async def test_what_is_planted_in_place_of_a_part_is_not_written_to(tmp_path: Path, plant: str) -> None:
    await break_off(tmp_path / "in", 3 * BLOCK_SIZE)
    _, part = parts(tmp_path / "in")
    victim = tmp_path / "victim"
    victim.write_bytes(part.read_bytes())
    before = victim.read_bytes()
    part.unlink()
    match plant:
        case "symlink":
            part.symlink_to(victim)
        case "hard link":
            os.link(victim, part)
        case "fifo":
            os.mkfifo(part)
        case "folder":
            part.mkdir()
    sink = new_sink(tmp_path / "in")
    assert await sink.open() == []
    await finish(sink, 0)
    assert victim.read_bytes() == before
    assert (tmp_path / "in" / "sub" / "a.bin").read_bytes() == WHOLE


async def test_a_journal_without_its_part_is_removed(tmp_path: Path) -> None:
    await break_off(tmp_path, 3 * BLOCK_SIZE)
    journal, part = parts(tmp_path)
    part.unlink()
    sink = new_sink(tmp_path)
    assert await sink.open() == []
    assert not journal.exists()
    await sink.close(keep_parts=True)


KILLED = """
import asyncio, sys
from pathlib import Path
from p2pshare.model import Extent, Limits, OfferedFile
from p2pshare.storage import FolderSink

async def main():
    whole = Path(sys.argv[1]).read_bytes()
    file = OfferedFile(0, ("sub", "a.bin"), len(whole), mtime_ns=10**18, source_id=bytes(16))
    sink = FolderSink(sys.argv[2], [file], limits=Limits(disk_reserve=0))
    await sink.open()
    for at in range(0, len(whole), 100_000):
        report = await sink.store([Extent(0, at, whole[at : at + 100_000])])
        print(at + report.stored, flush=True)

asyncio.run(main())
"""


def kill_after(size: int, source: Path, folder: Path) -> None:
    """A process that receives a file, killed once it has stored so many bytes."""
    command = [sys.executable, "-c", KILLED, str(source), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < size:
            pass
        writer.kill()


async def test_a_killed_receiver_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(WHOLE)
    await asyncio.to_thread(kill_after, 3 * BLOCK_SIZE, tmp_path / "source", tmp_path / "in")
    sink = new_sink(tmp_path / "in")
    (held,) = await sink.open()
    assert held.first_block == 0
    assert len(held.digests) >= 3
    await finish(sink, min(len(held.digests) * BLOCK_SIZE, len(WHOLE)))
    assert tree(tmp_path / "in" / "sub") == {"a.bin": WHOLE}


async def test_opening_that_is_cancelled_does_not_hash_to_the_end_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await break_off(tmp_path, 4 * BLOCK_SIZE)
    loop = asyncio.get_running_loop()
    begun, hashed = asyncio.Event(), 0
    sink = new_sink(tmp_path)
    pread = positioned.pread

    def first_block(fd: int, length: int, offset: int) -> bytes:
        nonlocal hashed
        hashed += 1
        loop.call_soon_threadsafe(begun.set)
        sink._stop.wait()
        return pread(fd, length, offset)

    monkeypatch.setattr(part_module, "pread", first_block)
    opening = asyncio.create_task(sink.open())
    await begun.wait()
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    await sink.close(keep_parts=True)
    assert hashed == 1
    monkeypatch.undo()
    again = new_sink(tmp_path)
    assert await again.open() == [HeldBlocks(0, 0, digests(WHOLE, 0, 4))]
    await finish(again, 4 * BLOCK_SIZE)
