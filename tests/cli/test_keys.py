"""Keys while a command runs, in a real terminal, and the terminal afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pshare.cli.interrupts import Interrupts, Press
from p2pshare.cli.keyboard import Keyboard
from p2pshare.session.handles import Handle
from tests.cli.conftest import Start
from tests.cli.screens import Screen
from tests.support.needs import needs_command

Room = tuple[str, ...]
Open = Callable[..., Screen]


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Open]:
    """Opens terminals with a command in each."""
    with ExitStack() as stack:
        yield lambda *arguments, **size: stack.enter_context(Screen(*arguments, home=tmp_path, **size))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """So much that nothing of it is over by itself, at the rate of the tests."""
    source = tmp_path / "long.bin"
    source.write_bytes(bytes(100_000_000))
    return source


@needs_command("tmux")
def test_p_pauses_and_resumes_and_ctrl_c_gives_the_terminal_back(
    start: Start, screen: Open, room: Room, source: Path, tmp_path: Path
) -> None:
    bob = start("receive", *room, "--dir", tmp_path / "in", "--accept", "all", "--name", "bob", "--json")
    bob.event("joined")
    alice = screen("send", source, *room, "--name", "alice", "--rate", "200k")
    alice.shows("keys: p pauses and resumes", "to 'bob' ", "kB/s")
    alice.press("p")
    alice.shows("paused (p goes on)", "MB paused")
    assert bob.event("download_paused")["remote"] is True
    alice.press("x")
    alice.press("P")
    alice.shows("going on", "kB/s")
    assert bob.event("download_resumed")["remote"] is True
    alice.press("C-c")
    alice.shows("error: cancelled (6001)", "exit code 130", "terminal as it was")
    assert bob.ended().code == 130


@needs_command("tmux")
def test_what_begins_while_paused_is_paused_too(
    start: Start, screen: Open, room: Room, source: Path, tmp_path: Path
) -> None:
    alice = screen("send", source, *room, "--name", "alice", "--rate", "200k", columns=60)
    alice.shows("waiting for somebody")
    alice.press("p")
    alice.shows("paused (p goes on)")
    bob = start("receive", *room, "--dir", tmp_path / "in", "--accept", "all", "--name", "bob", "--json")
    assert bob.event("download_paused")["remote"] is True
    alice.shows("to 'bob' ", " paused")
    alice.press("C-c")
    alice.shows("exit code 130", "terminal as it was")


@needs_command("tmux")
def test_ctrl_c_cancels_what_a_watcher_is_at_and_it_goes_on_until_the_next(
    start: Start, screen: Open, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    bob = screen("receive", *room, "--dir", inbox, "--accept", "all", "--watch", "--name", "bob")
    bob.shows("waiting for somebody to send")
    alice = start("send", source, *room, "--name", "alice", "--rate", "200k")
    bob.shows("from 'alice' ", "kB/s")
    bob.press("C-c")
    bob.shows("cancelling what runs", "error: cancelled (6001)")
    sent = alice.ended()
    assert (sent.code, sent.err.splitlines()[-1]) == (130, "error: 'bob' cancelled (6001)")
    assert os.listdir(inbox) == []
    small = tmp_path / "small.txt"
    small.write_text("x")
    assert start("send", small, *room, "--to", "bob").ended().code == 0
    bob.shows("small.txt")
    bob.press("C-c")
    bob.shows("exit code 130", "terminal as it was")


@needs_command("tmux")
def test_keys_and_a_question_do_not_take_each_others_input(
    start: Start, screen: Open, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("x")
    bob = screen("receive", *room, "--dir", tmp_path / "in", "--name", "bob")
    bob.shows("waiting")
    bob.press("y")  # typed before there is a question, this is no answer to it
    bob.press("Enter")
    alice = start("send", source, *room, "--name", "alice")
    bob.shows("Accept? [y/n]")
    bob.type("p")
    bob.shows("y takes everything")
    bob.type("y")
    bob.shows("from 'alice': done, 1 file", "exit code 0", "terminal as it was")
    assert alice.ended().code == 0


@needs_command("tmux")
def test_an_offer_that_comes_during_a_question_is_announced_and_asked_about_next(
    start: Start, screen: Open, room: Room, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    bob = screen("receive", *room, "--dir", tmp_path / "in", "--name", "bob", "--watch")
    bob.shows("waiting")
    alice = start("send", tmp_path / "a.txt", *room, "--name", "alice", "--to", "bob")
    bob.shows("Accept? [y/n]")
    carol = start("send", tmp_path / "b.txt", *room, "--name", "carol", "--to", "bob")
    bob.shows("the offer of 'carol' (1 file, 5 B) waits for an answer, too")
    bob.type("y")
    bob.shows("from 'alice': done", "'carol' offers 1 file")
    bob.type("n")
    assert (alice.ended().code, carol.ended().code) == (0, 3)
    bob.press("C-c")
    bob.shows("exit code 130", "terminal as it was")


@pytest.mark.skipif(sys.platform == "win32", reason="only on POSIX systems")
async def test_without_a_terminal_there_are_no_keys_and_nothing_changes() -> None:
    reading, writing = os.pipe()
    keyboard = Keyboard(lambda _: None, reading)
    keyboard.start()
    assert not keyboard.is_on
    with keyboard.as_lines():
        pass
    keyboard.stop()
    for each in (reading, writing):
        os.close(each)


class _Job(Handle[object]):
    """A job that ends when it is told to."""

    is_cancelled = False

    @property
    def progress(self) -> None:  # type: ignore[override]  # nobody asks
        return None

    def cancel(self, reason: str = "") -> None:
        self.is_cancelled = True

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def end(self) -> None:
        self._succeed(None)


async def test_a_press_ends_a_command_and_the_second_one_is_at_once() -> None:
    interrupts = Interrupts()
    assert interrupts.press() is Press.END
    assert interrupts.press() is Press.AT_ONCE


async def test_a_press_cancels_the_jobs_of_who_goes_on_and_a_second_during_that_is_at_once() -> None:
    interrupts = Interrupts()
    job = _Job(1)
    interrupts.jobs = lambda: [] if job.done else [job]
    assert interrupts.press() is Press.CANCELLED_JOBS
    assert job.is_cancelled
    assert interrupts.press() is Press.AT_ONCE
    job.end()
    await asyncio.sleep(0)
    assert interrupts.press() is Press.END


async def test_the_system_ends_a_command_whatever_runs_and_that_is_nobodys_wish() -> None:
    interrupts = Interrupts()
    interrupts.jobs = lambda: [_Job(1)]
    assert interrupts.terminate() is Press.END
    assert not interrupts.is_persons_wish
