"""The nouns that every layer shares: files, limits, progress, error codes.

Plain values: no behaviour beyond reading themselves, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, Literal

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

BLOCK_SIZE: Final = MIB
"""Bytes of a block: the unit of the journal and of resume (PROTOCOL.md, Resume)."""


class Everyone(Enum):
    """The type of `EVERYONE`."""

    EVERYONE = "everyone"

    def __repr__(self) -> str:
        return "EVERYONE"


EVERYONE: Final = Everyone.EVERYONE
"""As ``to=`` of ``send_files``: whoever is there now, and whoever joins until the upload is closed."""


class ErrorCode(IntEnum):
    """Why something failed: the same number on the wire, in the exception and in the command's output."""

    DOWNLOAD_NOT_AVAILABLE = 1181
    "Withdrawn, expired, or never offered to this peer."
    UPLOAD_FAILED = 1182
    DOWNLOAD_FAILED = 1183
    FILE_TOO_LARGE = 1185
    STORAGE_ACCESS_DENIED = 5089
    SAVE_FAILED = 5090
    "Disk full, rename refused, name not allowed."
    SHARING_NOT_AVAILABLE = 5091
    "Session closed, peer gone, or the peer does not speak p2pshare."
    CANCELLED = 6001
    DECLINED = 6002
    STALLED = 6003
    CONNECTION_LOST = 6004
    INTEGRITY = 6005
    PROTOCOL_ERROR = 6006
    SIGNALING_FAILED = 6007


class FileKind(Enum):
    """What an offered entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    "An empty folder; folders that hold something are implied by their files' paths."
    LINK = "link"
    "A symbolic link: `OfferedFile.target` is where it leads."


class Conflict(Enum):
    """What becomes of a received file whose name is taken."""

    RENAME = "rename"
    "It is stored beside what is there, as ``name (1).ext``."
    SKIP = "skip"
    "It is not fetched: what is there is the result."
    OVERWRITE = "overwrite"
    "It takes the place of a file once it is whole and verified; never that of a folder or a link."


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """One file of an offer, as its sender describes it. Every field is the peer's word, none is proven."""

    index: int
    "Its number in the offer, from 0."
    path: tuple[str, ...]
    "Path components, the file's name last; never empty. The peer's words: show() them, make them safe."
    size: int | None
    "Bytes; None when the sender does not know yet (a pipe)."
    kind: FileKind = FileKind.FILE
    media_type: str | None = None
    mtime_ns: int | None = None
    "Modification time, nanoseconds since 1970-01-01 UTC."
    executable: bool = False
    source_id: bytes | None = None
    "16 bytes that name this source at its sender across restarts; None for what cannot be read again."
    preview: bytes | None = None
    "At most 16 KiB, an image in a common format."
    metadata: bytes | None = None
    "The program's own, opaque, at most 1 KiB."
    target: str | None = None
    "Of a link: the relative path, with '/', that it stands for, at most 1,024 bytes. None for all else."

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path[-1]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job, a delivery or a file has come: what the receiver has written, not what was sent."""

    stored: int
    "Bytes whose write has returned at the receiver, a resumed part included."
    size: int | None
    "Bytes in all; None while a file of unknown length is among them."
    files_done: int
    "Files verified, fsynced and in place (confirmed)."
    files: int
    rate: float
    "Bytes a second, smoothed over the last seconds."

    @property
    def seconds_left(self) -> float | None:
        """Time to go at the present rate, in seconds; None where nothing can be said."""
        if self.size is None or self.rate <= 0:
            return None
        return max(0, self.size - self.stored) / self.rate


@dataclass(frozen=True, slots=True)
class Limits:
    """What this side accepts and uses. Every number may be changed per session."""

    max_file_size: int = 2**53 - 1
    "Bytes of one file; told to the peer in HELLO, so that it fails (1185) before a byte is read."
    max_files: int = 100_000
    "Files in one offer."
    max_open_offers: int = 256
    "Offers of one peer that are neither declined, withdrawn nor finished."
    max_offer_bytes: int = 64 * MIB
    "Bytes of names, previews and metadata in all open offers of a peer: the lists are kept in memory."
    memory_budget: int = 32 * MIB
    "Bytes of received but unstored data, shared by all active downloads of the process."
    min_window: int = 256 * KIB
    max_window: int = 4 * MIB
    "Bytes of credit for one download: grows between the two as the disk and the path allow."
    disk_reserve: int = 256 * MIB
    "Bytes of free disk space that a download leaves, or 1 % of the disk where that is more."
    offer_timeout_s: float = 600.0
    "Seconds until an offer that nobody answered counts as declined."
    stall_timeout_s: float = 30.0
    "Seconds without progress, while not paused, until a transfer fails with 6003."
    hello_timeout_s: float = 10.0
    "Seconds that the peer has to answer HELLO."
    silence_timeout_s: float = 5.0
    "Seconds without a sign of life after which the peer counts as unresponsive."
    lost_timeout_s: float = 30.0
    "Seconds without a sign of life after which the connection counts as lost."
    reconnect_timeout_s: float = 300.0
    "Seconds that a job waits for a peer whose connection was lost, until it fails with 6004."
    max_peer_bytes: int | None = None
    "Bytes of files that rules accept from one peer in a session; None: no limit. A person may take more."
    confirm_timeout_s: float = 120.0
    "Seconds that a receiver has for fsync and rename after the last byte."


def total_size(sizes: Iterable[int | None]) -> int | None:
    """Bytes of several files together; None where the size of one is unknown."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


Recipients = str | list[str] | tuple[str, ...] | Literal[Everyone.EVERYONE]


Payload = bytes | memoryview
"""Bytes of a file. A view of what was read or received saves a copy."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Consecutive bytes of one file of a job, as they travel in DATA."""

    index: int
    "The file's number in its offer."
    offset: int
    "Bytes from the start of the file. Within a file offsets only grow."
    payload: Payload


@dataclass(frozen=True, slots=True)
class FileEnd:
    """A file of a job is complete, as its sender says in FINISH."""

    index: int
    size: int
    "Bytes in all; what an unknown size turned out to be."
    digest: bytes
    "BLAKE3 of the whole file, 32 bytes, resumed parts included."


@dataclass(frozen=True, slots=True)
class HeldBlocks:
    """Consecutive blocks of a file that the receiver holds from an earlier attempt."""

    index: int
    "The file's number in its offer."
    first_block: int
    "Number of the first block: byte offset divided by BLOCK_SIZE."
    digests: tuple[bytes, ...]
    "BLAKE3 of each block, 32 bytes each; the last block of a file may be shorter than BLOCK_SIZE."

    def size_in(self, file: OfferedFile) -> int:
        """Bytes of these blocks in their file, whose size is known."""
        start = self.first_block * BLOCK_SIZE
        return min(len(self.digests) * BLOCK_SIZE, (file.size or 0) - start)


Piece = Extent | FileEnd
"""What a job stream carries, in order."""
