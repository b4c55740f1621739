"""Where a download goes: what every sink does, and how what goes wrong there is named."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from p2pshare.errors import SaveFailed, StorageAccessDenied, TransferError
from p2pshare.model import HeldBlocks, OfferedFile, Piece


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the pieces of one call."""

    stored: int = 0
    "Bytes whose write has returned."
    confirmed: Sequence[int] = ()
    "Files that are verified, fsynced and in place now."
    failed: Mapping[int, TransferError] = field(default_factory=dict)
    "Files that failed now; what else comes of them is dropped."


class Sink(Protocol):
    """Takes the files of one job. Calls come one after the other, from one task."""

    async def open(self) -> Sequence[HeldBlocks]:
        """Get ready, and say what is here already of an earlier attempt.

        Raises:
            StorageAccessDenied, SaveFailed, FileTooLarge: Nothing can be stored; nothing was left behind.
        """
        ...

    @property
    def skipped(self) -> Sequence[int]:
        """After `open`: files that are not wanted, as something of their name is there (`Conflict.SKIP`).

        ``paths`` says what; no pieces of theirs are expected.
        """
        ...

    @property
    def lookalikes(self) -> Sequence[int]:
        """After `open`: wanted files of whose final name and size a file is there already; see `adopt`."""
        ...

    async def adopt(self, index: int, size: int, digest: bytes) -> bool:
        """Whether the lookalike of a file is that file, by its digest (BLAKE3, 32 bytes).

        If so it is the result: ``paths`` has it, and no pieces of the file are expected. If not, or when it
        is gone, the file is still wanted.
        """
        ...

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        """Take pieces in the order in which they were sent. What goes wrong with a file is in the report."""
        ...

    async def reopen(self) -> Sequence[HeldBlocks]:
        """The connection was lost, and there is a new one: say what is here, as `open` does.

        Files that are not confirmed come again, but for the blocks that this returns. Files that are
        confirmed stay so. May be called several times.

        Raises:
            SaveFailed: This sink cannot go on.
        """
        ...

    async def close(self, *, keep_parts: bool) -> None:
        """End, whatever has come; keep what a later attempt can go on with, or remove it. Idempotent."""
        ...

    @property
    def paths(self) -> Mapping[int, Path]:
        """Where the confirmed files are, by index; empty for a sink that is no folder."""
        ...

    @property
    def contents(self) -> Mapping[int, bytes]:
        """The confirmed files themselves, by index; empty for a sink that is not memory."""
        ...


class BaseSink:
    """For a program's own sink: what it need not have. Files are asked for in full, and once.

    It is left to say ``open``, ``store`` and ``close``.
    """

    @property
    def paths(self) -> Mapping[int, Path]:
        """No file is anywhere."""
        return {}

    @property
    def contents(self) -> Mapping[int, bytes]:
        """Nothing is kept."""
        return {}

    @property
    def skipped(self) -> Sequence[int]:
        """Every file is wanted."""
        return ()

    @property
    def lookalikes(self) -> Sequence[int]:
        """Nothing is here already."""
        return ()

    async def adopt(self, index: int, size: int, digest: bytes) -> bool:
        """Nothing is here already."""
        return False

    async def reopen(self) -> Sequence[HeldBlocks]:
        """What has been taken cannot be taken again. Raises SaveFailed."""
        raise SaveFailed("the connection was lost, and this download cannot take a file twice")


_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.EISDIR)


def save_error(exc: OSError, file: OfferedFile | None = None) -> TransferError:
    """The error of a file that could not be saved, with the system's error as its cause."""
    cls = StorageAccessDenied if exc.errno in _DENIED else SaveFailed
    reason = exc.strerror or type(exc).__name__
    if exc.errno in _IN_THE_WAY:
        reason = "a file or a link is where a folder has to be"
    error = cls(reason, file="/".join(file.path) if file else None)
    error.__cause__ = exc
    return error
