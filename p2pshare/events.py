"""What a session tells the program: one frozen class an event.

``session.on(EventType, callback)`` or ``async for event in session.events()``. Names follow the
vocabulary of conferencing SDKs' file-share interfaces (README, Vocabulary).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pshare.errors import P2PShareError, TransferError
from p2pshare.model import OfferedFile, Progress, total_size


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; ``session.on(Event, callback)`` hears everything."""


@dataclass(frozen=True, slots=True)
class AvailableFile:
    """A file that can be downloaded now, because its sender is there."""

    offer_id: int
    peer: str
    file: OfferedFile

    @property
    def name(self) -> str:
        """The last component of the file's path: the peer's word."""
        return self.file.name

    @property
    def path(self) -> str:
        """The path's components joined with '/': the peer's word."""
        return "/".join(self.file.path)

    @property
    def size(self) -> int | None:
        """Bytes; None while unknown."""
        return self.file.size


@dataclass(frozen=True, slots=True)
class Offer:
    """Files that a peer offers: ``session.download_files(offer.files)`` takes them, or decline the offer."""

    id: int
    "Unique among this session's offers."
    peer: str
    files: tuple[AvailableFile, ...]
    message: str | None = None
    "A line for the person who is asked: the peer's word."

    @property
    def size(self) -> int | None:
        """Bytes of all files together; None while one is unknown."""
        return total_size(file.size for file in self.files)


# Peers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerJoined(Event):
    """A peer joined the room, or was attached."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerLeft(Event):
    """A peer left the room, or its connection ended."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerReady(Event):
    """The link to a peer is up: both speak p2pshare."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerUnresponsive(Event):
    """The peer has given no sign of life for some seconds; transfers wait."""

    peer: str
    silent_s: float


@dataclass(frozen=True, slots=True)
class LinkFailed(Event):
    """No sharing with this peer, or no longer: the error says why. A side that just closes is no failure."""

    peer: str
    error: P2PShareError


# At the sender -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UploadEvent(Event):
    """Something happened to an upload at one recipient."""

    job_id: int
    peer: str


@dataclass(frozen=True, slots=True)
class UploadStarted(UploadEvent):
    """The recipient accepted: its files travel now, or again after `UploadInterrupted`."""


@dataclass(frozen=True, slots=True)
class UploadProgress(UploadEvent):
    """How far this recipient is; coalesced, the newest counts."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class UploadPaused(UploadEvent):
    """Nothing is sent to this recipient until it is resumed."""

    remote: bool
    "Whether the recipient paused it; each side resumes what it has paused."


@dataclass(frozen=True, slots=True)
class UploadResumed(UploadEvent):
    """A side no longer pauses it."""

    remote: bool


@dataclass(frozen=True, slots=True)
class UploadInterrupted(UploadEvent):
    """The connection was lost: it goes on, with `UploadStarted`, when the recipient is back in time."""

    error: TransferError
    "How it ends otherwise."


@dataclass(frozen=True, slots=True)
class UploadCompleted(UploadEvent):
    """The recipient has every file that it asked for, verified and saved."""


@dataclass(frozen=True, slots=True)
class UploadFailed(UploadEvent):
    """This recipient did not get (all of) it."""

    error: TransferError


@dataclass(frozen=True, slots=True)
class UploadCancelled(UploadEvent):
    """Cancelled by either side."""

    error: TransferError


@dataclass(frozen=True, slots=True)
class UploadClosed(Event):
    """The upload ended for everybody: nothing is offered or sent any more."""

    job_id: int


# At the receiver ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileOffered(Event):
    """A peer offers files: download them, or decline."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class FileAvailable(Event):
    """A file can be downloaded now (again)."""

    file: AvailableFile


@dataclass(frozen=True, slots=True)
class FileUnavailable(Event):
    """A file can no longer be downloaded."""

    file: AvailableFile
    reason: str


@dataclass(frozen=True, slots=True)
class DownloadEvent(Event):
    """Something happened to a download."""

    job_id: int
    peer: str


@dataclass(frozen=True, slots=True)
class DownloadStarted(DownloadEvent):
    """The sender was told; bytes follow, again after `DownloadInterrupted`."""


@dataclass(frozen=True, slots=True)
class DownloadProgress(DownloadEvent):
    """How far the download is; coalesced, the newest counts."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class DownloadPaused(DownloadEvent):
    """Nothing comes until it is resumed."""

    remote: bool
    "Whether the sender paused it; each side resumes what it has paused."


@dataclass(frozen=True, slots=True)
class DownloadResumed(DownloadEvent):
    """A side no longer pauses it."""

    remote: bool


@dataclass(frozen=True, slots=True)
class DownloadInterrupted(DownloadEvent):
    """The connection was lost: it goes on, with `DownloadStarted`, when the sender is back in time."""

    error: TransferError
    "How it ends otherwise."


@dataclass(frozen=True, slots=True)
class DownloadCompleted(DownloadEvent):
    """Every file is verified, on disk and in place."""

    paths: Mapping[int, Path]
    "Where each file went, by its number in the offer; empty for downloads into memory."


@dataclass(frozen=True, slots=True)
class DownloadFailed(DownloadEvent):
    """The download did not complete; files that did are kept."""

    error: TransferError


@dataclass(frozen=True, slots=True)
class DownloadCancelled(DownloadEvent):
    """Cancelled by either side."""

    error: TransferError
