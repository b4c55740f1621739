"""The pieces of one source that can be read again: a file of this disk, bytes, an empty folder.

Generators, for a thread to step through; closing one closes its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from blake3 import blake3

from p2pshare.errors import StorageAccessDenied, TransferError, UploadError
from p2pshare.model import BLOCK_SIZE, Extent, FileEnd
from p2pshare.storage.sources import BytesSource, PathSource, Source, Stamp

EMPTY_DIGEST: Final = blake3(b"").digest()
Pieces = Iterator[Extent | FileEnd | int]

_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
_CHANGED = "the file changed while it was being sent"


def pieces_of(source: Source, held: Mapping[int, bytes], chunk_size: int) -> Pieces:
    """Extents and the end of a source; a number instead of a held block that is equal: its bytes.

    ``held`` are the receiver's digests by block.
    Raises:
        UploadError: The file is no longer what was listed.
        StorageAccessDenied: It cannot be read.
    """
    match source:
        case PathSource():
            return _pieces_of_file(source, held, chunk_size)
        case BytesSource():
            return _pieces_of_bytes(source, held, chunk_size)
        case _:
            return iter([FileEnd(source.file.index, 0, EMPTY_DIGEST)])


def _pieces_of_file(source: PathSource, held: Mapping[int, bytes], chunk_size: int) -> Pieces:
    try:
        fd = os.open(source.location, _READ)
    except OSError as exc:
        raise _read_error(exc) from exc
    try:
        _check_unchanged(fd, source.stamp)
        index, size = source.file.index, source.stamp.size
        hasher = blake3()
        at = 0
        while at < size:
            block = at // BLOCK_SIZE
            length = min(BLOCK_SIZE, size - at)
            payload = _read(fd, length, at)
            hasher.update(payload)
            if held.get(block) is not None and blake3(payload).digest() == held[block]:
                yield length
            else:
                view = memoryview(payload)
                for cut in range(0, length, chunk_size):
                    yield Extent(index, at + cut, view[cut : cut + chunk_size])
            at += length
        _check_unchanged(fd, source.stamp)
        yield FileEnd(index, size, hasher.digest())
    except OSError as exc:
        raise _read_error(exc) from exc
    finally:
        os.close(fd)


def _pieces_of_bytes(source: BytesSource, held: Mapping[int, bytes], chunk_size: int) -> Pieces:
    content, index = source.content, source.file.index
    at = 0
    while at < len(content):
        block, within = divmod(at, BLOCK_SIZE)
        end = min(at + chunk_size, len(content), at - within + BLOCK_SIZE)
        if block in held and not within:
            whole = content[at : at + BLOCK_SIZE]
            if blake3(whole).digest() == held[block]:
                at += len(whole)
                yield len(whole)
                continue
        yield Extent(index, at, content[at:end])
        at = end
    yield FileEnd(index, len(content), blake3(content).digest())


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


def _check_unchanged(fd: int, stamp: Stamp) -> None:
    if Stamp.of(os.fstat(fd)) != stamp:
        raise UploadError(_CHANGED)


def _read_error(exc: OSError) -> TransferError:
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        return UploadError("the file was removed or renamed since it was offered")
    return StorageAccessDenied(f"cannot be read: {exc.strerror or exc}")
