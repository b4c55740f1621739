"""Connections between members of a room: who offers, who answers, and when it is over.

Two peers connect when one of them has something to say. The one with the higher id makes the SDP offer;
the other only asks for it, so that two who begin at once make one connection and not two.
See PROTOCOL.md, How two peers meet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from p2pshare.errors import P2PShareError, SharingNotAvailable, show
from p2pshare.rtc import Channels, PeerConnection
from p2pshare.session.link import Link
from p2pshare.session.tasks import TaskSet

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 20.0
"""Seconds for a connection to a peer of the room, the greeting included."""
MAX_UNFINISHED: Final = 3
"""Connections to one peer that are being made, or closed, at a time: each holds sockets for seconds."""


class RendezvousOwner(Protocol):
    """Who owns the connections: the session."""

    @property
    def tasks(self) -> TaskSet:
        """Whose tasks connections run in."""

    @property
    def accelerate(self) -> bool:
        """Whether connections use the fast data path."""

    def new_link(self, peer: str) -> Link:
        """A link for a peer of the room. Raises SharingNotAvailable."""

    async def send_signal(self, peer_id: str, payload: Mapping[str, Any]) -> None:
        """Send a message through signaling. Raises SignalingFailed."""


@dataclass(slots=True)
class _Attempt:
    """One connection to one peer, from the first message to its end."""

    peer_id: str
    name: str
    link: asyncio.Future[Link]
    connection: PeerConnection | None = None
    number: str = ""
    "Chosen by who offers, so that a late answer is not taken for a new one's."
    deadline: asyncio.TimerHandle | None = field(default=None)


class Rendezvous:
    """Makes connections to members of one room."""

    def __init__(self, owner: RendezvousOwner, peer_id: str) -> None:
        self.peer_id = peer_id
        "Ours, as the room knows it."
        self._owner = owner
        self._attempts: dict[str, _Attempt] = {}
        self._connections: dict[Link, PeerConnection] = {}

    async def connect(self, peer_id: str, name: str) -> Link:
        """An open link with a member.

        Raises:
            SharingNotAvailable: It could not be reached within 20 s, or refused.
            SignalingFailed: It could not even be asked.
        """
        attempt = self._attempts.get(peer_id)
        if attempt is None:
            attempt = self._begin(peer_id, name)
            try:
                if self.peer_id > peer_id:
                    self._owner.tasks.start(self._offer(attempt), f"connecting {show(name)}")
                else:
                    await self._owner.send_signal(peer_id, {"kind": "ask"})
            except P2PShareError:
                self._fail(attempt, SharingNotAvailable(f"{show(name)} cannot be asked"))
                raise
        return await asyncio.shield(attempt.link)

    def signal_received(self, peer_id: str, name: str, payload: Mapping[str, Any]) -> None:
        """A member's message. What does not fit is logged and dropped: it is a stranger's word."""
        kind, number = payload.get("kind"), payload.get("attempt")
        attempt = self._attempts.get(peer_id)
        start = self._owner.tasks.start
        if kind in ("ask", "offer") and self._unfinished(name) >= MAX_UNFINISHED:
            logger.debug("< %s: too many connections at once", show(name))
            return
        if kind == "ask" and self.peer_id > peer_id:
            if attempt is None:
                start(self._offer(self._begin(peer_id, name)), f"connecting {show(name)}")
        elif kind == "offer" and isinstance(number, str) and len(number) <= 64 and self.peer_id < peer_id:
            if attempt is None or attempt.connection is not None:
                if attempt is not None:
                    self._fail(attempt, SharingNotAvailable(f"{show(name)} began again"))
                attempt = self._begin(peer_id, name)
            attempt.number = number
            start(self._answer(attempt, payload.get("description")), f"answering {show(name)}")
        elif kind == "answer" and attempt is not None and number == attempt.number:
            start(self._accept(attempt, payload.get("description")), f"connecting {show(name)}")
        elif kind == "failed" and attempt is not None and number in (None, attempt.number):
            reason = show(str(payload.get("reason", ""))[:200])
            self._fail(attempt, SharingNotAvailable(f"{show(name)} could not connect: {reason}"))
        else:
            logger.debug("< %s: a signal of kind %s does not fit", show(name), show(str(kind)))

    def _unfinished(self, name: str) -> int:
        """Connections to a peer that are being made, or closed."""
        return sum(link.peer == name and not link.is_open for link in self._connections)

    def _begin(self, peer_id: str, name: str) -> _Attempt:
        loop = asyncio.get_running_loop()
        attempt = _Attempt(peer_id, name, loop.create_future())
        attempt.link.add_done_callback(_retrieve)
        attempt.deadline = loop.call_later(
            CONNECT_TIMEOUT_S,
            self._fail,
            attempt,
            SharingNotAvailable(f"no connection to {show(name)} within {CONNECT_TIMEOUT_S:.0f} s"),
        )
        self._attempts[peer_id] = attempt
        return attempt

    async def _offer(self, attempt: _Attempt) -> None:
        async with _failing(self, attempt):
            link = self._connect_link(attempt)
            assert attempt.connection is not None
            description = await attempt.connection.create_offer()
            attempt.number = secrets.token_hex(
                8
            )  # what fails before has none: who asked knows of none either
            await self._send(attempt, "offer", description=description)
            await self._finish(attempt, link)

    async def _answer(self, attempt: _Attempt, description: object) -> None:
        async with _failing(self, attempt):
            link = self._connect_link(attempt)
            assert attempt.connection is not None
            answer = await attempt.connection.accept_offer(description)
            await self._send(attempt, "answer", description=answer)
            await self._finish(attempt, link)

    async def _accept(self, attempt: _Attempt, description: object) -> None:
        async with _failing(self, attempt):
            if attempt.connection is not None:
                await attempt.connection.accept_answer(description)

    def _connect_link(self, attempt: _Attempt) -> Link:
        link = self._owner.new_link(attempt.name)
        attempt.connection = PeerConnection(accelerate=self._owner.accelerate)
        self._connections[link] = attempt.connection
        link.start(Channels(attempt.connection.pc, link))
        return link

    async def _finish(self, attempt: _Attempt, link: Link) -> None:
        """Wait for the greeting; the attempt's deadline ends the wait by closing the link."""
        with contextlib.suppress(SharingNotAvailable):
            await link.ready()
        if not link.is_open:
            raise link.error or SharingNotAvailable(f"{show(attempt.name)} does not answer")
        self._end(attempt)
        if not attempt.link.done():
            attempt.link.set_result(link)

    async def _send(self, attempt: _Attempt, kind: str, **fields: object) -> None:
        await self._owner.send_signal(attempt.peer_id, {"kind": kind, "attempt": attempt.number, **fields})

    def _fail(self, attempt: _Attempt, error: P2PShareError) -> None:
        self._end(attempt)
        if not attempt.link.done():
            attempt.link.set_exception(error)
        link = next((k for k, v in self._connections.items() if v is attempt.connection), None)
        if link is not None and not link.is_open:
            link.close(error)

    def _end(self, attempt: _Attempt) -> None:
        if attempt.deadline is not None:
            attempt.deadline.cancel()
        if self._attempts.get(attempt.peer_id) is attempt:
            del self._attempts[attempt.peer_id]

    async def report(self, attempt: _Attempt, error: P2PShareError) -> None:
        """Tell both sides that the attempt failed."""
        self._fail(attempt, error)
        with contextlib.suppress(P2PShareError):
            await self._send(attempt, "failed", reason=str(error)[:200])

    async def release(self, link: Link) -> None:
        """Close the connection under a link that is closed."""
        connection = self._connections.get(link)
        if connection is not None:
            await connection.close()
            self._connections.pop(link, None)


@contextlib.asynccontextmanager
async def _failing(rendezvous: Rendezvous, attempt: _Attempt) -> AsyncIterator[None]:
    """What goes wrong within ends the attempt, at both sides."""
    try:
        yield
    except P2PShareError as error:
        await rendezvous.report(attempt, error)


def _retrieve(future: asyncio.Future[Link]) -> None:
    """Nobody may be waiting: the delivery that wanted the link could be cancelled by now."""
    if not future.cancelled():
        future.exception()
