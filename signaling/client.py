"""A program's place in a room: joins, relays, and comes back by itself when the connection is lost."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from signaling import messages
from signaling.address import websocket_url
from signaling.backoff import Backoff
from signaling.dial import dial
from signaling.errors import (
    BadMessage,
    ErrorCode,
    InvalidArgument,
    NotConnected,
    PeerGone,
    RefusedError,
    SignalingError,
    refusal,
)
from signaling.events import (
    Closed,
    Disconnected,
    Event,
    Joined,
    PeerJoined,
    PeerLeft,
    Reconnected,
    SignalReceived,
)
from signaling.names import name_problem, show
from signaling.queues import EventQueue
from signaling.roster import Roster

__all__ = [
    "ClientOptions",
    "Closed",
    "Disconnected",
    "Event",
    "Joined",
    "PeerJoined",
    "PeerLeft",
    "Reconnected",
    "SignalReceived",
    "SignalingClient",
]

logger = logging.getLogger(__name__)

_FOR_GOOD = frozenset(
    {
        ErrorCode.BAD_MESSAGE,
        ErrorCode.NAME_TAKEN,
        ErrorCode.NOT_ALLOWED,
        ErrorCode.REPLACED,
        ErrorCode.UNSUPPORTED_VERSION,
    }
)
"The server would say the same to the same join again."
_LEAVE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Times are seconds."""

    connect_timeout_s: float = 10.0
    "One attempt, from the TCP connection to being in the room."
    send_timeout_s: float = 15.0
    "How long `SignalingClient.send` waits for a lost connection."
    heartbeat_s: float = 10.0
    "Silence after which the server is pinged; without an answer within half of it, it counts as lost."
    backoff_first_s: float = 0.25
    backoff_cap_s: float = 10.0
    "The wait before attempts to reconnect doubles from the first to this."
    settle_s: float = 12.0
    "How long the peers of a restarted server have to come back before they are reported as left."
    max_events: int = 1024
    "Events kept for a program that does not read them; then the client stops reading its socket."


