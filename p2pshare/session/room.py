"""Membership of a room: signaling's words made the session's, once, at this seam."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from p2pshare.errors import SharingNotAvailable, SignalingFailed, show
from p2pshare.session.link import Link
from p2pshare.session.rendezvous import Rendezvous
from p2pshare.session.tasks import TaskSet
from signaling import client as signaling
from signaling.errors import PeerGone, SignalingError

if TYPE_CHECKING:
    from p2pshare.session.session import Session

logger = logging.getLogger(__name__)


class Room:
    """A room that the session is in, through one signaling client."""

    def __init__(self, client: signaling.SignalingClient) -> None:
        self._client = client
        self._session: Session | None = None
        self._rendezvous: Rendezvous | None = None

    @property
    def name(self) -> str:
        """The room's."""
        return self._client.room

    @property
    def names(self) -> tuple[str, ...]:
        """The other members."""
        return tuple(self._client.peers.values())

    @property
    def tasks(self) -> TaskSet:
        """Whose tasks connections run in: the session's."""
        assert self._session is not None
        return self._session.tasks

    async def enter(self, session: Session) -> None:
        """Join. Raises SignalingFailed: out of reach, name taken, not allowed."""
        self._session = session
        try:
            joined = await self._client.connect()
        except SignalingError as error:
            raise SignalingFailed(str(error)) from error
        self._rendezvous = Rendezvous(self, joined.peer_id)
        for name in self.names:
            session.peer_joined(name)
        session.tasks.start(self._listen(session), "room")

    async def _listen(self, session: Session) -> None:
        async for event in self._client.events():
            match event:
                case signaling.PeerJoined():
                    session.peer_joined(event.name)
                case signaling.PeerLeft():
                    session.peer_left(event.name)
                case signaling.SignalReceived():
                    name = self._client.peers.get(event.peer_id)
                    if name is not None and self._rendezvous is not None:
                        self._rendezvous.signal_received(event.peer_id, name, event.payload)
                case signaling.Closed():
                    if event.error is not None:
                        logger.warning("the room is gone: %s", event.error)
                case _:
                    logger.debug("= signaling: %s", type(event).__name__)

    async def connect(self, name: str) -> Link:
        """A link with a member. Raises SharingNotAvailable, SignalingFailed."""
        for peer_id, each in self._client.peers.items():
            if each == name and self._rendezvous is not None:
                return await self._rendezvous.connect(peer_id, name)
        raise SharingNotAvailable(f"{show(name)} is not in the room any more")

    async def release(self, link: Link) -> None:
        """Close the connection under a closed link."""
        if self._rendezvous is not None:
            await self._rendezvous.release(link)

    async def leave(self) -> None:
        """Leave the room; the others are told. Idempotent."""
        await self._client.close()

    # For the rendezvous ----------------------------------------------------------------------------------

    @property
    def accelerate(self) -> bool:
        """Whether connections use the fast data path."""
        return self._session is not None and self._session.accelerate

    def new_link(self, peer: str) -> Link:
        """A link for a member."""
        assert self._session is not None
        return self._session.new_link(peer)

    async def send_signal(self, peer_id: str, payload: Mapping[str, Any]) -> None:
        """Send a message to a member. Raises SignalingFailed."""
        try:
            await self._client.send(peer_id, payload)
        except PeerGone as error:
            raise SharingNotAvailable("the peer is not in the room any more") from error
        except SignalingError as error:
            raise SignalingFailed(str(error)) from error
