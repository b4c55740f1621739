"""A signaling server of its own: sockets, HTTP, and the hub behind them.

Loads no WebRTC. It introduces peers and relays what they tell each other to connect; no file, and no
file's name, passes through it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http import HttpProcessingError

from signaling.address import DEFAULT_PORT, PATH, format_host
from signaling.hub import Hub
from signaling.limits import Limits
from signaling.listen import listen, reachable_hosts

__all__ = ["DEFAULT_PORT", "Limits", "SignalingServer"]

logger = logging.getLogger(__name__)


def _is_our_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


# A traceback for every request that is not HTTP would let strangers fill the log.
_http_logger = logging.getLogger(f"{__name__}.http")
_http_logger.addFilter(_is_our_fault)


class SignalingServer:
    """A signaling server, running between `start` and `close`, or inside ``async with``."""

    def __init__(
        self,
        host: str | None = None,
        port: int = DEFAULT_PORT,
        *,
        limits: Limits | None = None,
        origins: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        """Describe a server; nothing listens before `start`.

        Args:
            host: The name or address to listen on; None for all of this machine's, IPv4 and IPv6.
            port: 0 to 65535; 0 chooses a free one, see `port`.
            limits: What clients may take.
            origins: Pages of other servers that may connect, as ``https://share.example.com``.
            tls: Serve ``wss`` and ``https`` with this context.
            routes: More to serve besides ``/ws`` and ``/health``.
        """
        self.host = host
        self.limits = limits or Limits()
        self.hub = Hub(self.limits, origins=origins)
        self._port = port
        self._tls = tls
        self._routes = [*self.hub.routes(), *routes]
        self._is_started = False
        self._runner: web.AppRunner | None = None
        self._servers: list[asyncio.Server] = []
        self._listeners: list[socket.socket] = []

    @property
    def port(self) -> int:
        """The TCP port; the one chosen, once started with 0."""
        return int(self._listeners[0].getsockname()[1]) if self._listeners else self._port

    @property
    def urls(self) -> list[str]:
        """The WebSocket's URLs, the most widely reachable first; empty unless running."""
        scheme = "wss" if self._tls is not None else "ws"
        hosts = reachable_hosts(self._listeners)
        return [f"{scheme}://{format_host(host)}:{self.port}{PATH}" for host in hosts]

    @property
    def url(self) -> str:
        """The one URL to give to others.

        Raises:
            RuntimeError: If the server is not running.
        """
        if not self._listeners:
            raise RuntimeError("the signaling server is not running")
        return self.urls[0]

    async def start(self) -> None:
        """Listen. Returns when clients can connect.

        Raises:
            CannotListen: If the port is in use or the address is not this machine's.
            RuntimeError: If it was started before.
        """
        if self._is_started:
            raise RuntimeError("a signaling server starts once")
        app = web.Application()
        app.add_routes(self._routes)
        # Names are looked up, which may take a while.
        self._listeners = await asyncio.to_thread(listen, self.host, self._port)
        self._is_started = True
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_logger,
            handle_signals=False,
            keepalive_timeout=self.limits.handshake_timeout_s,
            shutdown_timeout=self.limits.close_timeout_s,
        )
        try:
            await self._runner.setup()
            for listener in self._listeners:
                self._servers.append(await self._serve(self._runner, listener))
        except BaseException:
            listeners = self._listeners
            await self.close()
            for listener in listeners:
                listener.close()
            raise
        logger.info("= listening on port %d", self.port)

    async def close(self) -> None:
        """Stop listening and close every connection; takes a few seconds at most. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._port, self._listeners = self.port, []
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        try:
            await self.hub.close()
        finally:
            await runner.cleanup()
        logger.info("= port %d closed", self._port)

    async def _serve(self, runner: web.AppRunner, listener: socket.socket) -> asyncio.Server:
        # Not `web.SockSite`: asyncio's own limits for TLS are 60 s and 30 s.
        assert runner.server is not None
        is_tls = self._tls is not None
        return await asyncio.get_running_loop().create_server(
            runner.server,
            sock=listener,
            ssl=self._tls,
            ssl_handshake_timeout=self.limits.handshake_timeout_s if is_tls else None,
            ssl_shutdown_timeout=self.limits.close_timeout_s if is_tls else None,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
