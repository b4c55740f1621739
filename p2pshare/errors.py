"""Every error that a program or a person meets, one class a cause.

An error carries fields; the sentence is built from them once, in ``__str__``. Whatever a peer said is
passed through `show()` before it reaches a sentence, so that it cannot deceive a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from itertools import islice

from p2pshare.model import ErrorCode

_SHOW_COLUMNS = 80
_TAIL_COLUMNS = 26
_REASON_COLUMNS = 200
_NAMED_PEERS = 3

# Printable by Python's account, and yet blank or invisible (Unicode's Default_Ignorable_Code_Point, and the
# blank braille pattern). The others of that property, bidirectional controls too, are not printable anyway.
_INVISIBLE = frozenset(
    [
        0x034F,
        *range(0x115F, 0x1161),
        *range(0x17B4, 0x17B6),
        *range(0x180B, 0x1810),
        0x2800,
        0x3164,
        *range(0xFE00, 0xFE10),
        0xFFA0,
        *range(0xE0100, 0xE01F0),
    ]
)


def show(text: str) -> str:
    r"""Quote what a peer or a disk named, safe to print: at most 80 columns, controls as ``\u{1b}``.

    Escapes what is not printable and what reorders or hides text (bidirectional controls, zero-width
    characters), so that a name can neither drive a terminal nor pass for another. A long name loses its
    middle: the end, where a file says what it is, stays.
    """
    legible = _legible(text, _SHOW_COLUMNS - 2, escape="'")
    return f"'{legible}'"


def show_reason(text: str) -> str:
    """A peer's words within a sentence of ours: as safe as `show()`, without quotes, at most 200 columns."""
    return _legible(text, _REASON_COLUMNS)


def _legible(text: str, columns: int, escape: str = "") -> str:
    if len(text) > 2 * columns:  # a character takes a column or more: no more than these can be seen
        text = text[:columns] + text[-columns:]
    pieces: list[str] = []
    for char in text:
        if char == "\\" or char in escape:
            pieces.append("\\" + char)
        elif _is_legible(char) and (pieces or not unicodedata.category(char).startswith("M")):
            pieces.append(char)
        else:  # a mark with nothing before it would sit on our own quote
            pieces.append(f"\\u{{{ord(char):x}}}")
    if sum(map(_columns, pieces)) <= columns:
        return "".join(pieces)
    head = _fitting(pieces, columns - _TAIL_COLUMNS - 1)
    tail = _fitting(reversed(pieces), _TAIL_COLUMNS)
    return "".join([*head, "…", *reversed(tail)])


def _is_legible(char: str) -> bool:
    return char.isprintable() and ord(char) not in _INVISIBLE


def _columns(piece: str) -> int:
    """Columns of a terminal that a piece takes at most; combining marks count, lest they pile up."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in piece)


def _fitting(pieces: Iterable[str], columns: int) -> list[str]:
    fitting: list[str] = []
    for piece in pieces:
        columns -= _columns(piece)
        if columns < 0:
            break
        fitting.append(piece)
    return fitting


class P2PShareError(Exception):
    """Anything that went wrong here or at a peer."""

    code: ErrorCode | int = ErrorCode.UPLOAD_FAILED
    "An unknown code from a newer peer stays an int."

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or _first_line(type(self))


class SharingNotAvailable(P2PShareError):
    """No sharing with this peer: the session is closed, the peer is gone or does not speak p2pshare."""

    code = ErrorCode.SHARING_NOT_AVAILABLE


class DownloadNotAvailable(P2PShareError):
    """The file cannot be downloaded: withdrawn, expired, or never offered to you."""

    code = ErrorCode.DOWNLOAD_NOT_AVAILABLE


class TransferError(P2PShareError):
    """A file, a delivery or a whole job did not arrive."""

    def __init__(
        self,
        reason: str = "",
        *,
        job_id: int | None = None,
        peer: str | None = None,
        remote: bool = False,
        file: str | None = None,
        code: ErrorCode | int | None = None,
    ) -> None:
        super().__init__(reason)
        self.job_id = job_id
        self.peer = peer
        self.remote = remote
        "True when the other side gave up, False when we did."
        self.file = file
        "The file's path joined with '/', where one file is to blame."
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        what = super().__str__()
        return f"{show(self.file)}: {what}" if self.file is not None else what


class StorageAccessDenied(TransferError):
    """The file or folder may not be read or written; the OSError is the cause."""

    code = ErrorCode.STORAGE_ACCESS_DENIED


class FileTooLarge(TransferError):
    """The file is larger than the receiver accepts."""

    code = ErrorCode.FILE_TOO_LARGE

    def __init__(
        self,
        reason: str = "",
        *,
        size: int | None = None,
        limit: int | None = None,
        job_id: int | None = None,
        peer: str | None = None,
        remote: bool = False,
        file: str | None = None,
    ) -> None:
        super().__init__(reason, job_id=job_id, peer=peer, remote=remote, file=file)
        self.size = size
        "Bytes; None where they are not known, or were not told."
        self.limit = limit
        "Bytes of one file that the receiver takes; None where it was not told."

    def __str__(self) -> str:
        if self.reason or self.limit is None:
            return super().__str__()
        file = "The file" if self.file is None else show(self.file)
        if self.size is None:
            return f"{file} is larger than the limit of {self.limit:,} bytes"
        return f"{file} has {self.size:,} bytes, the limit is {self.limit:,}"


class UploadError(TransferError):
    """The upload did not reach every recipient."""

    code = ErrorCode.UPLOAD_FAILED

    def __init__(
        self,
        reason: str = "",
        *,
        result: object = None,
        failures: Mapping[str, TransferError] | None = None,
        job_id: int | None = None,
        peer: str | None = None,
        remote: bool = False,
        file: str | None = None,
        code: ErrorCode | int | None = None,
    ) -> None:
        super().__init__(reason, job_id=job_id, peer=peer, remote=remote, file=file, code=code)
        self.result = result
        "The `UploadResult` with every delivery's outcome, where the error speaks of a whole upload."
        self.failures: Mapping[str, TransferError] = failures or {}
        "What went wrong, by peer."

    def __str__(self) -> str:
        if self.reason or not self.failures:
            return super().__str__()
        told = [f"{show(peer)} ({error})" for peer, error in islice(self.failures.items(), _NAMED_PEERS)]
        if more := len(self.failures) - len(told):
            told.append(f"{more} more")
        return f"Not delivered to {', '.join(told)}"


class DownloadError(TransferError):
    """The download failed."""

    code = ErrorCode.DOWNLOAD_FAILED


class SaveFailed(DownloadError):
    """The file could not be saved: disk full, rename refused, or a name that is not allowed."""

    code = ErrorCode.SAVE_FAILED


class IntegrityError(DownloadError):
    """What arrived is not what the sender read: the digests differ."""

    code = ErrorCode.INTEGRITY


class TransferCancelled(TransferError):
    """Cancelled, by us or by the peer. Not asyncio.CancelledError: a task goes on."""

    code = ErrorCode.CANCELLED


class OfferDeclined(TransferError):
    """The peer declined the offer, or let it expire."""

    code = ErrorCode.DECLINED


class TransferStalled(TransferError):
    """Nothing moved for the stall timeout."""

    code = ErrorCode.STALLED


class ConnectionLost(TransferError):
    """The connection to the peer broke and did not come back."""

    code = ErrorCode.CONNECTION_LOST


class ProtocolError(P2PShareError):
    """A side broke the share protocol."""

    code = ErrorCode.PROTOCOL_ERROR


class LocalProtocolError(ProtocolError):
    """We asked the protocol for what it does not allow: a bug of ours or of the calling program."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow; its link is closed, the connection stays."""


