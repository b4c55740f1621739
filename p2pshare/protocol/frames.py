"""The frames of the share protocol: one frozen class a frame, as a program reads them.

Values only; how they look on the wire is `codec`, which frame is allowed when is `states`.
Each frame is specified in PROTOCOL.md, section Frames, under the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from p2pshare.model import Extent, FileEnd, HeldBlocks, OfferedFile

Ranges = tuple[tuple[int, int], ...]
"""File indexes as ascending, disjoint (first, last) pairs, both inclusive."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The base of all frames."""

    TYPE: ClassVar[int]
    "The number on the wire, 0 to 127."
    WORD: ClassVar[str]
    "The name in PROTOCOL.md, in logs and in errors."


@dataclass(frozen=True, slots=True)
class Hello(Frame):
    """First on the control channel: who speaks, which versions, which limits."""

    TYPE: ClassVar[int] = 1
    WORD: ClassVar[str] = "HELLO"
    versions: tuple[int, ...]
    nonce: bytes
    "16 random bytes of this session; the lower one owns the even ids."
    seen: bool
    "Whether the peer's HELLO has arrived; one with False is always answered."
    max_frame: int
    "Bytes of the largest frame this side takes, at least 16,384."
    max_file_size: int
    max_files: int
    abilities: tuple[str, ...] = ()
    auth: str | None = None
    "The method of authentication that this side insists on; None: none."
    key: bytes | None = None
    "Reserved: the installation's public key."


@dataclass(frozen=True, slots=True)
class Auth(Frame):
    """One step of the method that both HELLOs named."""

    TYPE: ClassVar[int] = 2
    WORD: ClassVar[str] = "AUTH"
    payload: bytes


@dataclass(frozen=True, slots=True)
class OfferFrame(Frame):
    """The uploader offers files; the list may go on in FILES."""

    TYPE: ClassVar[int] = 3
    WORD: ClassVar[str] = "OFFER"
    offer: int
    "Chosen by the uploader, ascending on a connection."
    count: int
    "Files in all pages together."
    files: tuple[OfferedFile, ...]
    message: str | None = None
    metadata: bytes | None = None
    key: bytes | None = None
    "16 bytes that name the offer on all connections of its uploader's session; None: it ends with this one."


@dataclass(frozen=True, slots=True)
class Files(Frame):
    """A further page of an offer's files, in the order of their indexes."""

    TYPE: ClassVar[int] = 4
    WORD: ClassVar[str] = "FILES"
    offer: int
    files: tuple[OfferedFile, ...]


@dataclass(frozen=True, slots=True)
class Withdraw(Frame):
    """The offer is no longer good; jobs that run go on."""

    TYPE: ClassVar[int] = 5
    WORD: ClassVar[str] = "WITHDRAW"
    offer: int
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Accept(Frame):
    """The downloader wants files of an offer, on a stream that it has opened."""

    TYPE: ClassVar[int] = 6
    WORD: ClassVar[str] = "ACCEPT"
    job: int
    "Chosen by the downloader, of its parity, ascending on a connection."
    offer: int
    channel: int
    "The data channel id of the job stream, 241 to 255, of the downloader's parity."
    files: Ranges
    limit: int
    "Absolute credit of the job stream: bytes of messages."
    connection_limit: int
    held: tuple[HeldBlocks, ...] = ()
    more: bool = False
    "RANGES pages follow."


