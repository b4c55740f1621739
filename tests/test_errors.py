from __future__ import annotations

import copy
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import (
    ConnectionLost,
    DownloadError,
    FileTooLarge,
    IntegrityError,
    OfferDeclined,
    P2PShareError,
    SaveFailed,
    StorageAccessDenied,
    TransferCancelled,
    TransferError,
    TransferStalled,
    UploadError,
    map_exceptions,
    show,
    show_reason,
    transfer_error,
)
from p2pshare.model import ErrorCode

ESCAPED = {
    "": "",
    "photo.jpg": "photo.jpg",
    "Grüße, 世界 🎉": "Grüße, 世界 🎉",
    "שלום.txt": "שלום.txt",
    "two  spaces ": "two  spaces ",
    'say "hi"': 'say "hi"',
    "it's": r"it\'s",
    r"a\b": r"a\\b",
    r"\u{1b}": r"\\u{1b}",
    "a\nb\r\tc\0": r"a\u{a}b\u{d}\u{9}c\u{0}",
    "\x1b[31mred\x1b[0m": r"\u{1b}[31mred\u{1b}[0m",
    "\x1b]0;title\x07": r"\u{1b}]0;title\u{7}",
    "\x9b31m\x7f": r"\u{9b}31m\u{7f}",
    "invoice\u202efdp.exe": r"invoice\u{202e}fdp.exe",
    "\u2066a\u2069": r"\u{2066}a\u{2069}",
    "\u061c\u200e\u200f": r"\u{61c}\u{200e}\u{200f}",
    "a\u200bb\u200d\ufeff\u2060": r"a\u{200b}b\u{200d}\u{feff}\u{2060}",
    "soft\u00adhyphen": r"soft\u{ad}hyphen",
    "no\u00a0break\u3000wide": r"no\u{a0}break\u{3000}wide",
    "line\u2028paragraph\u2029": r"line\u{2028}paragraph\u{2029}",
    "filler\u3164\uffa0\u115f\u1160": r"filler\u{3164}\u{ffa0}\u{115f}\u{1160}",
    "braille\u2800": r"braille\u{2800}",
    "variant\ufe0f\U000e0100": r"variant\u{fe0f}\u{e0100}",
    "tag\U000e0041": r"tag\u{e0041}",
    "joined\u034f": r"joined\u{34f}",
    "\u0301first": r"\u{301}first",
    "cafe\u0301": "cafe\u0301",
    "half\ud800\udcff": r"half\u{d800}\u{dcff}",
    "private\ue000": r"private\u{e000}",
}


@pytest.mark.parametrize(("text", "shown"), ESCAPED.items(), ids=map(ascii, ESCAPED))
def test_show_quotes_and_escapes(text: str, shown: str) -> None:
    assert show(text) == f"'{shown}'"


def test_show_keeps_what_just_fits() -> None:
    assert show("x" * 78) == "'" + "x" * 78 + "'"


def test_show_cuts_the_middle_and_keeps_the_extension() -> None:
    assert show("holiday.jpg" + " " * 200 + ".exe") == "'holiday.jpg" + " " * 40 + "…" + " " * 22 + ".exe'"


def test_show_counts_wide_characters_twice() -> None:
    assert show("世" * 39) == "'" + "世" * 39 + "'"
    assert show("世" * 40) == "'" + "世" * 25 + "…" + "世" * 13 + "'"


def test_show_never_cuts_an_escape() -> None:
    assert show("\x1b" * 100) == "'" + r"\u{1b}" * 8 + "…" + r"\u{1b}" * 4 + "'"


def test_show_of_a_huge_text_looks_at_its_ends_only() -> None:
    assert show("a" * 10_000_000 + "z") == "'" + "a" * 51 + "…" + "a" * 25 + "z'"


@given(st.text(st.characters(exclude_categories=())))
def test_shown_text_is_printable_and_fits_a_line(text: str) -> None:
    shown = show(text)
    assert shown.isprintable()
    assert _columns(shown) <= 80
    assert not any(_deceives(char) for char in shown)
    assert shown.encode("utf-8")


@given(st.text(st.sampled_from("a'\\\x1b\u202e\u3164\u0301世🎉\ud800"), max_size=300))
def test_shown_hostile_text_is_printable_and_fits_a_line(text: str) -> None:
    shown = show(text)
    assert shown.isprintable()
    assert _columns(shown) <= 80
    assert not any(_deceives(char) for char in shown)


@given(st.text(max_size=10), st.text(max_size=10))
def test_short_texts_that_differ_are_shown_differently(one: str, other: str) -> None:
    assert (show(one) == show(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=()), max_size=500))
def test_shown_reason_is_printable_and_bounded(text: str) -> None:
    shown = show_reason(text)
    assert shown.isprintable()
    assert _columns(shown) <= 200


