"""Ctrl-C at either end, at any moment: both sides end, and say who cancelled."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Start

Room = tuple[str, ...]
SIZE = 4 << 30


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """More than can be sent before the test has pressed Ctrl-C; a hole on the disk."""
    source = tmp_path / "endless.bin"
    with source.open("wb") as opened:
        opened.truncate(SIZE)
    return source


@pytest.mark.parametrize(
    ("presser", "number"),
    [
        ("alice", signal.SIGINT),
        ("bob", signal.SIGINT),
        ("alice", signal.SIGTERM),
        ("bob", signal.SIGHUP),
    ],
    ids=["sender", "receiver", "sender-sigterm", "receiver-sighup"],
)
def test_cancelling_ends_both_sides_and_the_other_one_says_who(
    start: Start, room: Room, endless: Path, tmp_path: Path, presser: str, number: int
) -> None:
    inbox = tmp_path / "inbox"
    bob = start("receive", *room, "--dir", inbox, "--accept", "all", "--name", "bob", "--json")
    bob.event("joined")
    alice = start("send", endless, *room, "--name", "alice", "--json")
    bob.event("download_progress")
    alice.event("upload_progress")
    here, there = (alice, bob) if presser == "alice" else (bob, alice)
    here.interrupt(number)
    ended_here, ended_there = here.ended(), there.ended()
    assert (ended_here.code, ended_there.code) == (130, 130)
    assert ended_here.err == "error: cancelled (6001)\n"
    assert ended_there.err == f"error: '{presser}' cancelled (6001)\n"
    cancelled = next(event for event in ended_there.events if event["type"].endswith("load_cancelled"))
    assert (cancelled["code"], cancelled["remote"]) == (6001, True)
    assert not list(inbox.iterdir())


def test_cancelling_while_waiting_ends_at_once(start: Start, room: Room, endless: Path) -> None:
    for arguments in (("send", endless, *room), ("receive", *room)):
        command = start(*arguments)
        command.said("waiting for somebody")
        command.interrupt()
        ended = command.ended()
        assert ended.code == 130
        assert ended.err.endswith("error: cancelled (6001)\n")


def test_a_sender_of_standard_input_that_says_nothing_can_be_cancelled(start: Start, room: Room) -> None:
    command = start("send", "-", *room, stdin=subprocess.PIPE)
    command.said("waiting for somebody")
    command.interrupt()
    assert command.ended().code == 130


def test_a_second_ctrl_c_ends_at_once_where_the_other_side_does_not_answer(
    start: Start, room: Room, endless: Path, tmp_path: Path
) -> None:
    bob = start("receive", *room, "--dir", tmp_path / "inbox", "--accept", "all", "--json")
    bob.event("joined")
    alice = start("send", endless, *room)
    bob.event("download_progress")
    bob.interrupt(signal.SIGSTOP)
    alice.interrupt()
    alice.said("cancelling")
    while alice.process.poll() is None:
        alice.interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            alice.process.wait(timeout=0.1)
    ended = alice.ended()
    assert ended.code == 130
    assert "error:" not in ended.err
