"""One client's WebSocket at the server: what it says, at a bounded rate; what it is told, in a bounded queue.

A client that does not read can neither block anybody nor make the server grow: what waits for it is
counted, and past the limit its connection is cut.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator

from aiohttp import ClientConnectionError, WSCloseCode, WSMsgType, web

from signaling.errors import BadMessage
from signaling.limits import Limits, TokenBucket

logger = logging.getLogger(__name__)

_OVERHEAD = 128
"Bytes that a queued message takes beyond its own: empty ones may not pile up, either."


class Connection:
    """A WebSocket that the server accepted. `write` must run in a task of its own while it is open."""

    def __init__(
        self, number: int, socket: web.WebSocketResponse, transport: asyncio.Transport, limits: Limits
    ) -> None:
        self.number = number
        "What `Rooms` calls it."
        self._socket = socket
        self._transport = transport
        self._limits = limits
        self._queue: deque[tuple[bytes, WSMsgType]] = deque()
        self._queued = 0
        self._is_stuck = False
        "Whether `write` waits for the client to read."
        self._wake = asyncio.Event()
        self._close_code: int | None = None
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._messages = TokenBucket(rate=limits.messages_per_s, burst=limits.message_burst, now=now)
        self._bytes = TokenBucket(rate=limits.bytes_per_s, burst=limits.byte_burst, now=now)

    @property
    def is_closing(self) -> bool:
        """Whether nothing more will be sent or taken."""
        return self._close_code is not None or self._transport.is_closing()

    def send(self, text: str) -> None:
        """Queue one message; once closing, do nothing. A client that lets its queue run full is cut off."""
        self._send(text.encode(), WSMsgType.TEXT)

    def close(self, code: int = WSCloseCode.OK) -> None:
        """Close after what is queued; by force if that takes longer than `close_timeout_s`. Idempotent."""
        if self._close_code is None:
            self._close_code = code
            self._loop.call_later(self._limits.close_timeout_s, self._cut)
            self._wake.set()

    def abort(self) -> None:
        """Cut the connection at once, without a closing handshake."""
        self._queue.clear()
        self.close(WSCloseCode.POLICY_VIOLATION)
        self._transport.abort()

    async def write(self) -> None:
        """Send what is queued until the connection is closed; ends after `close`, or when it is lost."""
        try:
            while True:
                while self._queue:
                    data, kind = self._queue.popleft()
                    self._is_stuck = True  # Nobody sees it, unless send_frame() has to wait.
                    await self._socket.send_frame(data, kind)
                    self._is_stuck = False
                    self._queued -= len(data) + _OVERHEAD
                if self._close_code is not None:
                    break
                self._wake.clear()
                await self._wake.wait()
            await self._socket.close(code=self._close_code)
        except (ConnectionError, ClientConnectionError) as exc:
            logger.debug("= connection %d lost: %s", self.number, exc)

    async def read(self) -> AsyncGenerator[str, None]:
        """Yield the client's messages until the connection ends, no faster than its rate allows.

        Raises:
            BadMessage: If it sends a binary message.
        """
        while not self.is_closing:
            try:
                message = await self._socket.receive()
            except TimeoutError as exc:  # The system's: ours is a cancellation in here.
                logger.debug("= connection %d lost: %s", self.number, exc)
                return
            match message.type:
                case WSMsgType.TEXT:
                    await self._throttle(len(message.data.encode()))
                    yield message.data
                case WSMsgType.PING:
                    await self._throttle(len(message.data))
                    self._send(message.data, WSMsgType.PONG)
                case WSMsgType.PONG:
                    await self._throttle(len(message.data))
                case WSMsgType.BINARY:
                    raise BadMessage("messages are text")
                case _:
                    return

    def _send(self, data: bytes, kind: WSMsgType) -> None:
        if self.is_closing:
            return
        size = len(data) + _OVERHEAD
        # A client is not to blame for what `write` had no time yet to pass on: many may send at once.
        if self._is_stuck and self._queued + size > self._limits.max_queue:
            logger.info("= connection %d reads too slowly, cut off", self.number)
            self.abort()
            return
        self._queue.append((data, kind))
        self._queued += size
        self._wake.set()

    def _cut(self) -> None:
        # A closed transport lives on until the client has read what is in its buffer, which may be never.
        # One without a buffer is gone, and must not be aborted; TLS keeps its buffer out of sight, and
        # does not mind.
        if self._is_tls or self._transport.get_write_buffer_size():
            self._transport.abort()

    async def _throttle(self, size: int) -> None:
        # While this waits, aiohttp's own queue fills and it stops reading the socket: the sender is slowed
        # down by TCP, and holds about 512 KiB here at most.
        now = self._loop.time()
        delay = max(self._messages.take(1, now), self._bytes.take(size, now))
        while delay > 0 and not self.is_closing:
            await asyncio.sleep(min(delay, 1.0))
            delay -= 1.0
