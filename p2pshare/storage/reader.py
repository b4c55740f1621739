"""Reads the files of an upload's job, one batch ahead of what is being sent.

Two batches are in memory at most, the one that is being sent and the next. Everything that waits for a disk
happens in a thread; a file is open only while it is being read. A job that pauses gives back what it has not
sent, and holds neither bytes nor files until it goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pshare.errors import TransferError
from p2pshare.model import MIB, Extent, FileEnd, HeldBlocks, Piece
from p2pshare.storage.block_cache import BlockCache
from p2pshare.storage.reading import Pieces, pieces_of
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


@dataclass(frozen=True, slots=True)
class _Unsent:
    """Where the bytes of an extent were that is to be read anew."""

    index: int
    offset: int
    size: int


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
        cache: BlockCache | None = None,
    ) -> None:
        """Read the selected sources; leave out held blocks that are equal to the source's own.

        ``chunk_size`` is how many bytes an extent has at most. ``cache`` is shared by all readers of these
        sources.
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
        self._cache = cache or BlockCache(0)
        self._follower = self._cache.join(sources, selection)
        self._file: Pieces | None = None
        self._file_index = 0
        self._unsent: deque[Read | _Unsent] = deque()
        self._old: tuple[int, Pieces] | None = None  # the file of what is read anew, where it is another
        self._stream: StreamCursor | None = None
        self._is_waiting = False  # for the stream's next chunk, with nothing else to give
        self._ahead: asyncio.Task[list[Read]] | None = None
        self._is_at_rest = False
        self._is_closed = False

    async def next_batch(self, size: int) -> list[Read]:
        """The next pieces, about ``size`` bytes of them; empty at the end. Less where a stream is slow."""
        if self._is_closed:
            return []
        self._is_at_rest = False
        batch = await (self._ahead or self._read_ahead(size))
        self._ahead = None
        if batch:
            self._read_ahead(size)
        return batch

    def _read_ahead(self, size: int) -> asyncio.Task[list[Read]]:
        self._ahead = asyncio.create_task(self._read(Batch(size)), name="reading ahead")
        return self._ahead

    async def put_back(self, pieces: Sequence[Piece]) -> None:
        """Take back pieces that were handed out and not sent; the next batch begins with them, read anew.

        ``pieces`` are the last ones that were handed out, in order, without the files that failed. Until the
        next batch no bytes are in memory, save those of a stream, and no file is open.
        """
        self._is_at_rest = True
        batch: list[Read] = []
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if self._is_waiting:
                ahead.cancel()  # the chunk that comes is not lost: the stream's cursor waits for it
            await asyncio.wait([ahead])
            batch = [] if ahead.cancelled() else ahead.result()
        if self._is_closed:
            return
        self._unsent.extendleft(reversed([self._without_payload(piece) for piece in (*pieces, *batch)]))
        await in_thread(self._rest)

    def _without_payload(self, piece: Read) -> Read | _Unsent:
        if not isinstance(piece, Extent) or isinstance(self._sources[piece.index], StreamSource):
            return piece
        return _Unsent(piece.index, piece.offset, len(piece.payload))

    async def close(self) -> None:
        """Stop reading and close what is open; idempotent."""
        self._is_closed = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait([ahead])
        self._unsent.clear()
        await in_thread(self._rest)
        self._cache.leave(self._follower)
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    async def _read(self, batch: Batch) -> list[Read]:
        while self._is_wanted(batch) and (self._unsent or self._file or self._stream or self._left):
            if self._stream is None and self._file is None and not self._unsent:
                source = self._sources[self._left[0]]
                if isinstance(source, StreamSource):
                    self._left.popleft()
                    self._stream = StreamCursor(source, self._chunk_size)
            if self._stream is None or self._unsent:
                await in_thread(self._read_files, batch)
            elif not await self._fill_from_stream(self._stream, batch):
                break  # what is there goes out, for the rest the stream takes its time
        return batch.pieces

    def _is_wanted(self, batch: Batch) -> bool:
        return not (batch.is_full or self._is_at_rest or self._is_closed)

    async def _fill_from_stream(self, stream: StreamCursor, batch: Batch) -> bool:
        """Whether to go on with this batch."""
        try:
            while self._is_wanted(batch):
                self._is_waiting = not batch.pieces
                try:
                    piece = await stream.next_piece(is_waiting=self._is_waiting)
                finally:
                    self._is_waiting = False
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
        while self._unsent and self._is_wanted(batch):
            self._read_anew(self._unsent.popleft(), batch)
        if self._unsent:
            return
        self._rest_old()
        most = self.hashed + MAX_HASHED
        while self._is_wanted(batch) and self.hashed < most and self._stream is None:
            if self._file is None:
                if not self._left:
                    return
                source = self._sources[self._left[0]]
                if isinstance(source, StreamSource):
                    return
                self._file_index = self._left.popleft()
                self._file = self._pieces_of(self._file_index)
            try:
                piece = next(self._file)
            except TransferError as exc:
                self._failed(self._file_index, exc, batch)
                continue
            if isinstance(piece, int):
                self.hashed += piece
                continue
            batch.add(piece)
            if isinstance(piece, FileEnd):
                self._close_file()
            else:
                self.hashed += len(piece.payload)

    def _read_anew(self, piece: Read | _Unsent, batch: Batch) -> None:
        """Give a piece once more; as it fails, so does what comes after it of the same file."""
        index = piece.index
        if isinstance(piece, FileFailed) or isinstance(self._sources[index], StreamSource):
            assert not isinstance(piece, _Unsent)
            batch.add(piece)
            return
        if self._file is not None and index == self._file_index:
            pieces = self._file
        else:
            if self._old is None or self._old[0] != index:
                self._rest_old()
                self._old = index, self._pieces_of(index)
            pieces = self._old[1]
        try:
            if isinstance(piece, FileEnd):
                pieces.check()
                batch.add(piece)
            elif isinstance(piece, _Unsent):
                batch.add(pieces.again(piece.offset, piece.size))
        except TransferError as exc:
            while self._unsent and self._unsent[0].index == index:
                self._unsent.popleft()
            self._failed(index, exc, batch)

    def _failed(self, index: int, error: TransferError, batch: Batch) -> None:
        error.file = "/".join(self._sources[index].file.path)
        batch.add(FileFailed(index, error))
        if self._old is not None and self._old[0] == index:
            self._rest_old()
        if self._file is not None and self._file_index == index:
            self._close_file()

    def _pieces_of(self, index: int) -> Pieces:
        held = self._held.get(index, {})
        return pieces_of(self._sources[index], held, self._chunk_size, self._cache, self._follower)

    def _rest(self) -> None:
        self._rest_old()
        if self._file is not None:
            self._file.rest()
        self._cache.rest(self._follower)

    def _rest_old(self) -> None:
        old, self._old = self._old, None
        if old is not None:
            old[1].rest()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.rest()
