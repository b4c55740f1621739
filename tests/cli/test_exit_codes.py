from __future__ import annotations

import asyncio

import pytest

from p2pshare import errors as e
from p2pshare.cli.exit_codes import ExitCode, error_code, exit_code, exit_code_of_all, sentence
from p2pshare.model import ErrorCode
from signaling.errors import CannotListen, InvalidArgument, RoomFull, Unreachable

TABLE = [
    (None, 0),
    (e.TransferError(), 1),
    (e.UploadError("x"), 1),
    (e.DownloadError(), 1),
    (e.DownloadNotAvailable(), 1),
    (e.TransferStalled(), 1),
    (e.ConnectionLost(), 1),
    (e.RemoteProtocolError(), 1),
    (e.LocalProtocolError(), 1),
    (e.transfer_error(9999), 1),
    (RuntimeError("a bug"), 1),
    (ValueError("no such name"), 2),
    (InvalidArgument("the room '' must have 1 to 64 characters, has 0"), 2),
    (e.OfferDeclined(), 3),
    (e.SharingNotAvailable(), 4),
    (e.transfer_error(ErrorCode.SHARING_NOT_AVAILABLE), 4),
    (e.SignalingFailed(), 4),
    (Unreachable("ws://192.0.2.7:8765/ws"), 4),
    (CannotListen("192.0.2.7", 80, "not ours"), 4),
    (e.StorageAccessDenied(), 5),
    (e.SaveFailed(), 5),
    (e.FileTooLarge(), 5),
    (e.IntegrityError(), 6),
    (e.TransferCancelled(), 130),
    (asyncio.CancelledError(), 130),
    (KeyboardInterrupt(), 130),
    (e.UploadError(failures={"bob": e.OfferDeclined()}), 3),
    (e.UploadError(failures={"bob": e.OfferDeclined(), "carol": e.OfferDeclined()}), 3),
    (e.UploadError(failures={"bob": e.OfferDeclined(), "carol": e.SaveFailed()}), 1),
]


@pytest.mark.parametrize(("error", "code"), TABLE, ids=lambda each: type(each).__name__)
def test_every_error_has_its_exit_code(error: BaseException | None, code: int) -> None:
    assert exit_code(error) == code


def test_every_error_class_is_in_the_table() -> None:
    classes = {each for each in vars(e).values() if isinstance(each, type) and issubclass(each, Exception)}
    abstract = {e.P2PShareError, e.ProtocolError}
    assert classes - abstract <= {type(error) for error, _ in TABLE}


def test_every_exit_code_is_reached() -> None:
    assert {code for _, code in TABLE} == set(ExitCode)


def test_nobody_failed_is_success() -> None:
    assert exit_code_of_all([]) is ExitCode.OK


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (e.FileTooLarge(size=2_000, limit=1_000, file="a"), "'a' has 2,000 bytes, the limit is 1,000 (1185)"),
        (e.OfferDeclined("not today", peer="bob", remote=True), "'bob' declined: not today (6002)"),
        (e.OfferDeclined("", peer="bob", remote=True), "'bob' declined (6002)"),
        (e.TransferCancelled("cancelled", peer="bob", remote=True), "'bob' cancelled (6001)"),
        (e.TransferCancelled("cancelled", peer="bob"), "cancelled (6001)"),
        (e.SaveFailed("disk full", peer="bob\x1b[31m", remote=True), r"'bob\u{1b}[31m': disk full (5090)"),
        (e.SaveFailed("disk full", peer="bob"), "disk full (5090)"),
        (e.SharingNotAvailable("nobody came."), "nobody came (5091)"),
        (RoomFull("r"), "room 'r' is full (6007)"),
        (ValueError("no"), "no"),
        (RuntimeError("a\x1b[1m"), r"internal error, RuntimeError: 'a\u{1b}[1m'"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)  # fmt: skip
def test_a_sentence_says_who_what_and_the_code(error: BaseException, text: str) -> None:
    assert sentence(error) == text


def test_an_unknown_code_stays_a_number() -> None:
    assert error_code(e.transfer_error(9999)) == 9999