def test_shown_reason_keeps_its_apostrophe() -> None:
    assert show_reason("the peer's disk is full\x1b[2J") == r"the peer's disk is full\u{1b}[2J"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _deceives(char: str) -> bool:
    """Whether a character is invisible or blank, or reorders its neighbours."""
    point = ord(char)
    return (
        unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        or unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        or point in {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
        or 0x180B <= point <= 0x180F
        or 0xFE00 <= point <= 0xFE0F
        or 0xE0000 <= point <= 0xE0FFF
    )


CLASSES = {
    ErrorCode.DOWNLOAD_NOT_AVAILABLE: TransferError,
    ErrorCode.UPLOAD_FAILED: UploadError,
    ErrorCode.DOWNLOAD_FAILED: DownloadError,
    ErrorCode.FILE_TOO_LARGE: FileTooLarge,
    ErrorCode.STORAGE_ACCESS_DENIED: StorageAccessDenied,
    ErrorCode.SAVE_FAILED: SaveFailed,
    ErrorCode.SHARING_NOT_AVAILABLE: TransferError,
    ErrorCode.CANCELLED: TransferCancelled,
    ErrorCode.DECLINED: OfferDeclined,
    ErrorCode.STALLED: TransferStalled,
    ErrorCode.CONNECTION_LOST: ConnectionLost,
    ErrorCode.INTEGRITY: IntegrityError,
    ErrorCode.PROTOCOL_ERROR: TransferError,
    ErrorCode.SIGNALING_FAILED: TransferError,
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_its_exception(code: ErrorCode) -> None:
    error = transfer_error(int(code), job_id=7, peer="bob", remote=True, file="a/b.txt")
    assert type(error) is CLASSES[code]
    assert error.code is code
    assert (error.job_id, error.peer, error.remote, error.file) == (7, "bob", True, "a/b.txt")
    assert str(error).startswith("'a/b.txt': ")
    assert str(error).removeprefix("'a/b.txt': ")


def test_a_code_that_is_not_a_transfers_own_brings_its_sentence() -> None:
    assert str(transfer_error(5091)) == (
        "No sharing with this peer: the session is closed, the peer is gone or does not speak p2pshare."
    )
    assert str(transfer_error(5091, "bob is gone")) == "bob is gone"


def test_an_unknown_code_stays_an_int() -> None:
    error = transfer_error(7777)
    assert type(error) is TransferError
    assert error.code == 7777
    assert not isinstance(error.code, ErrorCode)
    assert "7777" in str(error)
    assert str(transfer_error(7777, "out of tape")) == "out of tape"


def test_a_peers_reason_cannot_drive_the_terminal() -> None:
    error = transfer_error(5090, "it's \x1b[31mfull" + "!" * 1000, remote=True)
    assert str(error).startswith(r"it's \u{1b}[31mfull!!!")
    assert len(str(error)) == 200


def test_a_peers_file_name_cannot_drive_the_terminal() -> None:
    assert str(SaveFailed("disk full", file="a\x1b[31m")) == r"'a\u{1b}[31m': disk full"


def test_an_error_without_a_reason_says_what_its_class_says() -> None:
    assert str(OfferDeclined()) == "The peer declined the offer, or let it expire."


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            FileTooLarge(file="big.iso", size=5_000_000, limit=1_000),
            "'big.iso' has 5,000,000 bytes, the limit is 1,000",
        ),
        (FileTooLarge(size=2, limit=1), "The file has 2 bytes, the limit is 1"),
        (FileTooLarge(file="pipe", limit=1_000), "'pipe' is larger than the limit of 1,000 bytes"),
        (FileTooLarge(file="big.iso"), "'big.iso': The file is larger than the receiver accepts."),
        (FileTooLarge("no room", file="big.iso", size=2, limit=1), "'big.iso': no room"),
    ],
)
def test_file_too_large_tells_size_and_limit(error: FileTooLarge, sentence: str) -> None:
    assert str(error) == sentence


def test_upload_error_names_the_peers() -> None:
    failures: dict[str, TransferError] = {"bob": OfferDeclined(), "eve\n": SaveFailed("full", file="a")}
    assert str(UploadError(failures=failures)) == (
        "Not delivered to 'bob' (The peer declined the offer, or let it expire.), 'eve\\u{a}' ('a': full)"
    )
    many: dict[str, TransferError] = {f"p{n}": SaveFailed("full") for n in range(9)}
    assert str(UploadError(failures=many)).endswith("'p2' (full), 6 more")


def test_upload_error_without_failures_says_what_its_class_says() -> None:
    assert str(UploadError()) == "The upload did not reach every recipient."


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_a_copy(again: object) -> None:
    assert callable(again)
    error = again(FileTooLarge(file="a", size=2, limit=1, peer="bob"))
    assert (str(error), error.peer, error.code) == ("'a' has 2 bytes, the limit is 1", "bob", 1185)


def test_map_exceptions_takes_the_first_class_that_fits() -> None:
    mapping: dict[type[Exception], type[P2PShareError]] = {
        PermissionError: StorageAccessDenied,
        OSError: SaveFailed,
    }
    denied = PermissionError(13, "Permission denied", "/home/someone/secret")
    with pytest.raises(StorageAccessDenied, match=r"^Permission denied$") as caught, map_exceptions(mapping):
        raise denied
    assert caught.value.__cause__ is denied
    with pytest.raises(SaveFailed, match=r"^No space left on device$"), map_exceptions(mapping):
        raise OSError(28, "No space left on device")


def test_map_exceptions_lets_other_errors_pass() -> None:
    with pytest.raises(KeyError), map_exceptions({OSError: SaveFailed}):
        raise KeyError("other")
    with pytest.raises(KeyboardInterrupt), map_exceptions({Exception: SaveFailed}):
        raise KeyboardInterrupt
    ours = IntegrityError()
    with pytest.raises(IntegrityError) as caught, map_exceptions({Exception: SaveFailed}):
        raise ours
    assert caught.value is ours
    assert ours.__cause__ is None


def test_map_exceptions_without_an_error_does_nothing() -> None:
    with map_exceptions({OSError: SaveFailed}):
        pass


def test_map_exceptions_names_an_error_that_says_nothing() -> None:
    with pytest.raises(SaveFailed, match=r"^ValueError$"), map_exceptions({ValueError: SaveFailed}):
        raise ValueError
    with pytest.raises(SaveFailed, match=r"^bad \\u\{1b\}$"), map_exceptions({ValueError: SaveFailed}):
        raise ValueError("bad \x1b")
