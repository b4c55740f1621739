"""What the command itself tells its display, beside the session's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pshare.events import Event

if TYPE_CHECKING:
    from p2pshare.rtc import PathStats


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """The command runs a signaling server, reachable at these addresses."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined(Event):
    """The command is in a room."""

    server: str
    room: str
    name: str


@dataclass(frozen=True, slots=True)
class ServerLost(Event):
    """The signaling server is gone: what runs goes on, and nobody new is met until it is back."""

    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServerBack(Event):
    """The signaling server is there again, and so are we."""

    server: str


@dataclass(frozen=True, slots=True)
class Offering(Event):
    """A recipient is connected, and offered the files of an upload: it has not answered yet."""

    job_id: int
    peer: str


@dataclass(frozen=True, slots=True)
class AlreadyHere(Event):
    """Files of a download that are not fetched, as something is here already."""

    job_id: int
    peer: str
    same: int
    "Files that are here, byte for byte."
    skipped: int
    "Files that are left as they are here, whatever is offered: ``--on-conflict skip``."


@dataclass(frozen=True, slots=True)
class OfferSettled(Event):
    """An offer was declined here, or is gone before it was answered."""

    offer_id: int
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """A measurement of a path: so many bytes to or from a peer."""

    peer: str
    is_upload: bool
    size: int
    "Bytes."
    seconds: float
    cpu_s: float
    "Seconds of CPU that this process used meanwhile."
    path: PathStats | None
    "None where aiortc's own data path served."


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """An error that the command reports; the exit code follows from all of them."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """The last: the command ends with this exit code."""

    exit_code: int
