"""The session: what a program holds, and the jobs and links below it."""

from __future__ import annotations

import os
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from p2pshare.model import Limits
from p2pshare.session.accepting import Accept, AcceptPolicy, AcceptRule, Decline
from p2pshare.session.delivery import Delivery, DeliveryState
from p2pshare.session.dispatch import EventsLost
from p2pshare.session.download import Download
from p2pshare.session.link import Link, LinkStats
from p2pshare.session.room import Room
from p2pshare.session.session import Session
from p2pshare.session.upload import Upload, UploadResult
from signaling.client import SignalingClient

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

__all__ = [
    "Accept",
    "AcceptRule",
    "Decline",
    "Delivery",
    "DeliveryState",
    "Download",
    "EventsLost",
    "Link",
    "LinkStats",
    "Session",
    "Upload",
    "UploadResult",
    "attach",
    "join",
]


def attach(
    pc: RTCPeerConnection,
    *,
    peer: str,
    download_dir: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    accelerate: bool = True,
    accept: AcceptPolicy = None,
) -> Session:
    """A new session with one peer: the other side of a connection that the program owns.

    Raises as `Session.attach`.
    """
    session = Session(download_dir=download_dir, limits=limits, accelerate=accelerate, accept=accept)
    session.attach(pc, peer=peer)
    return session


def join(
    url: str,
    *,
    room: str,
    name: str,
    download_dir: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    accelerate: bool = True,
    accept: AcceptPolicy = None,
) -> _Joining:
    """Join a room: ``session = await p2pshare.join(...)``, or ``async with p2pshare.join(...) as session``.

    ``url`` is the signaling server's, such as ``http://192.0.2.7:8765``. Peers see ``name``.
    Raises (on await):
        SignalingFailed: The server is out of reach, the name is taken, or joining is not allowed.
    """
    session = Session(
        download_dir=download_dir, limits=limits, state_dir=state_dir, accelerate=accelerate, accept=accept
    )
    return _Joining(session, Room(SignalingClient(url, room=room, name=name)))


class _Joining:
    """What `join` returns: to be awaited, or entered."""

    def __init__(self, session: Session, room: Room) -> None:
        self._session = session
        self._room = room

    def __await__(self) -> Generator[Any, None, Session]:
        return self._join().__await__()

    async def _join(self) -> Session:
        try:
            await self._session.enter(self._room)
        except BaseException:
            await self._session.close()
            raise
        return self._session

    async def __aenter__(self) -> Session:
        return await self._join()

    async def __aexit__(
        self, cls: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()
