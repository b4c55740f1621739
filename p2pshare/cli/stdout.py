"""One file to standard output: hashed as it goes, and verified at the end.

A pipe sets the pace: nothing is read ahead of it. Writes happen in a daemon thread, for a pipe that nobody
reads must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import threading
from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from p2pshare.errors import IntegrityError, SaveFailed, TransferError
from p2pshare.model import BLOCK_SIZE, Extent, FileEnd, HeldBlocks, OfferedFile, Payload, Piece
from p2pshare.storage import BaseSink, Stored

STDOUT: Final = 1
CLOSED: Final = "nobody reads what is received any more"


class StdoutSink(BaseSink):
    """Writes one file. What was written cannot be taken back: a digest that differs is told at the end.

    When a connection is lost it goes on at the byte where it was.
    """

    def __init__(self, file: OfferedFile, descriptor: int = STDOUT) -> None:
        self._file = file
        self._writer = _Writer(descriptor)
        self._size = 0
        self._hasher = blake3()
        self._blocks: list[bytes] = []
        "Digests of the whole blocks that were written."
        self._block = blake3()
        self._block_size = 0
        self._is_over = False

    async def open(self) -> Sequence[HeldBlocks]:
        """Nothing is held."""
        return ()

    async def reopen(self) -> Sequence[HeldBlocks]:
        """The whole blocks that were written; of the one after them, what comes again is dropped."""
        if self._file.size is None or not self._blocks:
            return ()
        return (HeldBlocks(self._file.index, 0, tuple(self._blocks)),)

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        """Write what comes; it returns when the pipe has taken it."""
        stored = 0
        for piece in pieces:
            if self._is_over or piece.index != self._file.index:
                continue
            try:
                if isinstance(piece, FileEnd):
                    self._finish(piece)
                    return Stored(stored, [piece.index])
                await self._write(piece)
                stored += len(piece.payload)
            except TransferError as error:
                self._is_over = True
                error.file = self._file.name
                return Stored(stored, failed={piece.index: error})
        return Stored(stored)

    async def _write(self, extent: Extent) -> None:
        if extent.offset > self._size:
            raise SaveFailed("bytes are missing")
        payload = memoryview(extent.payload)[self._size - extent.offset :]
        if not payload:
            return
        try:
            await self._writer.write(payload)
        except BrokenPipeError as exc:
            raise SaveFailed(CLOSED) from exc
        except OSError as exc:
            raise SaveFailed(exc.strerror or type(exc).__name__) from exc
        self._size += len(payload)
        self._hasher.update(payload)
        self._hash_blocks(payload)

    def _hash_blocks(self, payload: memoryview) -> None:
        while payload:
            part = payload[: BLOCK_SIZE - self._block_size]
            self._block.update(part)
            self._block_size += len(part)
            payload = payload[len(part) :]
            if self._block_size == BLOCK_SIZE:
                self._blocks.append(self._block.digest())
                self._block, self._block_size = blake3(), 0

    def _finish(self, end: FileEnd) -> None:
        if self._size != end.size or self._hasher.digest() != end.digest:
            raise IntegrityError
        self._is_over = True

    def abandon(self) -> None:
        """Nothing more is wanted, whether the pipe takes what it was given or not."""
        self._writer.abandon()

    async def close(self, *, keep_parts: bool) -> None:
        """Wait for no pipe any more."""
        self._writer.stop()


class _Writer:
    """Writes bytes to a descriptor in a thread of its own, one call at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wanted: queue.SimpleQueue[tuple[Payload, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pending: asyncio.Future[None] | None = None

    async def write(self, payload: Payload) -> None:
        """Return when all of it is written. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(loop,), name="stdout", daemon=True)
            self._thread.start()
        done = self._pending = loop.create_future()
        self._wanted.put((payload, done))
        await done

    def abandon(self) -> None:
        """Whoever waits for the pipe waits no more."""
        if self._pending is not None:
            _settle(self._pending, BrokenPipeError())

    def stop(self) -> None:
        """End the thread, once it has written what it is at."""
        self._wanted.put(None)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while (wanted := self._wanted.get()) is not None:
            payload, done = wanted
            error: OSError | None = None
            try:
                rest = memoryview(payload)
                while rest:
                    rest = rest[self._write_some(rest) :]
            except OSError as exc:
                error = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, done, error)

    def _write_some(self, payload: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, payload)
            except BlockingIOError:  # whoever shares it with us has made it so
                select.select([], [self._descriptor], [])


def _settle(done: asyncio.Future[None], error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
