"""Two real peers on this machine, for the tests of the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aiortc import RTCPeerConnection

from p2pshare.events import Event, FileOffered, Offer
from p2pshare.model import Limits
from p2pshare.session import Session
from tests.support.connections import connect, two_pcs

E = TypeVar("E", bound=Event)


@dataclass
class Pair:
    """Alice and Bob, each with a session over the same connection."""

    alice: Session
    bob: Session
    alice_pc: RTCPeerConnection
    bob_pc: RTCPeerConnection


@asynccontextmanager
async def pair(
    folder: Path, *, alice_limits: Limits | None = None, bob_limits: Limits | None = None
) -> AsyncIterator[Pair]:
    """Alice and Bob, connected and greeted; Bob's downloads go to ``folder``."""
    async with (
        two_pcs() as pcs,
        Session(limits=alice_limits) as alice,
        Session(limits=bob_limits, download_dir=folder) as bob,
    ):
        alice_link = alice.attach(pcs[0], peer="bob")
        bob_link = bob.attach(pcs[1], peer="alice")
        await connect(*pcs)
        await alice_link.ready()
        await bob_link.ready()
        yield Pair(alice, bob, *pcs)


class Heard:
    """Every event of a session, and a way to wait for one."""

    def __init__(self, session: Session) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        session.on(Event, self._add)

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def first(self, kind: type[E], count: int = 1) -> E:
        """The count-th event of a kind, as soon as it is there."""
        while len(self.of(kind)) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.of(kind)[count - 1]


async def offer_of(heard: Heard, count: int = 1) -> Offer:
    return (await heard.first(FileOffered, count)).offer
