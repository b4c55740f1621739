"""From sources to a sink without a network in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3

from p2pshare.errors import TransferError
from p2pshare.model import MIB, Extent, FileEnd, HeldBlocks, Limits, OfferedFile, Piece
from p2pshare.storage import FileFailed, FolderSink, Sink, Source, UploadReader, part, positioned

NO_RESERVE = Limits(disk_reserve=0)


async def read_all(
    sources: Sequence[Source],
    *,
    held: Sequence[HeldBlocks] = (),
    chunk_size: int = 65_000,
    batch_size: int = MIB,
    selection: Sequence[int] | None = None,
) -> list[Extent | FileEnd | FileFailed]:
    """Everything that a reader gives."""
    selection = range(len(sources)) if selection is None else selection
    reader = UploadReader(sources, selection=selection, held=held, chunk_size=chunk_size)
    pieces: list[Extent | FileEnd | FileFailed] = []
    while batch := await reader.next_batch(batch_size):
        pieces.extend(batch)
    await reader.close()
    return pieces


def failure(pieces: Sequence[Extent | FileEnd | FileFailed]) -> TransferError:
    """The one failure among the pieces, which is the last."""
    failed = [piece for piece in pieces if isinstance(piece, FileFailed)]
    assert [failed[0]] == failed == list(pieces[-1:])
    return failed[0].error


def content(pieces: Sequence[Extent | FileEnd | FileFailed], index: int = 0) -> bytes:
    """A file's bytes, which have no gap, and fit its end."""
    payloads: list[bytes] = []
    for piece in pieces:
        if piece.index == index and isinstance(piece, Extent):
            assert piece.offset == sum(map(len, payloads))
            payloads.append(bytes(piece.payload))
    whole = b"".join(payloads)
    assert FileEnd(index, len(whole), blake3(whole).digest()) in pieces
    return whole


def extents(index: int, whole: bytes, *, chunk_size: int = 65_000, start: int = 0) -> list[Piece]:
    """A file's bytes from a place on, as they come off the wire."""
    return [Extent(index, at, whole[at : at + chunk_size]) for at in range(start, len(whole), chunk_size)]


def end(index: int, whole: bytes) -> FileEnd:
    return FileEnd(index, len(whole), blake3(whole).digest())


def offered(name: str, whole: bytes, index: int = 0) -> OfferedFile:
    """A file that can be resumed."""
    return OfferedFile(index, tuple(name.split("/")), len(whole), mtime_ns=10**18, source_id=bytes(16))


async def save(folder: Path, file: OfferedFile, whole: bytes) -> Path:
    """Store one file."""
    sink = FolderSink(folder, [file], limits=NO_RESERVE)
    await sink.open()
    report = await sink.store([*extents(file.index, whole), end(file.index, whole)])
    await sink.close(keep_parts=False)
    assert not report.failed
    assert report.confirmed == [file.index]
    return sink.paths[file.index]


async def save_error(sink: Sink, pieces: Sequence[Piece], index: int = 0) -> TransferError:
    """The error of the one file that fails."""
    report = await sink.store(pieces)
    assert list(report.failed) == [index]
    return report.failed[index]


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, hidden files included; None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


class StuckDisk:
    """A disk of which a write waits until it is let go; for the running loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_stuck = asyncio.Event()
        "Set once a write waits."
        self._loop = asyncio.get_running_loop()
        self._may_go = threading.Event()
        self._write_all = positioned.write_all
        monkeypatch.setattr(part, "write_all", self._wait)

    def _wait(self, fd: int, payloads: Sequence[bytes], offset: int) -> None:
        self._loop.call_soon_threadsafe(self.is_stuck.set)
        assert self._may_go.wait(60), "the loop waited for the disk"
        self._write_all(fd, payloads, offset)  # EBADF, had the file been closed

    def let_go(self) -> None:
        """Let writes go on."""
        self._may_go.set()
