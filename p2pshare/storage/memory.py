"""Files into memory, for programs that want bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from blake3 import blake3

from p2pshare.errors import FileTooLarge, IntegrityError, SaveFailed, TransferError
from p2pshare.model import GIB, KIB, Extent, FileEnd, HeldBlocks, OfferedFile, Payload, Piece
from p2pshare.storage.sink import Stored
from p2pshare.storage.threads import in_thread

MAX_MEMORY: Final = GIB
"""Bytes that one job may take by default, all its files together."""
_SMALL: Final = 4 * KIB
"""Bytes below which a payload is copied to the end of the one before: as an object it would cost more."""


class MemorySink:
    """Keeps the files of a job in memory: nothing is resumed, and nothing is left when it is dropped."""

    def __init__(self, files: Sequence[OfferedFile], *, max_size: int = MAX_MEMORY) -> None:
        """``max_size`` is in bytes, for all files together."""
        self._files = {file.index: file for file in files}
        self._max_size = max_size
        self._held = 0
        self._failed: set[int] = set()
        self._payloads: dict[int, list[Payload | bytearray]] = {}
        self._hashers: dict[int, blake3] = {}
        self._sizes: dict[int, int] = {}
        self._contents: dict[int, bytes] = {}

    @property
    def paths(self) -> Mapping[int, Path]:
        """Nothing: the files are in ``contents``."""
        return {}

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
            if piece.index not in self._files or piece.index in self._failed:
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
        size = self._sizes.get(index, 0)
        if extent.offset != size:
            raise SaveFailed("bytes are missing")
        size += len(extent.payload)
        if declared is not None and size > declared:
            raise SaveFailed("more bytes than its sender declared")
        if self._held + len(extent.payload) > self._max_size:
            raise FileTooLarge(size=None, limit=self._max_size)
        self._held += len(extent.payload)
        self._sizes[index] = size
        payloads = self._payloads.setdefault(index, [])
        if len(extent.payload) >= _SMALL:
            payloads.append(extent.payload)
        elif payloads and isinstance(payloads[-1], bytearray):
            payloads[-1] += extent.payload
        else:
            payloads.append(bytearray(extent.payload))
        self._hashers.setdefault(index, blake3()).update(extent.payload)

    def _finish(self, end: FileEnd) -> None:
        hasher = self._hashers.pop(end.index, None) or blake3()
        if self._sizes.get(end.index, 0) != end.size or hasher.digest() != end.digest:
            raise IntegrityError
        self._contents[end.index] = b"".join(self._payloads.pop(end.index, []))

    def _drop(self, index: int) -> None:
        self._held -= self._sizes.pop(index, 0)
        self._payloads.pop(index, None)
        self._hashers.pop(index, None)

    async def close(self, *, keep_parts: bool) -> None:
        """Forget what is not complete."""
        self._payloads.clear()
        self._hashers.clear()
