"""Lines that a person types, without blocking.

The loop says when there is something to read. Where it cannot, as on the consoles of Windows, reads happen in
a daemon thread: one that never returns must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from typing import Final

STDIN: Final = 0
_READ_SIZE: Final = 4096


def reopened(descriptor: int) -> int:
    """A terminal under a descriptor of our own, for a loop to watch. Raises OSError.

    A loop may make what it watches non-blocking, and what we were given is one with the shell's own.
    """
    return os.open(os.ttyname(descriptor), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)


class Lines:
    """Lines from a terminal, one question after another."""

    def __init__(self, descriptor: int = STDIN) -> None:
        self._descriptor = descriptor
        self._wanted: queue.SimpleQueue[asyncio.Future[bytes]] = queue.SimpleQueue()
        self._pending: asyncio.Future[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._rest = b""

    async def next(self) -> str | None:
        """The next line, without its end; None at the end of the input. One call at a time.

        Raises:
            OSError: The terminal cannot be read.
        """
        while b"\n" not in self._rest:
            chunk = await self._read()
            if not chunk:
                line, self._rest = self._rest, b""
                return line.decode(errors="replace") if line else None
            self._rest += chunk
        first, _, self._rest = self._rest.partition(b"\n")
        return first.decode(errors="replace").rstrip("\r")

    def forget(self) -> None:
        """Drop what was typed beyond the last answer: it was not meant for the next question."""
        self._rest = b""

    async def _read(self) -> bytes:
        """Bytes as they come."""
        loop = asyncio.get_running_loop()
        try:
            terminal = reopened(self._descriptor)
        except (OSError, AttributeError):  # no terminal; Windows
            return await self._read_in_thread(loop)
        try:
            while True:
                ready = loop.create_future()
                loop.add_reader(terminal, _settle, ready, b"")
                try:
                    await ready
                finally:
                    loop.remove_reader(terminal)
                with contextlib.suppress(BlockingIOError):  # somebody else has read it
                    return os.read(terminal, _READ_SIZE)
        finally:
            os.close(terminal)

    async def _read_in_thread(self, loop: asyncio.AbstractEventLoop) -> bytes:
        """A read outlives the question that began it, and serves the next one."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(loop,), name="stdin", daemon=True)
            self._thread.start()
        if self._pending is None:
            self._pending = loop.create_future()
            self._wanted.put(self._pending)
        chunk = await asyncio.shield(self._pending)
        self._pending = None
        return chunk

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            future = self._wanted.get()
            chunk: bytes | OSError
            try:
                chunk = os.read(self._descriptor, _READ_SIZE)
            except OSError as exc:
                chunk = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, future, chunk)


def _settle(future: asyncio.Future[bytes], chunk: bytes | OSError) -> None:
    if future.done():
        return
    if isinstance(chunk, OSError):
        future.set_exception(chunk)
    else:
        future.set_result(chunk)
