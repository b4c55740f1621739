"""The signaling protocol's messages: JSON texts in WebSocket messages, each a frozen dataclass.

Pure: no I/O, no clock. See PROTOCOL.md, "Signaling". Unknown keys are ignored, and so is a message of
an unknown type (it decodes to None), so that a newer side can say more; a known key of the wrong type or
range is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from signaling.errors import BadMessage, MessageTooLarge
from signaling.names import is_peer_id, is_secret, name_problem
from signaling.strict_json import dump_object, parse_object

VERSION = 1
"The protocol version that this module speaks."

MAX_PAYLOAD = 16 * 1024
"Bytes of a signal's payload as compact JSON; a server may be configured to another limit."

ENVELOPE = 2 * 1024
"Bytes that a client's message may have beyond its payload."

MAX_FROM_SERVER = 4 * 1024 * 1024
"Bytes that a client accepts in one message of its server; a full roster is the longest."

_MAX_REASON = 500
_MAX_INT = 2**53 - 1

Payload: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resume:
    """Proof that a client is a peer that was here before."""

    peer_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """One line of a roster."""

    peer_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Join:
    """The first message of a client: let me into this room under this name."""

    room: str = field(repr=False)
    "Who knows it may come in, so it stays out of logs."
    name: str
    version: int = VERSION
    resume: Resume | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """Client to server: pass `payload` to the peer `to`."""

    to: str
    payload: Payload = field(repr=False)


@dataclass(frozen=True, slots=True)
class Leave:
    """The client's last message: tell the others at once that I am leaving."""


@dataclass(frozen=True, slots=True)
class Joined:
    """You are in the room."""

    peer_id: str
    secret: str = field(repr=False)
    "Comes back in `Join.resume` after a lost connection. Show it to nobody."
    name: str
    "The name as the others see it."
    peers: tuple[PeerEntry, ...]
    "Everyone else in the room."
    resumed: bool = False
    "True when you took up your old place, and the others noticed nothing."
    max_payload: int = MAX_PAYLOAD
    "Bytes of payload that this server relays."


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A peer came into the room."""

    peer_id: str
    name: str


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer left the room."""

    peer_id: str
    name: str
    reason: str
    "``left``, ``connection lost`` or ``replaced``."