@dataclass(frozen=True, slots=True)
class RangesFrame(Frame):
    """A further page of what an ACCEPT wants and holds."""

    TYPE: ClassVar[int] = 7
    WORD: ClassVar[str] = "RANGES"
    job: int
    files: Ranges = ()
    held: tuple[HeldBlocks, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Decline(Frame):
    """The downloader does not want the offer, or some of its files."""

    TYPE: ClassVar[int] = 8
    WORD: ClassVar[str] = "DECLINE"
    offer: int
    code: int
    reason: str = ""
    files: Ranges = ()
    "Only these; the offer stands for the others. Empty: all of it."


@dataclass(frozen=True, slots=True)
class HaveQuery(Frame):
    """The downloader asks for the digests of files whose size it has already (HAVE?)."""

    TYPE: ClassVar[int] = 9
    WORD: ClassVar[str] = "HAVE?"
    offer: int
    query: int
    "Chosen by the downloader, to match the answer."
    files: Ranges
    more: bool = False
    "A further page of this query follows."


@dataclass(frozen=True, slots=True)
class Have(Frame):
    """The digests that HAVE? asked for; files that cannot be read are left out."""

    TYPE: ClassVar[int] = 10
    WORD: ClassVar[str] = "HAVE"
    offer: int
    query: int
    files: tuple[FileEnd, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Data(Frame):
    """Bytes of files, on the job stream."""

    TYPE: ClassVar[int] = 11
    WORD: ClassVar[str] = "DATA"
    job: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Finish(Frame):
    """Files are complete, on the job stream; may carry their last bytes and the first of the next file."""

    TYPE: ClassVar[int] = 12
    WORD: ClassVar[str] = "FINISH"
    job: int
    files: tuple[FileEnd, ...]
    extents: tuple[Extent, ...] = ()


@dataclass(frozen=True, slots=True)
class Window(Frame):
    """Credit: how far the uploader may go, and how far the downloader's disk is."""

    TYPE: ClassVar[int] = 13
    WORD: ClassVar[str] = "WINDOW"
    connection_limit: int
    job: int | None = None
    "None: only the connection's limit is meant."
    limit: int = 0
    stored: int = 0
    "Bytes of files of this job whose write has returned."


@dataclass(frozen=True, slots=True)
class Pause(Frame):
    """This side pauses the job; it goes on when neither side has paused it."""

    TYPE: ClassVar[int] = 14
    WORD: ClassVar[str] = "PAUSE"
    job: int


@dataclass(frozen=True, slots=True)
class Resume(Frame):
    """This side no longer pauses the job."""

    TYPE: ClassVar[int] = 15
    WORD: ClassVar[str] = "RESUME"
    job: int


@dataclass(frozen=True, slots=True)
class Confirm(Frame):
    """These files are verified, fsynced and in place."""

    TYPE: ClassVar[int] = 16
    WORD: ClassVar[str] = "CONFIRM"
    job: int
    files: Ranges


@dataclass(frozen=True, slots=True)
class Reset(Frame):
    """The uploader gives up a job, or one file of it."""

    TYPE: ClassVar[int] = 17
    WORD: ClassVar[str] = "RESET"
    job: int
    code: int
    reason: str = ""
    file: int | None = None


@dataclass(frozen=True, slots=True)
class Stop(Frame):
    """The downloader gives up a job, or one file of it."""

    TYPE: ClassVar[int] = 18
    WORD: ClassVar[str] = "STOP"
    job: int
    code: int
    reason: str = ""
    file: int | None = None


@dataclass(frozen=True, slots=True)
class Ping(Frame):
    """Are you there? Answered by PONG with the same token."""

    TYPE: ClassVar[int] = 19
    WORD: ClassVar[str] = "PING"
    token: int


@dataclass(frozen=True, slots=True)
class Pong(Frame):
    """The answer to PING."""

    TYPE: ClassVar[int] = 20
    WORD: ClassVar[str] = "PONG"
    token: int


@dataclass(frozen=True, slots=True)
class Close(Frame):
    """This side ends the link; the connection and everything else on it goes on."""

    TYPE: ClassVar[int] = 21
    WORD: ClassVar[str] = "CLOSE"
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ended(Frame):
    """The uploader's last frame of a job: what its stream has carried, whether it arrived or not."""

    TYPE: ClassVar[int] = 22
    WORD: ClassVar[str] = "ENDED"
    job: int
    sent: int
    "Bytes of messages on the stream: so many were taken from the connection's credit."


@dataclass(frozen=True, slots=True)
class Kept(Frame):
    """The downloader has these files of an offer in place already: no job has to bring them."""

    TYPE: ClassVar[int] = 23
    WORD: ClassVar[str] = "KEPT"
    offer: int
    files: Ranges
