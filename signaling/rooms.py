"""Rooms: who is in which, who must hear of it, who may come back.

Sans-IO: no socket, no clock, no randomness. Connections are integers that the shell chose; `now` (seconds
of any monotonic clock) and fresh secrets come in as arguments; what to send comes out, in order. After
every call: send what it returned, then re-arm the timer for `next_timer`.

**A peer is in the roster of every other connected peer of its room, under one name, from `PeerJoined` (or
`Joined`) until `PeerLeft`; no two peers of a room have names that a person would take for the same.**

A peer whose socket closed without `leave` keeps its place for `grace_s`: it may resume, and nobody hears
of it. Its name is free for others at once all the same, so that a program that was killed and started
again is not locked out by its own ghost; the ghost then leaves as ``replaced``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from signaling.errors import ErrorCode
from signaling.messages import (
    MAX_PAYLOAD,
    VERSION,
    ClientMessage,
    Join,
    Joined,
    Leave,
    Payload,
    PeerEntry,
    PeerJoined,
    PeerLeft,
    Refused,
    Relayed,
    ServerMessage,
    Signal,
)
from signaling.names import name_key, peer_id_of, show

MAILBOX = 16
"Signals kept for a peer whose socket is gone, until it resumes or its grace ends."


@dataclass(frozen=True, slots=True)
class Send:
    """Send `message` on `connection`; when `final`, close the connection after it."""

    connection: int
    message: ServerMessage
    final: bool = False


@dataclass(slots=True, eq=False)
class _Member:
    peer_id: str
    name: str
    connection: int | None
    "None while its socket is gone."
    mailbox: list[Relayed] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Room:
    name: str
    members: dict[str, _Member] = field(default_factory=dict)
    names: dict[str, _Member] = field(default_factory=dict)
    "By `name_key`."

    def others(self, member: _Member) -> Iterator[_Member]:
        return (other for other in self.members.values() if other is not member)


class Rooms:
    """All rooms of a server."""

    def __init__(
        self,
        *,
        max_rooms: int = 10_000,
        max_peers: int = 64,
        grace_s: float = 3.0,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        """Make an empty house.

        Args:
            max_rooms: Rooms at a time, at least 1.
            max_peers: Peers in one room, at least 1.
            grace_s: Seconds, from 0, for which a lost peer may resume unnoticed.
            max_payload: Told to clients in `Joined`; the decoder enforces it.
        """
        self._max_rooms = max_rooms
        self._max_peers = max_peers
        self._grace_s = grace_s
        self._max_payload = max_payload
        self._rooms: dict[str, _Room] = {}
        self._seats: dict[int, tuple[_Room, _Member]] = {}
        # Every peer has the same grace, so the order of insertion is the order of the deadlines.
        self._absent: dict[_Member, tuple[float, _Room]] = {}

    def __len__(self) -> int:
        """The number of rooms with someone in them."""
        return len(self._rooms)

    @property
    def next_timer(self) -> float | None:
        """When to call `handle_timer`, on the clock of `now`; None when nothing is due."""
        return next((deadline for deadline, _ in self._absent.values()), None)

    def is_joined(self, connection: int) -> bool:
        """Whether this connection has a place in a room."""
        return connection in self._seats

    def roster(self, room: str) -> dict[str, str]:
        """Names by peer id, those in their grace included; empty for a room that does not exist."""
        found = self._rooms.get(room)
        return {peer_id: member.name for peer_id, member in found.members.items()} if found else {}

    def receive(self, connection: int, message: ClientMessage, *, secret: str) -> list[Send]:
        """Take one message of a client.

        Args:
            connection: Where it came from.
            message: What `decode_client` made of it.
            secret: 32 fresh random hex digits; the new peer's secret, should the message make one.
        """
        match message:
            case Join():
                return self._join(connection, message, secret)
            case Signal(to, payload):
                return self._relay(connection, to, payload)
            case Leave():
                seat = self._seats.pop(connection, None)
                return self._remove(*seat, "left") if seat is not None else []

    def disconnect(self, connection: int, *, now: float) -> list[Send]:
        """Take note that a socket closed. For a connection without a place this does nothing."""
        seat = self._seats.pop(connection, None)
        if seat is None:
            return []
        room, member = seat
        member.connection = None
        self._absent[member] = (now + self._grace_s, room)
        return self.handle_timer(now)

    def handle_timer(self, now: float) -> list[Send]:
        """Give up on the peers whose grace is over; safe to call at any time."""
        sends: list[Send] = []
        while self._absent:
            member, (deadline, room) = next(iter(self._absent.items()))
            if deadline > now:
                break
            sends += self._remove(room, member, "connection lost")
        return sends

    def _join(self, connection: int, join: Join, secret: str) -> list[Send]:
        if join.version != VERSION:
            return [
                _refuse(connection, ErrorCode.UNSUPPORTED_VERSION, f"this server speaks version {VERSION}")
            ]
        if connection in self._seats:
            return [_refuse(connection, ErrorCode.BAD_MESSAGE, "joined already")]
        if join.resume is not None:
            secret = join.resume.secret
            if peer_id_of(secret) != join.resume.peer_id:
                return [_refuse(connection, ErrorCode.NOT_ALLOWED, "the secret is not that peer's")]
        peer_id = peer_id_of(secret)
        room = self._rooms.get(join.room)
        if room is not None and (member := room.members.get(peer_id)) is not None:
            return self._resume(connection, room, member, secret)
        return self._enter(connection, join, peer_id, secret)

    def _resume(self, connection: int, room: _Room, member: _Member, secret: str) -> list[Send]:
        sends: list[Send] = []
        if member.connection is not None:
            # The client has noticed before us that its old socket is dead; the secret proves who it is.
            del self._seats[member.connection]
            sends.append(_refuse(member.connection, ErrorCode.REPLACED, "you are back on another connection"))
        self._absent.pop(member, None)
        waiting, member.mailbox = member.mailbox, []
        sends += self._seat(connection, room, member, secret, resumed=True)
        sends += [Send(connection, signal) for signal in waiting if signal.sender in room.members]
        return sends

    def _enter(self, connection: int, join: Join, peer_id: str, secret: str) -> list[Send]:
        room = self._rooms.get(join.room)
        if room is None and len(self._rooms) >= self._max_rooms:
            return [_refuse(connection, ErrorCode.SERVER_FULL, f"all {self._max_rooms:,} rooms are in use")]
        room = room or _Room(join.room)
        sends: list[Send] = []
        if (holder := room.names.get(name_key(join.name))) is not None:
            if holder.connection is not None:
                reason = f"{show(holder.name)} is in the room already"
                return [_refuse(connection, ErrorCode.NAME_TAKEN, reason)]
            sends += self._remove(room, holder, "replaced")
        if len(room.members) >= self._max_peers:
            return [*sends, _refuse(connection, ErrorCode.ROOM_FULL, f"{self._max_peers} peers are in it")]
        room = self._rooms.setdefault(join.room, room)
        member = _Member(peer_id, join.name, connection)
        room.members[peer_id] = room.names[name_key(join.name)] = member
        sends += self._seat(connection, room, member, secret, resumed=False)
        sends += self._tell_others(room, member, PeerJoined(peer_id, member.name))
        return sends

    def _seat(
        self, connection: int, room: _Room, member: _Member, secret: str, *, resumed: bool
    ) -> list[Send]:
        member.connection = connection
        self._seats[connection] = (room, member)
        peers = tuple(PeerEntry(other.peer_id, other.name) for other in room.others(member))
        joined = Joined(member.peer_id, secret, member.name, peers, resumed, self._max_payload)
        return [Send(connection, joined)]

    def _relay(self, connection: int, to: str, payload: Payload) -> list[Send]:
        seat = self._seats.get(connection)
        if seat is None:
            return [_refuse(connection, ErrorCode.BAD_MESSAGE, "join a room first")]
        room, member = seat
        receiver = room.members.get(to)
        if receiver is None:
            refused = Refused(ErrorCode.PEER_GONE, "nobody in the room has this id", final=False, peer_id=to)
            return [Send(connection, refused)]
        signal = Relayed(member.peer_id, payload)
        if receiver.connection is not None:
            return [Send(receiver.connection, signal)]
        if len(receiver.mailbox) < MAILBOX:
            receiver.mailbox.append(signal)
            return []
        reason = f"{show(receiver.name)} lost its connection, and {MAILBOX} signals wait for it already"
        return [Send(connection, Refused(ErrorCode.PEER_AWAY, reason, final=False, peer_id=to))]

    def _remove(self, room: _Room, member: _Member, reason: str) -> list[Send]:
        del room.members[member.peer_id]
        del room.names[name_key(member.name)]
        self._absent.pop(member, None)
        if not room.members:
            self._rooms.pop(room.name, None)
        return self._tell_others(room, member, PeerLeft(member.peer_id, member.name, reason))

    def _tell_others(self, room: _Room, member: _Member, message: ServerMessage) -> list[Send]:
        return [
            Send(other.connection, message) for other in room.others(member) if other.connection is not None
        ]


def _refuse(connection: int, code: ErrorCode, reason: str) -> Send:
    return Send(connection, Refused(code, reason), final=True)