class SignalingClient:
    """One peer in one room.

    ``async with`` connects and closes. Iterate it, in one task, for what happens; `Closed` is the last.
    A lost connection is restored, under the same `peer_id`, until `close` or until the server refuses
    for good; connections to peers need not care.
    """

    def __init__(
        self,
        url: str,
        *,
        room: str,
        name: str,
        options: ClientOptions | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Describe a client; nothing happens before `connect`.

        Args:
            url: A ws, wss, http or https URL, or ``host:port``.
            room: 1 to 64 printable characters. Who knows it can come in.
            name: 1 to 64 printable characters, unlike all other names in the room.
            options: Times and bounds.
            tls: For wss; default the system's certificates.

        Raises:
            InvalidArgument: If one of these cannot be used. It is a ValueError, too.
        """
        self.url = websocket_url(url)
        self.room = _checked("room", room)
        self.name = _checked("name", name)
        self._options = options or ClientOptions()
        self._tls = tls
        self._roster = Roster(settle_s=self._options.settle_s)
        self._events: EventQueue[Event] = EventQueue(max_length=self._options.max_events)
        self._resume: messages.Resume | None = None
        self._max_payload = messages.MAX_PAYLOAD
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._ready = asyncio.Event()
        "Set while connected, and for ever once closed: whoever waits to send looks again."

    @property
    def peer_id(self) -> str | None:
        """Our id, the same for the client's whole life; None before `connect`."""
        return self._resume.peer_id if self._resume is not None else None

    @property
    def peers(self) -> Mapping[str, str]:
        """Names of all others in the room, by peer id: the state after the newest event, read or not."""
        return self._roster.peers

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the server just now."""
        return self._socket is not None

    async def connect(self) -> Joined:
        """Join the room. One attempt; a client connects once, but may try again after an error.

        Raises:
            Unreachable: If no signaling server answers.
            NameTaken: If someone in the room has this name.
            RoomFull: If the room is full; ServerFull: if the server is.
            NotAllowed: If the server does not let us in.
            SignalingError: If the server refuses for another reason, or does not follow the protocol.
        """
        if self._http is not None or self._is_closed:
            raise RuntimeError("a signaling client connects once")
        self._http = aiohttp.ClientSession()
        try:
            socket, joined = await self._dial(self._http)
        except BaseException:
            await self._http.close()
            self._http = None
            raise
        if self._is_closed:  # Meanwhile, by another task.
            await socket.close()
            await self._http.close()
            raise NotConnected("the client is closed")
        self._enter(socket, joined)
        self._task = asyncio.create_task(self._run(self._http, socket), name=f"signaling-{joined.peer_id}")
        return Joined(joined.peer_id, joined.name, dict(self.peers))

    async def send(self, peer_id: str, payload: Mapping[str, Any]) -> None:
        """Send a signal to a peer. Waits while the connection to the server is being restored.

        Signals arrive in order and at most once. One that was on its way when a connection broke is lost
        without notice: what must not be lost needs an answer from the peer.

        Args:
            peer_id: One of `peers`.
            payload: What JSON can carry, up to 16 KiB (or the server's limit).

        Raises:
            PeerGone: If the peer is not in the room.
            MessageTooLarge: If the payload is too long.
            BadMessage: If it cannot be written as JSON.
            NotConnected: If the client is closed, or not connected again in time.
        """
        messages.check_payload(payload, self._max_payload)
        text = messages.encode(messages.Signal(peer_id, payload))
        try:
            async with asyncio.timeout(self._options.send_timeout_s):
                while not await self._try_send(peer_id, text):
                    pass
        except TimeoutError as exc:
            raise NotConnected(f"not restored within {self._options.send_timeout_s:g} s") from exc

    async def close(self) -> None:
        """Leave the room, tell the others so, and end every task and socket. Idempotent."""
        is_first, self._is_closed = not self._is_closed, True
        self._ready.set()
        if self._task is None:
            self._events.end(Closed(None))
            return
        if is_first:  # A second cancel() would interrupt what the task does to end.
            try:
                await self._leave()
            finally:
                self._task.cancel()
        await asyncio.wait([self._task])
        # A task that is cancelled before it began does not come to its `finally`.
        await self._end(self._socket, None)

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order; ends after `Closed`. The same as iterating the client."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._events.get()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _leave(self) -> None:
        if self._socket is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._socket.send_str(messages.encode(messages.Leave()))
        except (OSError, aiohttp.ClientError) as exc:  # TimeoutError is an OSError.
            logger.debug("= leave not sent: %s", exc)

    async def _run(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Read, and reconnect, until closed or refused: the client's one task."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(first_s=self._options.backoff_first_s, cap_s=self._options.backoff_cap_s)
        error: SignalingError | None = None
        try:
            while True:
                since = loop.time()
                reason = await self._read(socket)
                # A server that lets us in and drops us at once is not to be hammered, either.
                if loop.time() - since >= self._options.backoff_cap_s:
                    backoff.reset()
                await self._lose(socket)
                await self._put([Disconnected(reason)])
                socket, joined = await self._reconnect(http, backoff)
                changes = self._enter(socket, joined)
                await self._put([Reconnected(joined.peer_id, dict(self.peers)), *changes])
        except SignalingError as exc:
            error = exc
            logger.info("= refused for good: %s", _without_secrets(exc))
        finally:
            await self._end(socket, error)

    async def _end(
        self, socket: aiohttp.ClientWebSocketResponse | None, error: SignalingError | None
    ) -> None:
        """Close what is open and wake who waits. Idempotent."""
        self._is_closed = True
        try:
            if socket is not None:
                await self._lose(socket)
            if self._http is not None:
                await self._http.close()
        finally:
            self._ready.set()
            self._events.end(Closed(error))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        """Handle messages until the connection is lost; return why it was."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(self._roster.next_timer) as timer:
                    received = await socket.receive()
            except (OSError, aiohttp.ClientError) as exc:  # TimeoutError is an OSError.
                # receive() answers pings itself, and raises when that is no longer possible.
                if not timer.expired():
                    return str(exc) or type(exc).__name__
                await self._put(self._roster.handle_timer(loop.time()))
                continue
            if received.type is not aiohttp.WSMsgType.TEXT:
                return _why_closed(socket)
            try:
                message = messages.decode_server(received.data)
            except BadMessage as exc:
                return f"the server broke the protocol: {show(str(exc))}"
            logger.debug("< %s", message)
            if isinstance(message, messages.Refused) and message.final:
                error = refusal(message.code, message.reason, room=self.room, name=self.name)
                if _is_for_good(error):
                    raise error
                return str(error)
            await self._put(self._receive(message))

    def _receive(self, message: messages.ServerMessage | None) -> list[Event]:
        match message:
            case messages.PeerJoined(peer_id, name):
                return [*self._roster.add(peer_id, name)]
            case messages.PeerLeft(peer_id, _, reason):
                return [*self._roster.remove(peer_id, reason)]
            case messages.Relayed(sender, payload) if sender in self._roster.peers:
                return [SignalReceived(sender, payload)]
            case messages.Refused(code, reason, _, _):
                # The peer left while our signal was on its way, and `PeerLeft` has said so; or its mailbox
                # is full, and it must come back and be called again anyway.
                logger.debug("= signal not delivered: %s %s", show(code), show(reason))
        return []

    async def _reconnect(
        self, http: aiohttp.ClientSession, backoff: Backoff
    ) -> tuple[aiohttp.ClientWebSocketResponse, messages.Joined]:
        while True:
            await asyncio.sleep(backoff.next(random.random()))
            try:
                return await self._dial(http)
            except SignalingError as exc:
                if _is_for_good(exc):
                    raise
                logger.debug("= not reconnected: %s", _without_secrets(exc))

    async def _dial(
        self, http: aiohttp.ClientSession
    ) -> tuple[aiohttp.ClientWebSocketResponse, messages.Joined]:
        return await dial(
            http,
            self.url,
            messages.Join(self.room, self.name, resume=self._resume),
            timeout_s=self._options.connect_timeout_s,
            heartbeat_s=self._options.heartbeat_s,
            tls=self._tls,
        )

    def _enter(self, socket: aiohttp.ClientWebSocketResponse, joined: messages.Joined) -> list[Event]:
        self._resume = messages.Resume(joined.peer_id, joined.secret)
        self._max_payload = joined.max_payload
        self._socket = socket
        self._ready.set()
        return [*self._roster.enter(joined, now=asyncio.get_running_loop().time())]

    async def _lose(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = None
        if not self._is_closed:
            self._ready.clear()
        await socket.close()

    async def _put(self, events: Sequence[Event]) -> None:
        for event in events:
            await self._events.put(event)

    async def _try_send(self, peer_id: str, text: str) -> bool:
        """Send when connected; return whether it worked, or should be tried on the next connection."""
        await self._ready.wait()
        socket = self._socket
        if self._is_closed or socket is None:
            raise NotConnected("the client is closed")
        if peer_id not in self._roster.peers:
            raise PeerGone(peer_id)
        try:
            await socket.send_str(text)
        except (OSError, aiohttp.ClientError) as exc:
            logger.debug("= signal not sent, waiting for a new connection: %s", exc)
            if self._socket is socket:  # Our reader will notice, too, and reconnect.
                self._socket = None
                self._ready.clear()
            return False
        return True


def _checked(what: str, text: str) -> str:
    """Bring a name to the form that the protocol wants; a person's keyboard may write it decomposed."""
    normal = unicodedata.normalize("NFC", text)
    if (problem := name_problem(normal)) is not None:
        raise InvalidArgument(f"the {what} {show(text)} {problem}")
    return normal


def _is_for_good(error: SignalingError) -> bool:
    return isinstance(error, RefusedError) and error.code in _FOR_GOOD


def _without_secrets(error: SignalingError) -> str:
    """What a log may hold of an error: its sentence names the room, and who knows that can come in."""
    return f"{show(error.code)} {show(error.reason)}"


def _why_closed(socket: aiohttp.ClientWebSocketResponse) -> str:
    if socket.close_code == aiohttp.WSCloseCode.GOING_AWAY:
        return "the server is shutting down"
    if (exc := socket.exception()) is not None:
        return str(exc) or type(exc).__name__
    return f"the connection was closed, code {socket.close_code}"
