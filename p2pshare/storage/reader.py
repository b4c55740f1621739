"""Reads the files of an upload's job, one batch ahead of what is being sent.

Two batches are in memory at most, the one that is being sent and the next. Everything that waits for a disk
happens in a thread; a file is open only while it is being read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pshare.errors import TransferError
from p2pshare.model import MIB, Extent, FileEnd, HeldBlocks
from p2pshare.storage.reading import pieces_of
from p2pshare.storage.sources import Source, StreamSource
from p2pshare.storage.streaming import StreamCursor
from p2pshare.storage.threads import in_thread

PIECE_COST: Final = 128
"""Bytes that a piece counts beyond its payload: of empty files, too, a batch holds only so many."""
MAX_HASHED: Final = 64 * MIB
"""Bytes that one stay in a thread reads and hashes where nothing needs to be sent."""


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A file cannot be sent; the job goes on without it."""

    index: int
    error: TransferError


Read = Extent | FileEnd | FileFailed


@dataclass(slots=True)
class Batch:
    """What has been read for one call."""

    size: int
    pieces: list[Read] = field(default_factory=list)
    cost: int = 0

    def add(self, piece: Read) -> None:
        """Take a piece."""
        self.pieces.append(piece)
        self.cost += PIECE_COST
        if isinstance(piece, Extent):
            self.cost += len(piece.payload)

    @property
    def is_full(self) -> bool:
        """Whether it holds what was asked for."""
        return self.cost >= self.size


class UploadReader:
    """What one job sends, in order. Calls come one after the other, from one task."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        selection: Sequence[int],
        held: Sequence[HeldBlocks],
        chunk_size: int,
    ) -> None:
        """Read the selected sources; leave out held blocks that are equal to the source's own.

        ``chunk_size`` is how many bytes an extent has at most.
        """
        self.hashed = 0
        "Bytes read and hashed so far, those that did not need to be sent included."
        self._sources = sources
        self._left = deque(selection)
        self._held: dict[int, dict[int, bytes]] = {}
        for blocks in held:
            of_file = self._held.setdefault(blocks.index, {})
            of_file.update(enumerate(blocks.digests, blocks.first_block))
        self._chunk_size = chunk_size
        self._file: Iterator[Extent | FileEnd | int] | None = None
        self._file_index = 0
        self._stream: StreamCursor | None = None
        self._ahead: asyncio.Task[list[Read]] | None = None
        self._is_closed = False

    async def next_batch(self, size: int) -> list[Read]:
        """The next pieces, about ``size`` bytes of them; empty at the end. Less where a stream is slow."""
        if self._is_closed:
            return []
        batch = await (self._ahead or self._read_ahead(size))
        self._ahead = None
        if batch:
            self._read_ahead(size)
        return batch

    def _read_ahead(self, size: int) -> asyncio.Task[list[Read]]:
        self._ahead = asyncio.create_task(self._read(Batch(size)), name="reading ahead")
        return self._ahead

    async def close(self) -> None:
        """Stop reading and close what is open; idempotent."""
        self._is_closed = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait([ahead])
        if self._file is not None:
            await in_thread(self._close_file)
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    async def _read(self, batch: Batch) -> list[Read]:
        while not batch.is_full and (self._file or self._stream or self._left):
            if self._stream is None and self._file is None:
                source = self._sources[self._left[0]]
                if isinstance(source, StreamSource):
                    self._left.popleft()
                    self._stream = StreamCursor(source, self._chunk_size)
            if self._stream is None:
                await in_thread(self._read_files, batch)
            elif not await self._fill_from_stream(self._stream, batch):
                break  # what is there goes out, for the rest the stream takes its time
        return batch.pieces

    async def _fill_from_stream(self, stream: StreamCursor, batch: Batch) -> bool:
        """Whether to go on with this batch."""
        try:
            while not batch.is_full:
                piece = await stream.next_piece(is_waiting=not batch.pieces)
                if piece is None:
                    return False
                batch.add(piece)
                if isinstance(piece, FileEnd):
                    break
            else:
                return True
        except TransferError as exc:
            exc.file = "/".join(stream.source.file.path)
            batch.add(FileFailed(stream.source.file.index, exc))
        self._stream = None
        await stream.close()
        return True

    # In a thread ---------------------------------------------------------------------------------------

    def _read_files(self, batch: Batch) -> None:
        """Read files until the batch is full or a stream is next."""
        most = self.hashed + MAX_HASHED
        while not batch.is_full and not self._is_closed and self.hashed < most:
            if self._file is None:
                if not self._left:
                    return
                source = self._sources[self._left[0]]
                if isinstance(source, StreamSource):
                    return
                self._file_index = self._left.popleft()
                self._file = pieces_of(source, self._held.get(self._file_index, {}), self._chunk_size)
            try:
                piece = next(self._file)
            except TransferError as exc:
                exc.file = "/".join(self._sources[self._file_index].file.path)
                batch.add(FileFailed(self._file_index, exc))
                self._file = None
                continue
            if isinstance(piece, int):
                self.hashed += piece
                continue
            batch.add(piece)
            if isinstance(piece, FileEnd):
                self._close_file()
            else:
                self.hashed += len(piece.payload)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        close = getattr(file, "close", None)
        if close is not None:
            close()


async def file_digests(
    sources: Sequence[Source], indexes: Sequence[int], is_wanted: Callable[[], bool] = lambda: True
) -> list[FileEnd]:
    """Size and digest of files, as they are now; those that cannot be read (again) are left out.

    Asked now and then, ``is_wanted`` says whether to go on.
    """
    ends: list[FileEnd] = []
    wanted = [sources[index] for index in indexes]
    readers = deque(pieces_of(source, {}, MIB) for source in wanted if not isinstance(source, StreamSource))
    while readers and is_wanted():
        await in_thread(_digest_some, readers, ends)
    return ends


def _digest_some(readers: deque[Iterator[Extent | FileEnd | int]], ends: list[FileEnd]) -> None:
    hashed = 0
    while readers and hashed < MAX_HASHED:
        try:
            piece = next(readers[0])
        except TransferError:
            readers.popleft()
            continue
        if isinstance(piece, FileEnd):
            ends.append(piece)
            readers.popleft()
        elif isinstance(piece, Extent):
            hashed += len(piece.payload)
        hashed += PIECE_COST