@dataclass(frozen=True, slots=True)
class Relayed:
    """Server to client: ``signal`` with a payload from another peer."""

    sender: str
    "On the wire: `from`."
    payload: Payload = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Server to client: ``error``. Something that the client asked for was refused."""

    code: str
    "An `ErrorCode`; a newer server may know others."
    reason: str
    "A sentence for a person, at most 500 characters."
    final: bool = True
    "The server closes the connection after this message."
    peer_id: str | None = None
    "The peer that a signal could not reach."


ClientMessage: TypeAlias = Join | Signal | Leave
ServerMessage: TypeAlias = Joined | PeerJoined | PeerLeft | Relayed | Refused
Message: TypeAlias = ClientMessage | ServerMessage


# --- Writing ---


def encode(message: Message) -> str:
    """Write a message as JSON text.

    Raises:
        BadMessage: If a payload holds what JSON cannot carry.
    """
    return dump_object(_to_json(message))


def payload_size(payload: Payload) -> int:
    """Bytes that `payload` takes on the wire.

    Raises:
        BadMessage: If the other side would refuse it: not JSON, nested too deep, half a surrogate pair.
    """
    text = dump_object({"payload": dict(payload)})
    parse_object(text, max_size=len(text) * 4)
    return len(text.encode()) - len('{"payload":}')


def check_payload(payload: Payload, limit: int) -> None:
    """Check that a server with this limit relays `payload`.

    Raises:
        MessageTooLarge: If it takes more than `limit` bytes.
        BadMessage: If it cannot be sent at all.
    """
    size = payload_size(payload)
    if size > limit:
        raise MessageTooLarge(size, limit, field="payload")


def _to_json(message: Message) -> dict[str, Any]:
    match message:
        case Join(room, name, version, resume):
            text: dict[str, Any] = {"type": "join", "version": version, "room": room, "name": name}
            if resume is not None:
                text["resume"] = {"peer_id": resume.peer_id, "secret": resume.secret}
            return text
        case Signal(to, payload):
            return {"type": "signal", "to": to, "payload": dict(payload)}
        case Leave():
            return {"type": "leave"}
        case Joined(peer_id, secret, name, peers, resumed, max_payload):
            return {
                "type": "joined",
                "peer_id": peer_id,
                "secret": secret,
                "name": name,
                "peers": [{"peer_id": peer.peer_id, "name": peer.name} for peer in peers],
                "resumed": resumed,
                "max_payload": max_payload,
            }
        case PeerJoined(peer_id, name):
            return {"type": "peer_joined", "peer_id": peer_id, "name": name}
        case PeerLeft(peer_id, name, reason):
            return {"type": "peer_left", "peer_id": peer_id, "name": name, "reason": reason}
        case Relayed(sender, payload):
            return {"type": "signal", "from": sender, "payload": dict(payload)}
        case Refused(code, reason, final, about):
            text = {"type": "error", "code": code, "reason": reason, "final": final}
            if about is not None:
                text["peer_id"] = about
            return text


# --- Reading ---


def decode_client(text: str, *, max_payload: int = MAX_PAYLOAD) -> ClientMessage | None:
    """Read a message from a client; None when its type is unknown.

    Raises:
        MessageTooLarge: If it is longer than a payload of `max_payload` bytes and 2 KiB.
        BadMessage: If it does not follow the protocol.
    """
    fields = _Fields(parse_object(text, max_size=max_payload + ENVELOPE))
    read = _FROM_CLIENT.get(fields.text("type"))
    return read(fields) if read is not None else None


def decode_server(text: str, *, max_size: int = MAX_FROM_SERVER) -> ServerMessage | None:
    """Read a message from the server; None when its type is unknown.

    Raises:
        MessageTooLarge: If it is longer than `max_size` bytes.
        BadMessage: If it does not follow the protocol.
    """
    fields = _Fields(parse_object(text, max_size=max_size))
    read = _FROM_SERVER.get(fields.text("type"))
    return read(fields) if read is not None else None


class _Fields:
    """An object's members, each read once and by its type; an error names the member."""

    def __init__(self, members: dict[str, Any], path: str = "") -> None:
        self._members = members
        self._path = path

    def fail(self, key: str, problem: str) -> BadMessage:
        return BadMessage(problem, field=self._path + key)

    def has(self, key: str) -> bool:
        return key in self._members

    def value(self, key: str) -> Any:
        if key not in self._members:
            raise self.fail(key, "is missing")
        return self._members[key]

    def text(self, key: str, *, max_length: int = _MAX_REASON) -> str:
        value = self.value(key)
        if not isinstance(value, str):
            raise self.fail(key, "must be a string")
        if len(value) > max_length:
            raise self.fail(key, f"must have at most {max_length} characters, has {len(value):,}")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if (problem := name_problem(value)) is not None:
            raise self.fail(key, problem)
        return value

    def peer_id(self, key: str) -> str:
        value = self.text(key)
        if not is_peer_id(value):
            raise self.fail(key, "must be 20 hex digits")
        return value

    def secret(self, key: str) -> str:
        value = self.text(key)
        if not is_secret(value):
            raise self.fail(key, "must be 32 hex digits")
        return value

    def integer(self, key: str) -> int:
        value = self.value(key)
        if type(value) is not int or not 0 <= value <= _MAX_INT:
            raise self.fail(key, "must be an integer from 0 to 2^53-1")
        return value

    def flag(self, key: str) -> bool:
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.fail(key, "must be true or false")
        return value

    def payload(self, key: str) -> dict[str, Any]:
        value = self.value(key)
        if not isinstance(value, dict):
            raise self.fail(key, "must be an object")
        return value

    def inner(self, key: str) -> _Fields:
        return _Fields(self.payload(key), f"{self._path}{key}.")

    def items(self, key: str) -> list[_Fields]:
        value = self.value(key)
        if not isinstance(value, list):
            raise self.fail(key, "must be an array")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.fail(f"{key}[{index}]", "must be an object")
        return [_Fields(item, f"{self._path}{key}[{index}].") for index, item in enumerate(value)]


def _read_join(fields: _Fields) -> Join:
    version = fields.integer("version")
    resume = None
    if fields.has("resume"):
        proof = fields.inner("resume")
        resume = Resume(proof.peer_id("peer_id"), proof.secret("secret"))
    return Join(fields.name("room"), fields.name("name"), version, resume)


def _read_joined(fields: _Fields) -> Joined:
    return Joined(
        peer_id=fields.peer_id("peer_id"),
        secret=fields.secret("secret"),
        name=fields.name("name"),
        peers=tuple(PeerEntry(peer.peer_id("peer_id"), peer.name("name")) for peer in fields.items("peers")),
        resumed=fields.flag("resumed"),
        max_payload=fields.integer("max_payload"),
    )


def _read_peer_left(fields: _Fields) -> PeerLeft:
    return PeerLeft(fields.peer_id("peer_id"), fields.name("name"), fields.text("reason"))


def _read_refused(fields: _Fields) -> Refused:
    return Refused(
        code=fields.text("code", max_length=64),
        reason=fields.text("reason"),
        final=fields.flag("final"),
        peer_id=fields.peer_id("peer_id") if fields.has("peer_id") else None,
    )


_FROM_CLIENT: Mapping[str, Callable[[_Fields], ClientMessage]] = {
    "join": _read_join,
    "signal": lambda fields: Signal(fields.peer_id("to"), fields.payload("payload")),
    "leave": lambda fields: Leave(),
}

_FROM_SERVER: Mapping[str, Callable[[_Fields], ServerMessage]] = {
    "joined": _read_joined,
    "peer_joined": lambda fields: PeerJoined(fields.peer_id("peer_id"), fields.name("name")),
    "peer_left": _read_peer_left,
    "signal": lambda fields: Relayed(fields.peer_id("from"), fields.payload("payload")),
    "error": _read_refused,
}
