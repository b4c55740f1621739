"""What a person sees and types, in a real terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import Start
from tests.cli.screens import Screen
from tests.support.needs import needs_command

pytestmark = needs_command("tmux")

Room = tuple[str, ...]
Open = Callable[..., Screen]


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Open]:
    """Opens terminals with a command in each."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Screen(*arguments, home=tmp_path))


def test_the_question_shows_hostile_names_escaped_and_waits_for_the_answer(
    start: Start, screen: Open, room: Room, tmp_path: Path
) -> None:
    hostile = tmp_path / "evil\x1b[31m\u202egpj.exe"
    hostile.write_bytes(b"x")
    harmless = tmp_path / "a.txt"
    harmless.write_bytes(b"y" * 2_000)
    inbox = tmp_path / "inbox"
    receive = screen("receive", *room, "--dir", inbox, "--name", "bob")
    receive.shows("waiting for somebody to send")
    send = start("send", hostile, harmless, *room, "--name", "alice", "--message", "hi\x1b]0;x\x07")
    asked = receive.shows("Accept? [y/n/numbers]")
    assert r"1 B  'evil\u{1b}[31m\u{202e}gpj.exe'" in asked
    assert "2.0 kB  'a.txt'" in asked
    assert f"'alice' offers 2 files, 2.0 kB; to be saved in {inbox}" in asked
    assert r"'alice' says: hi\u{1b}]0;x\u{7}" in asked
    assert not inbox.exists()
    receive.type("perhaps")
    receive.shows("y takes everything")
    receive.type("2")
    receive.shows("from 'alice': done, 1 file, 2.0 kB", str(inbox / "a.txt"), "exit code 0")
    assert b"evil\x1b" not in receive.raw
    assert "\u202e".encode() not in receive.raw
    assert b"\x1b]0;" not in receive.raw
    assert os.listdir(inbox) == ["a.txt"]
    sent = send.ended()
    assert sent.code == 0
    assert "to 'bob': done, took 1 of 2 files, 2.0 kB in " in sent.err


def test_no_declines(start: Start, screen: Open, room: Room, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(b"y")
    receive = screen("receive", *room, "--dir", tmp_path / "inbox", "--name", "bob")
    receive.shows("waiting")
    send = start("send", source, *room)
    receive.shows("Accept? [y/n]")
    receive.type("n")
    receive.shows("exit code 3")
    assert send.ended().code == 3


def test_a_question_without_an_answer_in_time_is_a_no(
    start: Start, screen: Open, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(b"y")
    receive = screen("receive", *room, "--dir", tmp_path / "inbox", "--name", "bob")
    receive.shows("waiting")
    send = start("send", source, *room, "--name", "alice", "--timeout", "5")
    receive.shows("Accept? [y/n]")
    sent = send.ended()
    assert (sent.code, sent.err.splitlines()[-1]) == (3, "error: 'bob' did not answer in time (6002)")
    receive.shows("exit code")


def test_an_offer_that_is_taken_back_ends_the_question(
    start: Start, screen: Open, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(b"y")
    receive = screen("receive", *room, "--dir", tmp_path / "inbox", "--name", "bob")
    receive.shows("waiting")
    send = start("send", source, *room, "--name", "alice")
    receive.shows("Accept? [y/n]")
    send.interrupt()
    receive.shows("error: 'alice' cancelled (6001)", "exit code 130")
    assert send.ended().code == 130


def test_leaving_the_question_declines(start: Start, screen: Open, room: Room, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(b"y")
    receive = screen("receive", *room, "--dir", tmp_path / "inbox", "--name", "bob")
    receive.shows("waiting")
    send = start("send", source, *room)
    receive.shows("Accept? [y/n]")
    receive.press("C-c")
    receive.shows("error: cancelled (6001)", "exit code 130")
    sent = send.ended()
    assert sent.code == 3
    assert sent.err.endswith("error: 'bob' declined: left without an answer (6002)\n")


def test_a_bar_shows_bytes_speed_time_and_files_and_ctrl_c_takes_it_away(
    start: Start, screen: Open, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "endless.bin"
    with source.open("wb") as opened:
        opened.truncate(4 << 30)
    receive = start("receive", *room, "--dir", tmp_path / "inbox", "--accept", "all", "--name", "bob")
    receive.said("waiting")
    send = screen("send", source, *room, "--name", "alice")
    send.shows("to 'bob' ", "━", "of 4.3 GB", "MB/s", ":", "0/1 file")
    send.press("C-c")
    left = send.shows("error: cancelled (6001)", "exit code 130")
    assert "━" not in left
    received = receive.ended()
    assert received.code == 130
    assert received.err.endswith("error: 'alice' cancelled (6001)\n")
