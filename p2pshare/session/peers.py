"""Who is there, and the link to each: attached by the program, or made through the room when there is need.

A peer has one link at a time. When it goes silent while something depends on it, a new connection is made
beside it; whichever opens last is the peer's link, and the older one ends as lost: its jobs go on here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from p2pshare import events as ev
from p2pshare.errors import ConnectionLost, P2PShareError, SharingNotAvailable, show
from p2pshare.events import Event
from p2pshare.protocol.core import CoreConfig
from p2pshare.rtc import Channels, accelerate
from p2pshare.session.budget import MemoryBudget
from p2pshare.session.link import Link, LinkOwner
from p2pshare.session.room import Room
from p2pshare.session.tasks import TaskSet

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT_S: Final = 2.0
"""Seconds that a closing link waits for the peer to have the last message."""
RETRY_FIRST_S: Final = 0.5
RETRY_AT_MOST_S: Final = 10.0
"""The wait between attempts to reach a peer again doubles from the first to this."""
ANSWER_S: Final = 1.0
"""Seconds that a peer has to answer on its link when it comes into the room while something depends on it."""
RELEASING: Final = "releasing a link"

_attached: WeakSet[RTCPeerConnection] = WeakSet()


class PeersOwner(LinkOwner, Protocol):
    """Who hears of peers and their links: the session."""

    @property
    def tasks(self) -> TaskSet:
        """Whose tasks attempts run in."""

    @property
    def accelerate(self) -> bool:
        """Whether attached connections get the fast data path."""

    def emit(self, event: Event) -> bool:
        """Tell the program."""

    def needs(self, link: Link) -> bool:
        """Whether an offer or a job depends on a link."""


class Peers:
    """All peers of a session."""

    def __init__(self, owner: PeersOwner, config: CoreConfig, budget: MemoryBudget) -> None:
        self.links: dict[str, Link] = {}
        "The link to each peer, by name."
        self.room: Room | None = None
        self._owner = owner
        self._config = config
        self._budget = budget
        self._connections: dict[Link, RTCPeerConnection] = {}
        self._known: set[str] = set()
        self._all: set[Link] = set()
        self._change = asyncio.Event()

    # Who is there --------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Members of the room and attached peers."""
        names = {peer for peer, link in self.links.items() if link.is_attached}
        if self.room is not None:
            names.update(self.room.names)
        return tuple(sorted(names))

    @property
    def present(self) -> list[str]:
        """Who EVERYONE is now: members of the room, and attached peers that have greeted."""
        members = self.room.names if self.room is not None else ()
        greeted = [peer for peer, link in self.links.items() if link.is_open]
        return sorted({*members, *greeted})

    def is_known(self, peer: str) -> bool:
        """Whether a peer is there, or was."""
        return peer in self._known or peer in self.names

    def joined(self, peer: str) -> None:
        """A member came into the room: a program that was started again, perhaps, whose link is dead."""
        self._known.add(peer)
        self._changed()
        link = self.links.get(peer)
        if link is not None and link.is_open and not link.is_attached and self._owner.needs(link):
            self._owner.tasks.start(self._check(link), f"asking {show(peer)} for a sign of life")

    def left(self, peer: str) -> None:
        """A member left the room. Its link lives on by itself, unless it is silent already."""
        link = self.links.get(peer)
        if link is not None and not link.is_attached and link.is_silent:
            link.connection_closed(f"{show(peer)} left the room")

    def _changed(self) -> None:
        """Wake who waits for a peer."""
        self._change.set()
        self._change = asyncio.Event()

    # Links ---------------------------------------------------------------------------------------------

    def attach(self, pc: RTCPeerConnection, peer: str) -> Link:
        """See `Session.attach`."""
        if pc in _attached:
            raise ValueError("this connection is attached already")
        old = self.links.get(peer)
        is_back = old is not None and old.is_attached and (old.is_silent or self._is_over(old))
        if peer in self.names and not is_back:
            raise ValueError(f"there is a peer named {show(peer)} already")
        link = Link(peer, self._config, self._owner, self._budget, is_attached=True)
        channels = Channels(pc, link)
        if self._owner.accelerate:
            accelerate(pc)
        link.start(channels)
        _attached.add(pc)
        self._all.add(link)
        self._connections[link] = pc
        self.links[peer] = link
        self._known.add(peer)
        if old is not None:
            old.close(ConnectionLost(f"{show(peer)} was attached anew"))
        self._owner.emit(ev.PeerJoined(peer))
        return link

    def _is_over(self, link: Link) -> bool:
        pc = self._connections.get(link)
        return link.error is not None or pc is None or pc.connectionState in ("closed", "failed")

    def new_link(self, peer: str) -> Link:
        """A link for a member of the room; it is the peer's once it opens.

        Raises:
            SharingNotAvailable: The name is that of an attached connection: who comes into a room under it is
                somebody else.
        """
        old = self.links.get(peer)
        if old is not None and old.is_attached:
            raise SharingNotAvailable(f"a connection is attached under the name {show(peer)}")
        link = Link(peer, self._config, self._owner, self._budget, is_attached=False)
        self._all.add(link)
        self.links.setdefault(peer, link)
        return link

    def opened(self, link: Link) -> None:
        """Both sides speak: this is the peer's link now."""
        old = self.links.get(link.peer)
        self.links[link.peer] = link
        if old is not None and old is not link:
            old.close(ConnectionLost(f"{show(link.peer)} connected anew"))
        self._changed()

    def closed(self, link: Link, error: P2PShareError) -> None:
        """Nothing more comes of a link: free its connection."""
        self._all.discard(link)
        if self.links.get(link.peer) is link:
            del self.links[link.peer]
            if not link.was_closed_orderly:
                self._owner.emit(ev.LinkFailed(link.peer, error))
            if link.is_attached:
                self._owner.emit(ev.PeerLeft(link.peer))
        self._changed()
        self._owner.tasks.start(self._release(link), RELEASING)

    async def _release(self, link: Link) -> None:
        await link.flushed(FLUSH_TIMEOUT_S)
        pc = self._connections.pop(link, None)
        if pc is not None:
            _attached.discard(pc)
        if self.room is not None:
            await self.room.release(link)

    def close_links(self, error: P2PShareError) -> None:
        """End the share side of every connection."""
        for link in list(self._all):
            link.close(error)

    # Connecting ----------------------------------------------------------------------------------------

    async def link_to(self, peer: str) -> Link:
        """An open link with a peer that is there. Raises SharingNotAvailable, SignalingFailed."""
        link = self.links.get(peer)
        if link is None:
            if self.room is None or peer not in self.room.names:
                raise SharingNotAvailable(f"{show(peer)} is not there any more")
            link = await self.room.connect(peer)
        await link.ready()
        return link

    async def reunited(self, peer: str) -> Link:
        """An open link with a peer whose connection was lost, however long that takes."""
        wait_s = RETRY_FIRST_S
        while True:
            link, change = self.links.get(peer), self._change
            if link is not None and link.is_open and not link.is_silent:
                return link
            if link is None or not link.is_attached:
                await self._try(peer)
            wait_s = await self._news(change, wait_s)

    async def _try(self, peer: str) -> None:
        if self.room is not None and peer in self.room.names:
            try:
                await self.room.connect(peer)
            except P2PShareError as error:
                logger.debug("= %s cannot be reached yet: %s", show(peer), error)

    def silent(self, link: Link) -> None:
        """No sign of life: where something depends on the link, make another connection beside it."""
        if link.is_attached or self.room is None:
            return
        if link.peer not in self.room.names:
            link.connection_closed(f"{show(link.peer)} left the room and is silent")
        elif self._owner.needs(link):
            self._owner.tasks.start(self._replace(link), f"connecting anew to {show(link.peer)}")

    async def _check(self, link: Link) -> None:
        if not await link.is_answered(ANSWER_S):
            await self._replace(link)

    async def _replace(self, link: Link) -> None:
        wait_s, heard_at = RETRY_FIRST_S, link.core.heard_at
        while link.is_open and link.core.heard_at == heard_at and self.links.get(link.peer) is link:
            change = self._change
            await self._try(link.peer)
            wait_s = await self._news(change, wait_s)

    @staticmethod
    async def _news(change: asyncio.Event, wait_s: float) -> float:
        """Wait for a change, or so long; returns how long to wait the next time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await change.wait()
        return min(2 * wait_s, RETRY_AT_MOST_S)
