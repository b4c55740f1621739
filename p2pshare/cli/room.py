"""A command's way into a room, and out of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import platformdirs

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.interrupts import Interrupts
from p2pshare.cli.moments import Joined, ServerBack, ServerLost
from p2pshare.cli.names import default_name, numbered, web_address
from p2pshare.cli.relay import Relay
from p2pshare.cli.reporting import Running, status_file
from p2pshare.errors import SignalingFailed
from p2pshare.model import Limits
from p2pshare.session import Session
from p2pshare.session.room import Room
from signaling import client as signaling
from signaling.address import websocket_url
from signaling.errors import NameTaken, SignalingError

CLOSE_TIMEOUT_S: Final = 15.0
"""Seconds for a regular end: the last messages, and every connection closed."""
CANCEL_TIMEOUT_S: Final = 3.0
"""Seconds in which a cancelled command tells the other side."""
_MAX_NAMESAKES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a command meets its peers."""

    server: str
    room: str
    name: str | None = None
    "None: login@host, and a number behind it where that is taken."


@contextlib.asynccontextmanager
async def in_room(
    place: Place,
    display: Display,
    *,
    command: str,
    folder: Path | None = None,
    limits: Limits | None = None,
    interrupts: Interrupts | None = None,
    on_refused: Callable[[SignalingError], None] | None = None,
) -> AsyncIterator[Session]:
    """A session in a room, all of its events told to the display. Leaving tells every peer.

    ``command`` is what other terminals see of this process. ``on_refused`` is called if the server lets us
    in no more; it may be away and come back without.
    Raises:
        SignalingFailed: The server is out of reach, the name is taken, or joining is not allowed.
        ValueError: The room, the name or the server's address is none.
    """
    server = web_address(websocket_url(place.server))
    watch = _Watch(server, display, on_refused)
    session, name = await _enter(place, folder, limits, watch)
    Relay(session, display)
    display.tell(Joined(server, place.room, name))
    for peer in session.peers:
        display.tell(ev.PeerJoined(peer))
    timeout_s = CLOSE_TIMEOUT_S
    try:
        async with status_file(session, Running(command, server, place.room, name)):
            yield session
    except asyncio.CancelledError:
        timeout_s = CANCEL_TIMEOUT_S
        is_wish = interrupts is None or interrupts.is_persons_wish
        session.cancel_all_uploads()
        session.cancel_all_downloads(keep_parts=not is_wish)
        raise
    finally:
        watch.is_over = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await session.close()


async def _enter(
    place: Place, folder: Path | None, limits: Limits | None, watch: _Watch
) -> tuple[Session, str]:
    own = default_name() if place.name is None else place.name
    name = own
    for number in range(2, _MAX_NAMESAKES):
        client = _Client(watch, place.server, room=place.room, name=name)
        session = Session(download_dir=folder, limits=limits, state_dir=_state_dir())
        try:
            await session.enter(Room(client))
        except BaseException as error:
            await session.close()
            is_taken = isinstance(error, SignalingFailed) and isinstance(error.__cause__, NameTaken)
            if place.name is not None or not is_taken:
                raise
            name = numbered(own, number)
        else:
            return session, name
    raise SignalingFailed(f"{_MAX_NAMESAKES} peers have our name; choose another with --name")


class _Watch:
    """Says once that the signaling server is gone, and once that it is back."""

    def __init__(
        self, server: str, display: Display, on_refused: Callable[[SignalingError], None] | None
    ) -> None:
        self.is_over = False
        self._server = server
        self._display = display
        self._on_refused = on_refused

    def happened(self, event: signaling.Event) -> None:
        """Something happened between the client and its server."""
        if self.is_over:
            return
        match event:
            case signaling.Disconnected(reason=reason):
                self._display.tell(ServerLost(self._server, reason))
            case signaling.Reconnected():
                self._display.tell(ServerBack(self._server))
            case signaling.Closed(error=error) if error is not None and self._on_refused is not None:
                self._on_refused(error)


class _Client(signaling.SignalingClient):
    """A signaling client whose events are watched as the session takes them."""

    def __init__(self, watch: _Watch, url: str, *, room: str, name: str) -> None:
        super().__init__(url, room=room, name=name)
        self._watch = watch

    async def __anext__(self) -> signaling.Event:
        event = await super().__anext__()
        self._watch.happened(event)
        return event


def _state_dir() -> Path | None:
    """Where sources are known again after a restart; None where the user's folder cannot be written to."""
    folder = platformdirs.user_state_path("p2pshare")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


class Changes:
    """Waits for the next event of some types."""

    def __init__(self, session: Session, *types: type[ev.Event]) -> None:
        self._changed = asyncio.Event()
        for each in types:
            session.on(each, lambda _: self._changed.set())

    async def next(self, deadline: float | None) -> bool:
        """Wait for an event since the last call; False where the loop's clock reaches the deadline first."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


def limits_of(*, max_file_size: int | None = None, reconnect_timeout_s: float | None = None) -> Limits:
    """The library's limits, but for what was asked for."""
    limits = Limits()
    if max_file_size is not None:
        limits = replace(limits, max_file_size=max_file_size)
    if reconnect_timeout_s is not None:
        limits = replace(limits, reconnect_timeout_s=reconnect_timeout_s)
    return limits


def deadline_in(timeout_s: float | None) -> float | None:
    """A time of the loop's clock."""
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
