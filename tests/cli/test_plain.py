from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pshare import events as ev
from p2pshare.cli.moments import Offering
from p2pshare.cli.plain import EVERY_S, Log, Plain
from p2pshare.errors import ConnectionLost, OfferDeclined
from p2pshare.model import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def moved(stored: int, files_done: int = 0, files: int = 1) -> ev.UploadProgress:
    return ev.UploadProgress(1, "bob", Progress(stored, 1_000_000, files_done, files, 1_000.0))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err.splitlines()


def test_a_line_at_the_start_at_each_tenth_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = Plain(clock)
    plain.tell(ev.UploadStarted(1, "bob"))
    for percent in range(101):
        plain.tell(moved(percent * 10_000))
    plain.tell(moved(1_000_000, files_done=1))
    clock.now += 4.0
    plain.tell(ev.UploadCompleted(1, "bob"))
    told = lines(capsys)
    assert told[0] == "to 'bob': started"
    assert told[1] == "to 'bob': 10%, 100.0 kB of 1.0 MB, 1.0 kB/s, 15:00 left, 0/1 file"
    assert len(told) == 12
    assert told[-2] == "to 'bob': 100%, 1.0 of 1.0 MB, 1.0 kB/s, 0:00 left, 1/1 file"
    assert told[-1] == "to 'bob': done, 1 file, 1.0 MB in 4.0 s, 250.0 kB/s"


def test_no_line_says_100_percent_before_everything_is_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = Plain(clock)
    plain.tell(ev.UploadStarted(1, "bob"))
    for stored in (999_999, 1_000_000):
        clock.now += EVERY_S
        plain.tell(moved(stored, files=10))
    told = lines(capsys)
    assert ["99%" in line for line in told] == [False, True, True]


def test_who_took_only_some_files_is_told_in_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain(Clock())
    plain.tell(ev.UploadStarted(1, "bob"))
    plain.tell(moved(2_000, files_done=2, files=11))
    plain.tell(ev.UploadCompleted(1, "bob"))
    assert lines(capsys)[-1] == "to 'bob': done, took 2 of 11 files, 2.0 kB in 0.0 s"


def test_a_line_every_few_seconds_where_a_tenth_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = Plain(clock)
    plain.tell(ev.DownloadStarted(2, "al"))
    for _ in range(10):
        clock.now += EVERY_S / 2
        plain.tell(ev.DownloadProgress(2, "al", Progress(1, None, 0, 1, 0.0)))
    told = lines(capsys)
    assert len(told) == 6
    assert told[1] == "from 'al': 1 B, 0 B/s, 0/1 file"


def test_recipients_do_not_share_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain(Clock())
    for peer in ("bob", "eve\x1b[2J"):
        plain.tell(ev.UploadStarted(1, peer))
    plain.tell(ev.UploadFailed(1, "bob", OfferDeclined()))
    plain.tell(moved(500_000))  # bob's, too late
    plain.tell(ev.UploadCompleted(1, "eve\x1b[2J"))
    assert lines(capsys) == [
        "to 'bob': started",
        r"to 'eve\u{1b}[2J': started",
        r"to 'eve\u{1b}[2J': done, nothing to do",
    ]


def test_results_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().result(Path("inbox") / "a")
    assert capsys.readouterr().out == f"{Path('inbox') / 'a'}\n"


def test_what_interrupts_a_job_and_what_has_it_go_on_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = Plain(clock)
    plain.tell(Offering(1, "bob"))
    plain.tell(ev.UploadStarted(1, "bob"))
    plain.tell(moved(400_000))  # what was there from before
    plain.tell(ev.UploadPaused(1, "bob", remote=True))
    plain.tell(ev.UploadResumed(1, "bob", remote=True))
    plain.tell(ev.UploadPaused(1, "bob", remote=False))
    plain.tell(ev.UploadInterrupted(1, "bob", ConnectionLost()))
    plain.tell(ev.UploadStarted(1, "bob"))
    clock.now += 2.0
    plain.tell(moved(1_000_000, files_done=1))
    plain.tell(ev.UploadCompleted(1, "bob"))
    told = [line for line in lines(capsys) if "%" not in line]
    assert told == [
        "offering it to 'bob'",
        "to 'bob': started",
        "to 'bob': paused by 'bob'",
        "to 'bob': resumed by 'bob'",
        "to 'bob': the connection was lost, waiting for 'bob' to come back",
        "to 'bob': 'bob' is back, it goes on",
        "to 'bob': done, 1 file, 1.0 MB in 2.0 s, 300.0 kB/s",
    ]


def test_an_offer_whose_recipient_is_lost_before_it_answers_is_offered_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = Plain(Clock())
    plain.tell(Offering(1, "bob"))
    plain.tell(ev.UploadInterrupted(1, "bob", ConnectionLost()))
    plain.tell(Offering(1, "bob"))
    assert lines(capsys)[1:] == [
        "to 'bob': the connection was lost, waiting for 'bob' to come back",
        "to 'bob': 'bob' is back, offering it again",
    ]


@pytest.mark.parametrize("has_journal", [False, True])
def test_a_log_has_the_time_before_each_line_unless_the_journal_has_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, has_journal: bool
) -> None:
    if has_journal:
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    else:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log = Log()
    log.tell(ev.DownloadStarted(1, "al"))
    log.tell(ev.DownloadProgress(1, "al", Progress(5, 5, 1, 1, 1.0)))
    log.tell(ev.DownloadCompleted(1, "al", {}))
    log.error("no")
    first, second = lines(capsys)
    stamp = "" if has_journal else r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    assert re.fullmatch(stamp + r"from 'al': done, 1 file, 5 B in 0\.0 s", first)
    assert re.fullmatch(stamp + "error: no", second)
