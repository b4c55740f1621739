"""A command's way into a room, and out of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.moments import Joined
from p2pshare.cli.names import default_name, numbered, web_address
from p2pshare.errors import SignalingFailed
from p2pshare.model import Limits
from p2pshare.session import Session, join
from signaling.address import websocket_url
from signaling.errors import NameTaken

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
    place: Place, display: Display, *, folder: Path | None = None, limits: Limits | None = None
) -> AsyncIterator[Session]:
    """A session in a room, all of its events told to the display. Leaving tells every peer.

    Raises:
        SignalingFailed: The server is out of reach, the name is taken, or joining is not allowed.
        ValueError: The room, the name or the server's address is none.
    """
    session, name = await _enter(place, folder, limits)
    session.on(ev.Event, display.tell)
    display.tell(Joined(web_address(websocket_url(place.server)), place.room, name))
    for peer in session.peers:
        display.tell(ev.PeerJoined(peer))
    timeout_s = CLOSE_TIMEOUT_S
    try:
        yield session
    except asyncio.CancelledError:
        timeout_s = CANCEL_TIMEOUT_S
        session.cancel_all_uploads()
        session.cancel_all_downloads()
        raise
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await session.close()


async def _enter(place: Place, folder: Path | None, limits: Limits | None) -> tuple[Session, str]:
    own = default_name() if place.name is None else place.name
    state_dir = _state_dir()
    name = own
    for number in range(2, _MAX_NAMESAKES):
        try:
            session = await join(
                place.server,
                room=place.room,
                name=name,
                download_dir=folder,
                limits=limits,
                state_dir=state_dir,
            )
        except SignalingFailed as error:
            if place.name is not None or not isinstance(error.__cause__, NameTaken):
                raise
            name = numbered(own, number)
        else:
            return session, name
    raise SignalingFailed(f"{_MAX_NAMESAKES} peers have our name; choose another with --name")


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


def deadline_in(timeout_s: float | None) -> float | None:
    """A time of the loop's clock."""
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