class SignalingFailed(P2PShareError):
    """The room is out of reach, the name is taken, or joining is not allowed."""

    code = ErrorCode.SIGNALING_FAILED


_TRANSFER_ERRORS: Mapping[int, type[TransferError]] = {
    cls.code: cls
    for cls in (
        StorageAccessDenied,
        FileTooLarge,
        UploadError,
        DownloadError,
        SaveFailed,
        IntegrityError,
        TransferCancelled,
        OfferDeclined,
        TransferStalled,
        ConnectionLost,
    )
}
_OTHER_ERRORS: Mapping[int, type[P2PShareError]] = {
    cls.code: cls for cls in (SharingNotAvailable, DownloadNotAvailable, ProtocolError, SignalingFailed)
}


def transfer_error(
    code: int,
    reason: str = "",
    *,
    job_id: int | None = None,
    peer: str | None = None,
    remote: bool = False,
    file: str | None = None,
) -> TransferError:
    """The exception for a code, as it came off the wire or as we give up with it.

    A code that is not a transfer's own (5091: no sharing with this peer) gives a `TransferError` with that
    code and its sentence. One that this version does not know stays an int.
    """
    if remote:
        reason = show_reason(reason)
    if cls := _TRANSFER_ERRORS.get(code):
        return cls(reason, job_id=job_id, peer=peer, remote=remote, file=file)
    if other := _OTHER_ERRORS.get(code):
        code, reason = other.code, reason or _first_line(other)
    elif not reason:
        reason = f"{_first_line(TransferError)} (code {code})"
    return TransferError(reason, job_id=job_id, peer=peer, remote=remote, file=file, code=code)


# A class, not a @contextmanager: that one may swallow exceptions as far as a type checker can tell, and a
# function that returns from within the block then seems to return None as well.
class map_exceptions:  # noqa: N801  (read as a verb, in a with statement)
    """Give foreign errors their own name, once, at the seam: ``with map_exceptions({OSError: SaveFailed}):``.

    The first class that fits wins, so name the narrower ones first. Errors of our own pass unchanged.
    """

    def __init__(self, mapping: Mapping[type[Exception], type[P2PShareError]]) -> None:
        self.mapping = mapping

    def __enter__(self) -> None:
        return None

    def __exit__(self, cls: object, exc: BaseException | None, traceback: object) -> None:
        if exc is None or isinstance(exc, P2PShareError):
            return
        for foreign, ours in self.mapping.items():
            if isinstance(exc, foreign):
                raise ours(_sentence(exc)) from exc


def _sentence(exc: BaseException) -> str:
    """What an exception says for a person: an OSError without its number and its full path."""
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return show_reason(str(exc)) or type(exc).__name__


def _first_line(cls: type[P2PShareError]) -> str:
    return (cls.__doc__ or "").partition("\n")[0]
