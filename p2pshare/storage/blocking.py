"""A binary file object, or a named pipe, as an async iterator: read in a thread of its own.

A pipe may give nothing for hours. Its thread is none of the pool's, and a daemon: it keeps neither the other
jobs nor the end of the program waiting. Where the platform can, it waits by poll(), and closing wakes it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import threading
from collections.abc import Callable
from typing import Final, Protocol

from p2pshare.model import KIB

CHUNK_SIZE: Final = 256 * KIB


class Readable(Protocol):
    """A binary file object: something with ``read``."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes; empty at the end."""
        ...


class BlockingChunks:
    """The chunks of a file object; ``open`` is called in the thread, by which a pipe may be opened late."""

    def __init__(self, open: Callable[[], Readable], *, is_owned: bool = False) -> None:  # noqa: A002  (what it does)
        """With ``is_owned`` the file object is closed at the end."""
        self._open = open
        self._is_owned = is_owned
        self._file: Readable | None = None
        self._result: asyncio.Future[bytes] | None = None
        self._wanted = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._wake: tuple[int, int] | None = None
        self._ending = threading.Lock()  # who wakes the thread does it before the thread closes the pipe

    def __aiter__(self) -> BlockingChunks:
        return self

    async def __anext__(self) -> bytes:
        if self._is_closed:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        self._result = loop.create_future()
        if self._thread is None:
            if hasattr(select, "poll"):
                self._wake = os.pipe()
            self._thread = threading.Thread(target=self._run, args=(loop,), name="p2pshare-pipe", daemon=True)
            self._thread.start()
        self._wanted.release()
        chunk = await self._result
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """End the thread: at once where it waits for a pipe, else when its read returns. Idempotent."""
        if self._is_closed:
            return
        with self._ending:
            self._is_closed = True
            if self._wake is not None:
                os.write(self._wake[1], b"\0")
        self._wanted.release()

    # In the thread -------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while True:
                self._wanted.acquire()
                if self._is_closed:
                    break
                chunk: bytes = b""
                error: Exception | None = None
                try:
                    chunk = self._read()
                except Exception as exc:  # noqa: BLE001  (a file object may raise anything; its reader is told)
                    error = exc
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(self._deliver, chunk, error)
        finally:
            with self._ending:
                for fd in self._wake or ():
                    os.close(fd)
            if self._is_owned and self._file is not None:
                close = getattr(self._file, "close", None)
                if close is not None:
                    close()

    def _read(self) -> bytes:
        if self._file is None:
            self._file = self._open()
        read: Callable[[int], bytes | None] = getattr(self._file, "read1", self._file.read)
        while self._is_readable():
            chunk = read(CHUNK_SIZE)
            if chunk is not None:  # None: a pipe that is set not to wait had nothing after all
                return chunk
        return b""

    def _is_readable(self) -> bool:
        """Wait until there is something to read, or the end; False when it was closed meanwhile."""
        if self._wake is None or self._file is None:
            return not self._is_closed
        fileno = getattr(self._file, "fileno", None)
        if fileno is None:
            return not self._is_closed
        try:
            fd: int = fileno()
        except (OSError, io.UnsupportedOperation):  # a file object that has none
            return not self._is_closed
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        poll.poll()
        return not self._is_closed

    # On the loop ---------------------------------------------------------------------------------------

    def _deliver(self, chunk: bytes, error: Exception | None) -> None:
        if self._result is None or self._result.done():
            return
        if error is None:
            self._result.set_result(chunk)
        else:
            self._result.set_exception(error)


def open_pipe(location: str) -> io.FileIO:
    """A named pipe, opened without waiting for someone to write to it."""
    return io.FileIO(os.open(location, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
