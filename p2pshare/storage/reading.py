"""The pieces of one source that can be read again: a file of this disk, bytes, an empty folder, a link.

Iterators, for a thread to step through. At any place they can be put to rest, by which they close their file
and hold no bytes; what comes next, and what has been given already, can be read all the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Protocol

from blake3 import blake3

from p2pshare.errors import StorageAccessDenied, TransferError, UploadError
from p2pshare.model import BLOCK_SIZE, Extent, FileEnd
from p2pshare.storage.block_cache import Block, BlockCache, Follower
from p2pshare.storage.sources import BytesSource, PathSource, Source, Stamp

EMPTY_DIGEST: Final = blake3(b"").digest()

_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
_NOTHING: Final = memoryview(b"")
_CHANGED = "the file changed while it was being sent"


class Pieces(Protocol):
    """Extents and the end of a source; a number instead of a held block that is equal: its bytes.

    Raises, in each call:
        UploadError: The file is no longer what was listed.
        StorageAccessDenied: It cannot be read.
    """

    def __next__(self) -> Extent | FileEnd | int:
        """The next piece; the last one is the end."""
        ...

    def again(self, offset: int, size: int) -> Extent:
        """An extent that has been given already."""
        ...

    def check(self) -> None:
        """Raise UploadError where the source is no longer what was listed."""
        ...

    def rest(self) -> None:
        """Let go of what is open and in memory, until the next call. Idempotent."""
        ...


def pieces_of(
    source: Source, held: Mapping[int, bytes], chunk_size: int, cache: BlockCache, follower: Follower
) -> Pieces:
    """The pieces of a source for one reader; ``held`` are the receiver's digests by block."""
    match source:
        case PathSource():
            return _FilePieces(source, held, chunk_size, cache, follower)
        case BytesSource():
            return _BytesPieces(source, held, chunk_size)
        case _:
            return _NoPieces(source)


class _FilePieces:
    """A file of this disk."""

    __slots__ = (
        "_at",
        "_cache",
        "_chunk_size",
        "_fd",
        "_follower",
        "_held",
        "_index",
        "_number",
        "_size",
        "_source",
        "_view",
    )

    def __init__(
        self,
        source: PathSource,
        held: Mapping[int, bytes],
        chunk_size: int,
        cache: BlockCache,
        follower: Follower,
    ) -> None:
        self._source = source
        self._index = source.file.index
        self._size = source.stamp.size
        self._held = held
        self._chunk_size = chunk_size
        self._cache = cache
        self._follower = follower
        self._fd = -1
        self._at = 0
        self._number = -1  # of the block that is in memory
        self._view = _NOTHING

    def __next__(self) -> Extent | FileEnd | int:
        try:
            return self._next()
        except OSError as exc:
            raise _read_error(exc) from exc

    def _next(self) -> Extent | FileEnd | int:
        at = self._at
        if at >= self._size:
            return self._end()
        number, within = divmod(at, BLOCK_SIZE)
        if number != self._number:
            block = self._load(number)
            if not within and self._held and self._held.get(number) is not None:
                length = len(block.payload)
                if block.digest == self._held[number]:
                    self._at += length
                    return length
        payload = self._view[within : within + self._chunk_size]
        self._at = at + len(payload)
        return Extent(self._index, at, payload)

    def _end(self) -> FileEnd:
        self._check()
        digest = self._cache.digest(self._index, self._size) if self._size else EMPTY_DIGEST
        assert digest is not None, "blocks are read in order"
        return FileEnd(self._index, self._size, digest)

    def again(self, offset: int, size: int) -> Extent:
        """An extent that has been given already."""
        number, within = divmod(offset, BLOCK_SIZE)
        try:
            if number != self._number:
                self._load(number)
        except OSError as exc:
            raise _read_error(exc) from exc
        return Extent(self._index, offset, self._view[within : within + size])

    def check(self) -> None:
        """Raise UploadError where the file is no longer what was listed."""
        try:
            self._check()
        except OSError as exc:
            raise _read_error(exc) from exc

    def rest(self) -> None:
        """Close the file; it is opened again when it is needed."""
        fd, self._fd = self._fd, -1
        self._number, self._view = -1, _NOTHING
        if fd >= 0:
            os.close(fd)

    def _load(self, number: int) -> Block:
        if self._fd < 0:
            self._check()
        block = self._cache.block(self._follower, self._index, number, lambda: self._read(number))
        self._number, self._view = number, memoryview(block.payload)
        return block

    def _read(self, number: int) -> bytes:
        start = number * BLOCK_SIZE
        return _read(self._fd, min(BLOCK_SIZE, self._size - start), start)

    def _check(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._source.location, _READ)
        if Stamp.of(os.fstat(self._fd)) != self._source.stamp:
            raise UploadError(_CHANGED)


class _BytesPieces:
    """Bytes of the calling program."""

    def __init__(self, source: BytesSource, held: Mapping[int, bytes], chunk_size: int) -> None:
        self._index = source.file.index
        self._content = source.content
        self._held = held
        self._chunk_size = chunk_size
        self._at = 0

    def __next__(self) -> Extent | FileEnd | int:
        at = self._at
        if at >= len(self._content):
            return FileEnd(self._index, at, blake3(self._content).digest())
        number, within = divmod(at, BLOCK_SIZE)
        if number in self._held and not within:
            whole = self._content[at : at + BLOCK_SIZE]
            if blake3(whole).digest() == self._held[number]:
                self._at += len(whole)
                return len(whole)
        self._at = min(at + self._chunk_size, len(self._content), at - within + BLOCK_SIZE)
        return self.again(at, self._at - at)

    def again(self, offset: int, size: int) -> Extent:
        """An extent that has been given already."""
        return Extent(self._index, offset, self._content[offset : offset + size])

    def check(self) -> None:
        """They do not change."""

    def rest(self) -> None:
        """They are the program's."""


class _NoPieces:
    """An empty folder, or a link: only its end."""

    def __init__(self, source: Source) -> None:
        self._index = source.file.index

    def __next__(self) -> FileEnd:
        return FileEnd(self._index, 0, EMPTY_DIGEST)

    def again(self, offset: int, size: int) -> Extent:
        """There never was one."""
        raise AssertionError("no extent is of a folder or a link")

    def check(self) -> None:
        """The listing is what counts."""

    def rest(self) -> None:
        """Nothing is open."""


def _read(fd: int, length: int, offset: int) -> bytes:
    """Exactly so many bytes. Raises OSError, UploadError where the file has become shorter."""
    payload = _pread(fd, length, offset)
    while len(payload) < length:
        more = _pread(fd, length - len(payload), offset + len(payload))
        if not more:
            raise UploadError("the file became shorter while it was being sent")
        payload += more
    return payload


if hasattr(os, "pread"):
    _pread = os.pread
else:  # Windows

    def _pread(fd: int, length: int, offset: int, /) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)


def _read_error(exc: OSError) -> TransferError:
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        return UploadError("the file was removed or renamed since it was offered")
    return StorageAccessDenied(f"cannot be read: {exc.strerror or exc}")
