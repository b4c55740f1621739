"""A client's view of its room, kept steady over lost connections and restarted servers.

Sans-IO: `now` (seconds of any monotonic clock) comes in, events come out.

**Applied in order to an empty roster, the `PeerJoined` and `PeerLeft` events give `peers`.**

A server that restarted remembers nobody, and its clients come back one by one. A peer that was here
before, and is not back yet, therefore stays in the roster for `settle_s`; peers that come back in time
cause no event at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from signaling import messages
from signaling.events import PeerJoined, PeerLeft

RosterEvent: TypeAlias = PeerJoined | PeerLeft


class Roster:
    """Names of all other peers in the room, by peer id."""

    def __init__(self, *, settle_s: float) -> None:
        """Make an empty roster; `settle_s` are the seconds, from 0, that peers have to come back."""
        self._settle_s = settle_s
        self._peers: dict[str, str] = {}
        self._missing: dict[str, float] = {}
        "Deadlines of those whom a restarted server does not know yet; all set at once, so all the same."

    @property
    def peers(self) -> Mapping[str, str]:
        """A read-only view."""
        return MappingProxyType(self._peers)

    @property
    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None when nothing is due."""
        return next(iter(self._missing.values()), None)

    def enter(self, joined: messages.Joined, *, now: float) -> list[RosterEvent]:
        """Take the roster of a server that we just joined, for the first time or again."""
        present = {peer.peer_id: peer.name for peer in joined.peers}
        absent = [peer_id for peer_id in self._peers if peer_id not in present]
        events: list[RosterEvent] = []
        if joined.resumed:
            self._missing.clear()
            for peer_id in absent:
                events += self._remove(peer_id, "connection lost")
        else:
            self._missing = dict.fromkeys(absent, now + self._settle_s)
        for peer_id, name in present.items():
            events += self.add(peer_id, name)
        return events + self.handle_timer(now)

    def add(self, peer_id: str, name: str) -> list[RosterEvent]:
        """Take note that a peer is in the room."""
        self._missing.pop(peer_id, None)
        known = self._peers.get(peer_id)
        if known == name:
            return []
        events = self._remove(peer_id, "replaced") if known is not None else []
        # A program that was started anew, while the server restarted, supersedes its former self.
        for missing in [ghost for ghost in self._missing if self._peers[ghost] == name]:
            events += self._remove(missing, "replaced")
        self._peers[peer_id] = name
        return [*events, PeerJoined(peer_id, name)]

    def remove(self, peer_id: str, reason: str) -> list[RosterEvent]:
        """Take note that a peer left."""
        return self._remove(peer_id, reason) if peer_id in self._peers else []

    def handle_timer(self, now: float) -> list[RosterEvent]:
        """Give up on those who did not come back in time; safe to call at any time."""
        events: list[RosterEvent] = []
        for peer_id in [late for late, deadline in self._missing.items() if deadline <= now]:
            events += self._remove(peer_id, "connection lost")
        return events

    def _remove(self, peer_id: str, reason: str) -> list[RosterEvent]:
        self._missing.pop(peer_id, None)
        return [PeerLeft(peer_id, self._peers.pop(peer_id), reason)]
