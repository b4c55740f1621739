"""Files into memory, for programs that want bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from blake3 import blake3

from p2pshare.errors import FileTooLarge, IntegrityError, OfferDeclined, SaveFailed, TransferError
from p2pshare.model import (
    BLOCK_SIZE,
    GIB,
    KIB,
    Extent,
    FileEnd,
    FileKind,
    HeldBlocks,
    OfferedFile,
    Payload,
    Piece,
)
from p2pshare.storage.sink import BaseSink, Stored
from p2pshare.storage.threads import in_thread

MAX_MEMORY: Final = GIB
"""Bytes that one job may take by default, all its files together."""
_SMALL: Final = 4 * KIB
"""Bytes below which a payload is copied to the end of the one before: as an object it would cost more."""


class MemorySink(BaseSink):
    """Keeps the files of a job in memory: nothing is left when it is dropped."""

    def __init__(self, files: Sequence[OfferedFile], *, max_size: int = MAX_MEMORY) -> None:
        """``max_size`` is in bytes, for all files together."""
        self._files = {file.index: file for file in files}
        self._max_size = max_size
        self._held = 0
        self._failed: set[int] = set()
        self._payloads: dict[int, list[Payload | bytearray]] = {}
        self._hashers: dict[int, blake3] = {}
        self._sizes: dict[int, int] = {}
        self._old: set[int] = set()  # their first payload was here when the connection was lost
        self._replaced: set[int] = set()  # of which the sender has sent some again
        self._contents: dict[int, bytes] = {}

    @property
    def contents(self) -> Mapping[int, bytes]:
        """The confirmed files, by index."""
        return self._contents

    async def open(self) -> Sequence[HeldBlocks]:
        """Check that the declared sizes fit. Raises FileTooLarge."""
        size = sum(file.size or 0 for file in self._files.values())
        if size > self._max_size:
            raise FileTooLarge(
                f"{size:,} bytes are too many for memory, the limit is {self._max_size:,}",
                size=size,
                limit=self._max_size,
            )
        return []

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        """Keep the pieces, and verify the files that are complete."""
        return await in_thread(self._store, pieces)

    def _store(self, pieces: Sequence[Piece]) -> Stored:
        stored = 0
        confirmed: list[int] = []
        failed: dict[int, TransferError] = {}
        for piece in pieces:
            index = piece.index
            if index not in self._files or index in self._failed or index in self._contents:
                continue
            try:
                if isinstance(piece, Extent):
                    self._keep(piece)
                    stored += len(piece.payload)
                else:
                    self._finish(piece)
                    confirmed.append(piece.index)
            except TransferError as exc:
                exc.file = "/".join(self._files[piece.index].path)
                failed[piece.index] = exc
                self._failed.add(piece.index)
                self._drop(piece.index)
        return Stored(stored, confirmed, failed)

    def _keep(self, extent: Extent) -> None:
        index, declared = extent.index, self._files[extent.index].size
        size, payload = self._sizes.get(index, 0), extent.payload
        if extent.offset < size:
            payload = self._replace(extent, size)
            if not payload:
                return
        elif extent.offset > size:
            raise SaveFailed("bytes are missing")
        size += len(payload)
        if declared is not None and size > declared:
            raise SaveFailed("more bytes than its sender declared")
        if self._held + len(payload) > self._max_size:
            raise FileTooLarge(size=None, limit=self._max_size)
        self._held += len(payload)
        self._sizes[index] = size
        payloads = self._payloads.setdefault(index, [])
        if len(payload) >= _SMALL:
            payloads.append(payload)
        elif len(payloads) > (index in self._old) and isinstance(payloads[-1], bytearray):
            payloads[-1] += payload
        else:
            payloads.append(bytearray(payload))
        if index not in self._replaced:
            self._hashers.setdefault(index, blake3()).update(payload)

    def _replace(self, extent: Extent, size: int) -> Payload:
        """A block that was here when the connection was lost comes again; returns what goes beyond those."""
        index = extent.index
        old = self._payloads[index][0] if index in self._old else b""
        if extent.offset + len(extent.payload) > len(old) and len(old) < size:
            raise SaveFailed("bytes came twice")
        assert isinstance(old, bytearray)
        view = memoryview(extent.payload)[: len(old) - extent.offset]
        old[extent.offset : extent.offset + len(view)] = view
        self._replaced.add(index)
        return extent.payload[len(view) :]

    def _finish(self, end: FileEnd) -> None:
        if self._files[end.index].kind is FileKind.LINK:
            raise OfferDeclined("a symbolic link, and links are not wanted here")
        hasher = self._hashers.pop(end.index, None) or blake3()
        if end.index in self._replaced:
            hasher = blake3()
            for payload in self._payloads[end.index]:
                hasher.update(payload)
        if self._sizes.get(end.index, 0) != end.size or hasher.digest() != end.digest:
            raise IntegrityError
        self._contents[end.index] = b"".join(self._payloads.pop(end.index, []))

    def _drop(self, index: int) -> None:
        self._held -= self._sizes.pop(index, 0)
        self._payloads.pop(index, None)
        self._hashers.pop(index, None)
        self._old.discard(index)
        self._replaced.discard(index)

    async def reopen(self) -> Sequence[HeldBlocks]:
        """The connection was lost: the whole blocks that are here of files that are not complete."""
        return await in_thread(self._reopen)

    def _reopen(self) -> Sequence[HeldBlocks]:
        held: list[HeldBlocks] = []
        self._failed.clear()
        for index in list(self._payloads):
            file, size = self._files[index], self._sizes[index]
            kept = size if size == file.size else size - size % BLOCK_SIZE
            old = bytearray().join(self._payloads[index])
            del old[kept:]
            self._drop(index)
            if file.size is None or not kept:
                continue
            digests = [blake3(old[at : at + BLOCK_SIZE]).digest() for at in range(0, kept, BLOCK_SIZE)]
            held.append(HeldBlocks(index, 0, tuple(digests)))
            self._payloads[index] = [old]
            self._sizes[index] = kept
            self._held += kept
            self._hashers[index] = blake3(old)
            self._old.add(index)
        return held

    async def close(self, *, keep_parts: bool) -> None:
        """Forget what is not complete."""
        self._payloads.clear()
        self._hashers.clear()
