"""What a signaling client tells its program, each a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from signaling.errors import SignalingError


@dataclass(frozen=True, slots=True)
class Joined:
    """The client is in the room: what `SignalingClient.connect` returns."""

    peer_id: str
    "Our own; it stays the same when the connection is lost and restored."
    name: str
    peers: Mapping[str, str]
    "Names of all others, by peer id."


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A peer came into the room."""

    peer_id: str
    name: str


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is no longer in the room; signals cannot reach it."""

    peer_id: str
    name: str
    reason: str
    "``left``, ``connection lost``, or ``replaced`` by a new peer of the same name."


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """A peer sent us a signal."""

    peer_id: str
    payload: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to the server is lost; the client is restoring it. Connections to peers live on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection to the server is restored. What changed follows as `PeerLeft` and `PeerJoined`."""

    peer_id: str
    peers: Mapping[str, str]
    "Names of all others, by peer id."


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event: the client was closed, or the server refused it for good."""

    error: SignalingError | None
    "None when the program itself called `close`."


Event: TypeAlias = PeerJoined | PeerLeft | SignalReceived | Disconnected | Reconnected | Closed
