from __future__ import annotations

import pytest

from p2pshare import events as ev
from p2pshare.cli import words
from p2pshare.cli.moments import AlreadyHere, Joined, Listening, OfferSettled, ServerBack
from p2pshare.model import Progress


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (4_294_967_296, "4.3 GB"),
        (10**18, "1000.0 PB"),
        (None, "unknown size"),
    ],
)
def test_sizes_are_decimal_with_one_place(count: int | None, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-:--"), (0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3723, "1:02:03")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("stored", "whole", "text"),
    [
        (1_200_000, 3_400_000, "1.2 of 3.4 MB"),
        (999, 3_400_000, "999 B of 3.4 MB"),
        (5_000, None, "5.0 kB"),
        (0, 0, "0 of 0 B"),
    ],
)
def test_an_amount_names_a_shared_unit_once(stored: int, whole: int | None, text: str) -> None:
    assert words.amount(Progress(stored, whole, 0, 1, 0.0)) == text


def test_an_outcome_says_how_much_how_long_and_how_fast() -> None:
    assert (
        words.outcome(Progress(10_000_000, 10_000_000, 1, 1, 0.0), 2.0)
        == "1 file, 10.0 MB in 2.0 s, 5.0 MB/s"
    )
    assert words.outcome(Progress(0, 0, 2, 2, 0.0), 0.0) == "2 files, 0 B in 0.0 s"


@pytest.mark.parametrize(
    ("files", "folders", "text"),
    [
        (1, 0, "1 file"),
        (0, 0, "0 files"),
        (10, 1, "10 files and 1 empty folder"),
        (1, 2_000, "1 file and 2,000 empty folders"),
        (0, 1, "1 empty folder"),
    ],
)
def test_files_and_folders_are_counted_apart(files: int, folders: int, text: str) -> None:
    assert words.files(files, folders) == text


@pytest.mark.parametrize(
    ("stored", "whole", "done", "text"),
    [(995, 1_000, 0, 99), (1_000, 1_000, 1, 99), (1_000, 1_000, 2, 100), (5, None, 0, None), (0, 0, 0, None)],
)
def test_the_whole_is_there_once_it_is_confirmed(
    stored: int, whole: int | None, done: int, text: int | None
) -> None:
    assert words.percent(Progress(stored, whole, done, 2, 0.0)) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Listening(("http://192.0.2.7:8765",)), "signaling server on http://192.0.2.7:8765"),
        (Joined("http://h:1", "team\x1b", "al"), r"in room 'team\u{1b}' as 'al'"),
        (OfferSettled(1, "bob", "declined"), None),
        (AlreadyHere(1, "al", same=2, skipped=0), "from 'al': 2 files already here"),
        (
            AlreadyHere(1, "al", same=1, skipped=1),
            "from 'al': 1 file already here, 1 file skipped, as something of that name is here",
        ),
        (ServerBack("http://h:1"), "the signaling server http://h:1 is back"),
        (ev.PeerUnresponsive("bob", 6.2), "'bob' has been silent for 6 s, waiting"),
        (ev.PeerReady("bob"), None),
    ],
)
def test_what_a_person_should_know_has_a_line(event: ev.Event, text: str | None) -> None:
    assert words.line(event) == text
