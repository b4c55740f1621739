"""What can go wrong between a program and its signaling server, one class a cause.

An error carries fields; the sentence a person reads is built from them once, in ``__str__``. What came
from the other side passes `show()` before it reaches a sentence.
"""

from __future__ import annotations

from enum import StrEnum

from signaling.names import show


class ErrorCode(StrEnum):
    """The codes of ``error`` messages, and `SignalingError.code`."""

    BAD_MESSAGE = "bad_message"
    UNSUPPORTED_VERSION = "unsupported_version"
    TOO_LARGE = "too_large"
    NAME_TAKEN = "name_taken"
    ROOM_FULL = "room_full"
    SERVER_FULL = "server_full"
    NOT_ALLOWED = "not_allowed"
    REPLACED = "replaced"
    PEER_GONE = "peer_gone"
    PEER_AWAY = "peer_away"
    TIMED_OUT = "timed_out"
    # Never on the wire:
    UNREACHABLE = "unreachable"
    NOT_CONNECTED = "not_connected"
    CANNOT_LISTEN = "cannot_listen"
    INVALID_ARGUMENT = "invalid_argument"


class SignalingError(Exception):
    """Signaling failed."""

    code: str = ErrorCode.BAD_MESSAGE
    "An `ErrorCode`, or the text that a newer server sent."

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        "What the other side or the system said, as it said it; may be empty."

    def __str__(self) -> str:
        summary = (type(self).__doc__ or "").partition("\n")[0].rstrip(".")
        return f"{summary}: {show(self.reason)}" if self.reason else summary


class InvalidArgument(SignalingError, ValueError):
    """Our caller passed something that signaling cannot use."""

    code = ErrorCode.INVALID_ARGUMENT

    def __str__(self) -> str:
        return self.reason


class Unreachable(SignalingError):
    """No signaling server answers at this address."""

    code = ErrorCode.UNREACHABLE

    def __init__(self, url: str, reason: str = "") -> None:
        super().__init__(reason)
        self.url = url

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"no signaling server answers at {self.url}{why}; is it running, and is the address right?"


class RefusedError(SignalingError):
    """The server said no."""

    def __init__(self, reason: str = "", *, code: str | None = None) -> None:
        super().__init__(reason)
        if code is not None:
            self.code = code


class NameTaken(RefusedError):
    """Someone in the room has this name already, and is connected."""

    code = ErrorCode.NAME_TAKEN

    def __init__(self, name: str, room: str, reason: str = "") -> None:
        super().__init__(reason)
        self.name = name
        self.room = room

    def __str__(self) -> str:
        return f"the name {show(self.name)} is taken in room {show(self.room)}; choose another"


class RoomFull(RefusedError):
    """The room has as many peers as the server allows."""

    code = ErrorCode.ROOM_FULL

    def __init__(self, room: str, reason: str = "") -> None:
        super().__init__(reason)
        self.room = room

    def __str__(self) -> str:
        why = f" ({show(self.reason)})" if self.reason else ""
        return f"room {show(self.room)} is full{why}"


class ServerFull(RefusedError):
    """The server takes no more connections or rooms just now; try again later."""

    code = ErrorCode.SERVER_FULL


class NotAllowed(RefusedError):
    """The server does not let this program in."""

    code = ErrorCode.NOT_ALLOWED


class UnsupportedVersion(RefusedError):
    """The server speaks another version of the signaling protocol; update the older side."""

    code = ErrorCode.UNSUPPORTED_VERSION


class Replaced(RefusedError):
    """Another connection took over this peer's identity."""

    code = ErrorCode.REPLACED


class BadMessage(SignalingError):
    """A message does not follow the protocol."""

    code = ErrorCode.BAD_MESSAGE

    def __init__(self, problem: str, *, field: str | None = None) -> None:
        super().__init__(problem)
        self.field = field
        "The key to blame, dotted (`resume.secret`); None when it is the message as a whole."

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field is not None else self.reason


class MessageTooLarge(BadMessage):
    """A message is longer than the protocol allows."""

    code = ErrorCode.TOO_LARGE

    def __init__(self, size: int, limit: int, *, field: str | None = None) -> None:
        super().__init__(f"{size:,} bytes, the limit is {limit:,}", field=field)
        self.size = size
        self.limit = limit


class PeerGone(SignalingError):
    """The peer has left the room."""

    code = ErrorCode.PEER_GONE

    def __init__(self, peer_id: str) -> None:
        super().__init__()
        self.peer_id = peer_id

    def __str__(self) -> str:
        return f"peer {show(self.peer_id)} is not in the room"


class NotConnected(SignalingError):
    """There is no connection to the signaling server; it was closed, or could not be restored in time."""

    code = ErrorCode.NOT_CONNECTED


class CannotListen(SignalingError):
    """The server cannot listen on this address; the OSError is the cause."""

    code = ErrorCode.CANNOT_LISTEN

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(reason)
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return f"cannot listen on {self.host or '*'} port {self.port}: {self.reason}"


def refusal(code: str, reason: str, *, room: str, name: str) -> SignalingError:
    """Make the exception for an ``error`` message of the server.

    An unknown code, of a newer server, becomes a `RefusedError` that carries it.
    """
    match code:
        case ErrorCode.NAME_TAKEN:
            return NameTaken(name, room, reason)
        case ErrorCode.ROOM_FULL:
            return RoomFull(room, reason)
        case ErrorCode.SERVER_FULL:
            return ServerFull(reason)
        case ErrorCode.NOT_ALLOWED:
            return NotAllowed(reason)
        case ErrorCode.UNSUPPORTED_VERSION:
            return UnsupportedVersion(reason)
        case ErrorCode.REPLACED:
            return Replaced(reason)
        case _:
            return RefusedError(reason, code=code)
