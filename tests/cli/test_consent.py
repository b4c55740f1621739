from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from p2pshare.cli.consent import LISTED_AT_ONCE, Consent, choice, listing, summary
from p2pshare.cli.display import Display
from p2pshare.cli.stdin import Lines
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import FileKind, OfferedFile


def offer_of(*files: tuple[str, int | None], message: str | None = None) -> Offer:
    offered = (OfferedFile(index, (name,), size) for index, (name, size) in enumerate(files))
    return Offer(1, "al\u202eice", tuple(AvailableFile(1, "al\u202eice", file) for file in offered), message)


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("y", [0, 1, 2, 3, 4]),
        (" YES ", [0, 1, 2, 3, 4]),
        ("n", []),
        ("No", []),
        ("2", [1]),
        ("1,3-5", [0, 2, 3, 4]),
        ("3 1 3", [0, 2]),
        ("", None),
        ("0", None),
        ("6", None),
        ("4-2", None),
        ("1-99999999999999999999", None),
        ("all", None),
        ("-1", None),
        ("١", [0]),
    ],
)
def test_an_answer_is_yes_no_or_numbers(answer: str, chosen: list[int] | None) -> None:
    assert choice(answer, 5) == chosen


def test_the_listing_shows_every_name_escaped() -> None:
    offer = offer_of(("a\x1b[31m.txt", 1_000), ("photo\u202egpj.exe", None))
    folder = AvailableFile(1, "alice", OfferedFile(2, ("empty",), 0, kind=FileKind.DIRECTORY))
    assert listing([*offer.files, folder]) == [
        r"  1      1.0 kB  'a\u{1b}[31m.txt'",
        r"  2     unknown  'photo\u{202e}gpj.exe'",
        r"  3      folder  'empty'",
    ]


def test_the_summary_shows_who_how_much_and_the_message_escaped() -> None:
    offer = offer_of(("a", 1_000), ("b", 2_000), message="hi\n\x1b[2Jthere")
    assert summary(offer, "to be saved in /in") == [
        r"'al\u{202e}ice' offers 2 files, 3.0 kB; to be saved in /in",
        r"'al\u{202e}ice' says: hi\u{a}\u{1b}[2Jthere",
    ]


def test_the_summary_counts_empty_folders_apart() -> None:
    offer = offer_of(("a", 1), ("b", 2))
    folder = AvailableFile(1, offer.peer, OfferedFile(2, ("empty",), 0, kind=FileKind.DIRECTORY))
    told = summary(Offer(1, "al", (*offer.files, folder)), "to be saved in /in")
    assert told == ["'al' offers 2 files and 1 empty folder, 3 B; to be saved in /in"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where the person types; the end for reading is what the question reads."""
    reading, writing = os.pipe()
    monkeypatch.setattr("p2pshare.cli.consent.Lines", lambda: Lines(reading))
    yield writing
    os.close(writing)


async def test_questions_are_asked_until_there_is_an_answer(
    typed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    consent = Consent(Display(), "to be saved in /in")
    offer = offer_of(("a", 1), ("b", 2))
    os.write(typed, b"what\n2\n")
    assert await consent.ask(offer) == [offer.files[1]]
    told = capsys.readouterr().err
    assert told.count("Accept?") == 2
    os.write(typed, b"n\r\n")
    assert await consent.ask(offer) == []


async def test_a_long_list_is_listed_on_request(typed: int, capsys: pytest.CaptureFixture[str]) -> None:
    consent = Consent(Display(), "to be saved in /in")
    offer = offer_of(*((f"file{number}", 1) for number in range(1, LISTED_AT_ONCE + 11)))
    os.write(typed, b"l\ny\n")
    assert len(await consent.ask(offer)) == len(offer.files)
    before, _, after = capsys.readouterr().err.partition("Accept?")
    assert "'file200'" in before
    assert "'file201'" not in before
    assert "... and 10 more" in before
    assert "'file210'" in after


async def test_a_question_that_was_taken_back_takes_no_answer_from_the_next(typed: int) -> None:
    consent = Consent(Display(), "to be saved in /in")
    offer = offer_of(("a", 1))
    asking = asyncio.ensure_future(consent.ask(offer))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    asking = asyncio.ensure_future(consent.ask(offer))
    os.write(typed, b"y\n")
    assert await asking == list(offer.files)
