"""What can be offered: files of this disk, bytes, and streams that are read once."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from p2pshare.model import OfferedFile
from p2pshare.storage.blocking import BlockingChunks, Readable
from p2pshare.storage.names import check_wire_path

logger = logging.getLogger(__name__)

Chunks = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is still the one that was listed."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """The stamp of an open or listed file."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


@dataclass(eq=False, slots=True)
class Source:
    """One entry of an offer, and how to read it; `list_sources` makes them. An empty folder is just this."""

    file: OfferedFile


@dataclass(eq=False, slots=True)
class PathSource(Source):
    """A file of this disk."""

    location: str
    "Its real, absolute path."
    stamp: Stamp


@dataclass(eq=False, slots=True)
class BytesSource(Source):
    """Bytes of the calling program."""

    content: bytes


@dataclass(eq=False, slots=True)
class StreamSource(Source):
    """What can be read once: the first job that asks for it gets it."""

    begin: Callable[[], Chunks]
    is_taken: bool = False

    def take(self) -> Chunks | None:
        """The chunks, once; None for who comes later."""
        if self.is_taken:
            return None
        self.is_taken = True
        return self.begin()


class SourceLike:
    """Something to send that is no path; `from_bytes`, `from_stream` and `from_file_object` make one."""

    def __init__(self, name: str) -> None:
        check_wire_path((name,))
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class BytesLike(SourceLike):
    """Bytes with a name."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(name)
        self.content = content


class StreamLike(SourceLike):
    """A stream with a name."""

    def __init__(self, name: str, begin: Callable[[], Chunks], size: int | None) -> None:
        super().__init__(name)
        self.begin = begin
        self.size = size


def from_bytes(name: str, data: bytes | bytearray | memoryview) -> SourceLike:
    """Send bytes as a file. They are copied, unless they are `bytes`.

    Raises:
        ValueError: The name may not travel (`UnsafeName`).
    """
    return BytesLike(name, bytes(data))


def from_stream(name: str, chunks: AsyncIterable[bytes], *, size: int | None = None) -> SourceLike:
    """Send what an async iterable yields, as a file.

    It can be read once: to several recipients, the first that accepts gets it. ``size`` in bytes, where it
    is known, lets the receiver check its disk and show how far it is; it is binding.

    Raises:
        ValueError: The name may not travel (`UnsafeName`), or the size is negative.
        TypeError: It is no async iterable.
    """
    if not isinstance(chunks, AsyncIterable):
        raise TypeError(f"not an async iterable: {type(chunks).__name__}")
    if size is not None and size < 0:
        raise ValueError("size: negative")
    return StreamLike(name, lambda: aiter(chunks), size)


def from_file_object(name: str, fileobj: Readable, *, size: int | None = None) -> SourceLike:
    """Send what a binary file object yields from where it stands, such as a pipe: ``sys.stdin.buffer``.

    It is read in a thread of its own, once, as `from_stream`; closing it stays its owner's business.

    Raises:
        ValueError: The name may not travel (`UnsafeName`), or the size is negative.
    """
    if size is not None and size < 0:
        raise ValueError("size: negative")
    return StreamLike(name, lambda: BlockingChunks(lambda: fileobj), size)


async def close_chunks(chunks: object) -> None:
    """Close an async iterator, where it can be closed."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        try:
            await aclose()
        except Exception:  # the program's own iterator may raise anything, and it is over anyway
            logger.debug("a stream failed while it was closed", exc_info=True)


async def close_sources(sources: Sequence[Source]) -> None:
    """Let go of streams that nobody has read; one that is being read is closed by its reader. Idempotent."""
    for source in sources:
        if isinstance(source, StreamSource):
            chunks = source.take()
            if chunks is not None:
                await close_chunks(chunks)
