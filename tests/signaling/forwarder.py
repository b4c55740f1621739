"""A TCP connection that a test can cut, or let go silent, between a client and its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Forwarder:
    """Passes bytes on from a port of its own to the server's."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_refusing = False
        "New connections are cut at once."
        self.accepted = asyncio.Event()
        "Set by every new connection, a refused one included."
        self._is_flowing = asyncio.Event()
        self._is_flowing.set()
        self._transports: set[asyncio.WriteTransport] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/ws"

    def cut(self) -> None:
        """Reset every connection; what is on its way is lost."""
        for transport in self._transports:
            transport.abort()

    def hold(self) -> None:
        """Pass nothing on any more: to both ends the other seems dead. Open connections stay open."""
        self._is_flowing.clear()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._is_flowing.set()
        self.cut()
        if self._handlers:
            await asyncio.wait(self._handlers)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.set()
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        if self.is_refusing:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        ends = {writer.transport, far_writer.transport}
        self._transports |= ends
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(reader, far_writer))
            tasks.create_task(self._pump(far_reader, writer))
        self._transports -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                await self._is_flowing.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def forwarder(target: int) -> AsyncIterator[Forwarder]:
    between = Forwarder(target)
    await between.start()
    try:
        yield between
    finally:
        await between.close()
