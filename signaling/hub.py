"""The WebSocket endpoint: connections in, rooms behind, and nothing of TCP or HTTP servers.

Mount `Hub.routes()` in an aiohttp application of your own and await `Hub.close()` when it shuts down, or
let `signaling.server.SignalingServer` do both.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import secrets
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, web

from signaling.connection import Connection
from signaling.errors import BadMessage, ErrorCode
from signaling.limits import Admission, Limits
from signaling.messages import ENVELOPE, Leave, Refused, decode_client, encode
from signaling.names import show
from signaling.rooms import Rooms, Send

logger = logging.getLogger(__name__)


class Hub:
    """All rooms of a server and the connections to them."""

    def __init__(self, limits: Limits | None = None, *, origins: Collection[str] = ()) -> None:
        """Make a hub without connections.

        Args:
            limits: What clients may take.
            origins: Web pages allowed to connect (``https://share.example.com``) besides those that this
                very server serves under an IP address or a local name.
        """
        self.limits = limits or Limits()
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._rooms = Rooms(
            max_rooms=self.limits.max_rooms,
            max_peers=self.limits.max_peers,
            grace_s=self.limits.grace_s,
            max_payload=self.limits.max_payload,
        )
        self._admission = Admission(self.limits)
        self._connections: dict[int, Connection] = {}
        self._numbers = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def routes(self) -> list[web.RouteDef]:
        """The routes for an application: ``/ws`` and ``/health``."""
        return [web.get("/ws", self.handle), web.get("/health", self.health)]

    async def health(self, request: web.Request) -> web.Response:
        """Answer that the server lives, with its number of connections and rooms."""
        counts = {"status": "ok", "connections": len(self._admission), "rooms": len(self._rooms)}
        return web.json_response(counts, headers={"Cache-Control": "no-store"})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket from its handshake to its end."""
        if self._is_closing:
            raise web.HTTPServiceUnavailable(text="the server is shutting down")
        if not self._is_origin_allowed(request):
            logger.info("= page of %s refused", show(request.headers.get("Origin", "")))
            raise web.HTTPForbidden(text="this page may not use this signaling server")
        address = request.remote or ""
        reason = self._admission.admit(address, asyncio.get_running_loop().time())
        if reason is not None:
            raise web.HTTPTooManyRequests(text=reason)
        self._is_empty.clear()
        try:
            return await self._serve(request)
        finally:
            self._admission.release(address)
            if not len(self._admission):
                self._is_empty.set()

    async def close(self) -> None:
        """Close every connection, by force if a client does not answer in time. Idempotent."""
        self._is_closing = True
        for connection in list(self._connections.values()):
            connection.close(WSCloseCode.GOING_AWAY)
        # Each connection closes itself by force, so this ends; a handler may still be in its handshake.
        await self._is_empty.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        limits = self.limits
        socket = web.WebSocketResponse(
            timeout=limits.close_timeout_s,
            autoping=False,  # Pings count against the client's rate, like anything it sends.
            heartbeat=limits.heartbeat_s,
            compress=False,
            max_msg_size=limits.max_payload + ENVELOPE + 1,  # aiohttp refuses one of just this size.
            writer_limit=0,  # Every write waits for the socket's buffer to be below its high-water mark.
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None or self._is_closing:
            return socket
        connection = Connection(next(self._numbers), socket, transport, limits)
        self._connections[connection.number] = connection
        logger.debug("= connection %d opened", connection.number)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.write(), name=f"signaling-write-{connection.number}")
                try:
                    await self._read(connection)
                finally:
                    self._disconnect(connection)
        finally:
            del self._connections[connection.number]
            logger.debug("= connection %d closed", connection.number)
        return socket

    async def _read(self, connection: Connection) -> None:
        texts = connection.read()
        try:
            async with asyncio.timeout(self.limits.join_timeout_s) as join_timeout:
                async for text in texts:
                    if not self._receive(connection, text):
                        return
                    if self._rooms.is_joined(connection.number):
                        join_timeout.reschedule(None)
        except TimeoutError:
            refused = Refused(ErrorCode.TIMED_OUT, f"no join within {self.limits.join_timeout_s:g} s")
            self._drain([Send(connection.number, refused, final=True)])
        except BadMessage as exc:
            logger.info("= connection %d broke the protocol: %s", connection.number, show(str(exc)))
            refused = Refused(ErrorCode(exc.code), str(exc)[:300])
            self._drain([Send(connection.number, refused, final=True)])
        finally:
            await texts.aclose()

    def _receive(self, connection: Connection, text: str) -> bool:
        """Act on one message; return whether to go on reading."""
        message = decode_client(text, max_payload=self.limits.max_payload)
        if message is None:
            return True
        logger.debug("< %d: %s", connection.number, message)
        self._drain(self._rooms.receive(connection.number, message, secret=secrets.token_hex(16)))
        return not isinstance(message, Leave) and not connection.is_closing

    def _disconnect(self, connection: Connection) -> None:
        connection.close()
        self._drain(self._rooms.disconnect(connection.number, now=asyncio.get_running_loop().time()))

    def _drain(self, sends: Iterable[Send]) -> None:
        """Send what the rooms said and re-arm their timer: the one thing to do after every call to them."""
        for send in sends:
            connection = self._connections.get(send.connection)
            if connection is None:
                continue
            logger.debug("> %d: %s", send.connection, send.message)
            connection.send(encode(send.message))
            if send.final:
                connection.close(WSCloseCode.POLICY_VIOLATION)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (when := self._rooms.next_timer) is not None and not self._is_closing:
            self._timer = asyncio.get_running_loop().call_at(when, self._handle_timer)

    def _handle_timer(self) -> None:
        self._drain(self._rooms.handle_timer(asyncio.get_running_loop().time()))

    def _is_origin_allowed(self, request: web.Request) -> bool:
        """Whether the program or page behind a request may connect.

        Programs send no Origin. A page must be on the list, or come from this very server under a name
        that only this network can give: else a page elsewhere could point its own name at us (DNS
        rebinding), and its Origin would equal our Host.
        """
        origin = request.headers.get("Origin")
        if origin is None or origin.lower() in self._origins:
            return True
        try:
            page = urlsplit(origin)
            host = page.hostname
        except ValueError:
            return False
        # Not `request.host`: without the header it would look up this machine's name, and block meanwhile.
        asked = request.headers.get("Host", "").lower()
        is_ours = page.scheme in ("http", "https") and page.netloc.lower() == asked
        return is_ours and host is not None and _is_local_name(host)


def _is_local_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(".local")
    return True
