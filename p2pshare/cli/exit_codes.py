"""Exit codes that a script can tell apart, and the sentence that goes with one.

Errors become exit codes here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from p2pshare.errors import OfferDeclined, P2PShareError, TransferCancelled, TransferError, UploadError, show
from p2pshare.model import ErrorCode
from signaling.errors import SignalingError


class ExitCode(IntEnum):
    """What the command says to its caller."""

    OK = 0
    "Everything arrived."
    FAILED = 1
    USAGE = 2
    DECLINED = 3
    NO_PEER = 4
    "No peer, or no signaling server."
    STORAGE = 5
    "Unreadable, disk full, too large."
    INTEGRITY = 6
    "The digests differ."
    CANCELLED = 130
    "By Ctrl-C, SIGTERM or SIGHUP here, or by the other side."


_BY_CODE: Final = {
    ErrorCode.SHARING_NOT_AVAILABLE: ExitCode.NO_PEER,
    ErrorCode.SIGNALING_FAILED: ExitCode.NO_PEER,
    ErrorCode.FILE_TOO_LARGE: ExitCode.STORAGE,
    ErrorCode.STORAGE_ACCESS_DENIED: ExitCode.STORAGE,
    ErrorCode.SAVE_FAILED: ExitCode.STORAGE,
    ErrorCode.INTEGRITY: ExitCode.INTEGRITY,
    ErrorCode.DECLINED: ExitCode.DECLINED,
    ErrorCode.CANCELLED: ExitCode.CANCELLED,
}


def exit_code(error: BaseException | None) -> ExitCode:
    """The exit code for what went wrong; None is nothing."""
    match error:
        case None:
            return ExitCode.OK
        case KeyboardInterrupt() | asyncio.CancelledError():
            return ExitCode.CANCELLED
        case ValueError():  # signaling's InvalidArgument is one
            return ExitCode.USAGE
        case SignalingError():
            return ExitCode.NO_PEER
        case UploadError(failures=failures) if failures:
            return exit_code_of_all(failures.values())
        case P2PShareError(code=ErrorCode() as code):
            return _BY_CODE.get(code, ExitCode.FAILED)
    return ExitCode.FAILED


def exit_code_of_all(errors: Iterable[BaseException]) -> ExitCode:
    """One exit code for several recipients: theirs where they agree, 1 where they failed differently."""
    codes = {exit_code(error) for error in errors}
    if len(codes) > 1:
        return ExitCode.FAILED
    return codes.pop() if codes else ExitCode.OK


def sentence(error: BaseException) -> str:
    """What went wrong in one sentence, who to blame first and the code last: ``'bob' declined (6002)``."""
    code = error_code(error)
    return reason(error) if code is None else f"{reason(error)} ({code})"


def error_code(error: BaseException) -> int | None:
    """The error's number (README, Vocabulary); None for one that has none."""
    match error:
        case P2PShareError(code=code):
            return int(code)
        case ValueError():
            return None
        case SignalingError():
            return int(ErrorCode.SIGNALING_FAILED)
    return None


def reason(error: BaseException) -> str:
    """The sentence without the code."""
    return _told(error).strip().rstrip(".")


def _told(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt() | asyncio.CancelledError():
            return "cancelled"
        case TransferCancelled(remote=True, peer=str(peer), reason=why):
            return _joined(f"{show(peer)} cancelled", "" if why == "cancelled" else why)
        case OfferDeclined(remote=True, peer=str(peer), reason=why):
            return _joined(f"{show(peer)} declined", why)
        case TransferError(remote=True, peer=str(peer)):
            return str(error) if show(peer) in str(error) else f"{show(peer)}: {error}"
        case P2PShareError() | SignalingError() | ValueError():
            return str(error)
    return _joined(f"internal error, {type(error).__name__}", show(str(error)) if str(error) else "")


def _joined(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what
