"""What a link's core tells the session: private, one frozen class an event."""

from __future__ import annotations

from dataclasses import dataclass

from p2pshare.errors import P2PShareError
from p2pshare.model import HeldBlocks, OfferedFile, Piece
from p2pshare.protocol.frames import Hello, Ranges
from p2pshare.protocol.states import JobState


@dataclass(frozen=True, slots=True)
class CoreEvent:
    """The base of a core's events."""


# The link ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerGreeted(CoreEvent):
    """The peer's first HELLO arrived and fits ours; with a method named, AUTH is next."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class AuthReceived(CoreEvent):
    """A step of the authentication; answer with send_auth(), authenticated() or close(), before all else."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class LinkOpened(CoreEvent):
    """Offers can travel."""


@dataclass(frozen=True, slots=True)
class HelloTimedOut(CoreEvent):
    """No HELLO in time: no p2pshare there, or not attached yet. A later one still counts."""


@dataclass(frozen=True, slots=True)
class PeerSilent(CoreEvent):
    """No sign of life for the silence timeout."""

    silent_s: float


@dataclass(frozen=True, slots=True)
class PeerHeard(CoreEvent):
    """A sign of life again."""


@dataclass(frozen=True, slots=True)
class LinkClosed(CoreEvent):
    """Nothing more comes of this link; every job has ended before this event."""

    error: P2PShareError
    "Why: closed by either side, lost, or a protocol error."


# At the downloader -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfferReceived(CoreEvent):
    """All pages of an offer are there; accept() or decline() it."""

    offer: int
    files: tuple[OfferedFile, ...]
    message: str | None
    key: bytes | None = None
    "The same on every connection of the uploader's session."


@dataclass(frozen=True, slots=True)
class OfferWithdrawn(CoreEvent):
    """An offer is no longer good."""

    offer: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class PiecesReceived(CoreEvent):
    """Bytes to write: store them, then call stored() with ``cost``."""

    job: int
    pieces: tuple[Piece, ...]
    cost: int
    "Bytes of credit that storing them frees: the message's size."


@dataclass(frozen=True, slots=True)
class HaveAnswered(CoreEvent):
    """A page of the answer to HAVE?."""

    offer: int
    query: int
    digests: dict[int, tuple[int, bytes]]
    "Size and BLAKE3 by file index."
    is_last: bool


# At the uploader ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfferDeclinedByPeer(CoreEvent):
    """The peer does not want the offer, or some of its files."""

    offer: int
    code: int
    reason: str
    files: Ranges = ()
    "Only these; empty: all of it."


@dataclass(frozen=True, slots=True)
class FilesKept(CoreEvent):
    """The peer has these files in place already: from an earlier connection, or from elsewhere."""

    offer: int
    files: Ranges


@dataclass(frozen=True, slots=True)
class JobRequested(CoreEvent):
    """The peer accepted: send these files, leaving out what it holds."""

    job: int
    offer: int
    files: tuple[int, ...]
    held: tuple[HeldBlocks, ...]


@dataclass(frozen=True, slots=True)
class CreditRaised(CoreEvent):
    """The peer has stored something, or may be sent more."""

    job: int | None
    "None: only the connection's limit rose."
    stored: int


@dataclass(frozen=True, slots=True)
class FilesConfirmed(CoreEvent):
    """The peer has these files, verified and in place."""

    job: int
    files: Ranges


@dataclass(frozen=True, slots=True)
class HaveAsked(CoreEvent):
    """The peer asks for digests of files: answer with answer_have()."""

    offer: int
    query: int
    files: tuple[int, ...]


# At both -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobPaused(CoreEvent):
    """The peer paused the job."""

    job: int


@dataclass(frozen=True, slots=True)
class JobResumed(CoreEvent):
    """The peer no longer pauses the job."""

    job: int


@dataclass(frozen=True, slots=True)
class FileGivenUp(CoreEvent):
    """The peer gave up one file; the job goes on."""

    job: int
    file: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobEnded(CoreEvent):
    """The job is over; its stream is being closed."""

    job: int
    state: JobState
    code: int = 0
    "Why, where it did not complete."
    reason: str = ""
    remote: bool = False
    "Whether the peer gave up."
