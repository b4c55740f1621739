from __future__ import annotations

import io

import pytest
from rich.console import Console

from p2pshare import events as ev
from p2pshare.cli.bars import Bars
from p2pshare.cli.moments import Offering
from p2pshare.errors import ConnectionLost
from p2pshare.model import Progress


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_bar_a_recipient_and_no_markup_of_theirs(width: int) -> None:
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=width, color_system=None))
    peers = ("bob", "[red]:smile:", "eve\x1b[2J")
    for peer in peers:
        bars.tell(ev.UploadStarted(1, peer))
        bars.tell(ev.UploadProgress(1, peer, Progress(500_000, 500_000, 1, 1, 1_000.0)))
    for peer in peers:
        bars.tell(ev.UploadCompleted(1, peer))
    bars.close()
    told = screen.getvalue()
    assert "to 'bob': done, 1 file, 500.0 kB in " in told
    assert "to '[red]:smile:': done" in told
    assert "\x1b[2J" not in told
    assert told.endswith("\x1b[?25h") or "\x1b[?25h" in told  # the cursor is back


def test_an_unknown_size_has_a_bar_too() -> None:
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=100))
    bars.tell(ev.DownloadStarted(1, "al"))
    bars.tell(ev.DownloadProgress(1, "al", Progress(500_000, None, 0, 1, 1_000.0)))
    with bars.paused():
        pass
    bars.close()
    assert "500.0 kB" in screen.getvalue()


def test_a_transfer_that_begins_while_a_question_is_asked_draws_nothing_until_the_answer() -> None:
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=100))
    with bars.paused():
        bars.tell(ev.DownloadStarted(1, "al"))
        bars.tell(ev.DownloadProgress(1, "al", Progress(500_000, None, 0, 1, 1_000.0)))
        assert screen.getvalue() == ""
    bars.close()
    assert "500.0 kB" in screen.getvalue()


@pytest.mark.parametrize(("width", "text"), [(50, "interrupted"), (120, "waiting for 'bob' to come back")])
def test_a_bar_that_does_not_move_says_why(width: int, text: str) -> None:
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=width, color_system=None))
    bars.tell(Offering(1, "bob"))
    bars.tell(ev.UploadStarted(1, "bob"))
    bars.tell(ev.UploadProgress(1, "bob", Progress(500_000, 1_000_000, 0, 1, 1_000.0)))
    bars.tell(ev.UploadPaused(1, "bob", remote=False))
    screen.truncate(0)
    bars._progress.refresh()
    assert " paused" in screen.getvalue()
    assert "kB/s" not in screen.getvalue()
    bars.tell(ev.UploadInterrupted(1, "bob", ConnectionLost()))
    screen.truncate(0)
    bars._progress.refresh()
    assert text in screen.getvalue()
    bars.close()
