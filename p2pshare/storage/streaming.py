"""The pieces of a stream: on the event loop, as they come, once."""

from __future__ import annotations

import asyncio
from typing import Final

from blake3 import blake3

from p2pshare.errors import TransferError, UploadError, show_reason
from p2pshare.model import Extent, FileEnd
from p2pshare.storage.sources import Chunks, StreamSource, close_chunks

_END: Final = object()
_NOT_YET: Final = object()


class StreamCursor:
    """Where a job is in a stream."""

    def __init__(self, source: StreamSource, chunk_size: int) -> None:
        self.source = source
        self._chunk_size = chunk_size
        self._chunks: Chunks | None = None
        self._coming: asyncio.Task[object] | None = None
        self._rest = memoryview(b"")
        self._offset = 0
        self._hasher = blake3()

    async def next_piece(self, *, is_waiting: bool) -> Extent | FileEnd | None:
        """The next piece; None where nothing has come yet and the caller does not wait.

        Raises:
            UploadError: Another job has the stream, it failed, or it is not as long as was declared.
        """
        while not self._rest:
            chunk = await self._next_chunk(is_waiting)
            if chunk is _NOT_YET:
                return None
            if chunk is _END:
                return self._end()
            self._rest = _as_bytes(chunk)
        payload = bytes(self._rest[: self._chunk_size])
        self._rest = self._rest[self._chunk_size :]
        declared = self.source.file.size
        if declared is not None and self._offset + len(payload) > declared:
            raise UploadError(f"the stream has more than the {declared:,} bytes that were declared")
        extent = Extent(self.source.file.index, self._offset, payload)
        self._offset += len(payload)
        self._hasher.update(payload)
        return extent

    async def _next_chunk(self, is_waiting: bool) -> object:
        if self._chunks is None:
            self._chunks = self.source.take()
            if self._chunks is None:
                raise UploadError("a stream can be read only once, and another download has it")
        if self._coming is None:
            self._coming = asyncio.create_task(_pull(self._chunks), name="next chunk of a stream")
        # Without waiting, one turn of the loop is what a stream gets that has its next chunk at hand.
        await asyncio.wait([self._coming], timeout=None if is_waiting else 0)
        if not self._coming.done():
            return _NOT_YET
        coming, self._coming = self._coming, None
        try:
            return coming.result()
        except TransferError:
            raise
        except Exception as exc:  # the program's own iterator may raise anything: it fails its file, no more
            # The recipient reads this: an OSError of its own would name a path of this machine.
            reason = (isinstance(exc, OSError) and exc.strerror) or str(exc) or type(exc).__name__
            raise UploadError(f"the stream failed: {show_reason(reason)}") from exc

    def _end(self) -> FileEnd:
        declared = self.source.file.size
        if declared is not None and self._offset != declared:
            raise UploadError(f"the stream ended after {self._offset:,} of {declared:,} bytes")
        return FileEnd(self.source.file.index, self._offset, self._hasher.digest())

    async def close(self) -> None:
        """Let go of the stream; idempotent."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            await close_chunks(chunks)


async def _pull(chunks: Chunks) -> object:
    return await anext(chunks, _END)


def _as_bytes(chunk: object) -> memoryview:
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise UploadError(f"the stream gave {type(chunk).__name__} instead of bytes")
    return memoryview(bytes(chunk))
