"""Jobs and receivers that outlive their peers, their server and their own process."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Start
from tests.cli.processes import Command

Room = tuple[str, ...]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "big.bin"
    source.write_bytes(os.urandom(12_000_000))
    return source


def parts_in(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".p2pshare-part")]


def until_stored(command: Command, kind: str, size: int) -> None:
    def fits(line: str) -> bool:
        event = json.loads(line)
        return bool(event["type"] == kind and event["bytes"] >= size)

    command.out.first(fits)


def test_a_sender_that_is_killed_and_started_again_goes_on_where_it_was(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    bob = start("receive", *room, "--dir", inbox, "--accept", "all", "--name", "bob")
    bob.said("waiting")
    alice = start("send", source, *room, "--name", "alice", "--rate", "2MB", "--json")
    until_stored(alice, "upload_progress", 5_000_000)
    alice.interrupt(signal.SIGKILL)
    bob.said("from 'alice': the connection was lost, waiting for 'alice' to come back")
    again = start("send", source, *room, "--name", "alice", "--json")
    bob.said("from 'alice': 'alice' is back, it goes on")
    sent, received = again.ended(), bob.ended()
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert (inbox / "big.bin").read_bytes() == source.read_bytes()
    first = next(event for event in sent.events if event["type"] == "upload_progress")
    assert first["bytes"] >= 3_000_000, "what is there is known from the start"


def test_a_sender_that_does_not_come_back_leaves_a_part_and_the_command_that_goes_on(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    options = ("receive", *room, "--dir", inbox, "--accept", "all", "--reconnect-timeout", "0.5")
    bob = start(*options, "--name", "bob")
    bob.said("waiting")
    alice = start("send", source, *room, "--name", "alice", "--rate", "2MB", "--json")
    until_stored(alice, "upload_progress", 5_000_000)
    alice.interrupt(signal.SIGKILL)
    received = bob.ended()
    assert received.code == 1
    assert received.err.splitlines()[-1].endswith("(6004)")
    typed = bob.said("    p2pshare receive --server").split()
    assert "what has come is kept" in received.err
    assert len(parts_in(inbox)) == 1
    again = start(*typed[1:], "--json")
    again.event("joined")
    assert start("send", source, *room, "--name", "alice").ended().code == 0
    ended = again.ended()
    assert ended.code == 0
    first = next(event for event in ended.events if event["type"] == "download_progress")
    assert first["bytes"] >= 3_000_000
    assert (inbox / "big.bin").read_bytes() == source.read_bytes()
    assert not parts_in(inbox)


def test_a_receiver_that_the_system_ends_keeps_the_part_and_says_so(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    bob = start("receive", *room, "--dir", inbox, "--accept", "all", "--watch", "--name", "bob")
    bob.said("waiting")
    alice = start("send", source, *room, "--name", "alice", "--rate", "2MB", "--json")
    until_stored(alice, "upload_progress", 5_000_000)
    bob.interrupt(signal.SIGTERM)
    ended = bob.ended()
    assert ended.code == 130
    assert "what has come is kept" in ended.err
    assert len(parts_in(inbox)) == 1
    assert alice.ended().code == 130


def test_a_watcher_waits_for_its_server_and_says_once_that_it_is_gone_and_back(
    start: Start, source: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    room = ("--server", f"http://127.0.0.1:{port}", "--room", "r")
    bob = start("receive", *room, "--dir", tmp_path / "in", "--accept", "all", "--watch", "--name", "bob")
    bob.said("waiting for the signaling server to let us in")
    for _ in range(2):
        serve = start("serve", "--host", "127.0.0.1", "--port", port)
        bob.err.first(lambda line: "waiting for somebody to send" in line or "is back" in line)
        source.write_bytes(os.urandom(1000))
        assert start("send", source, *room, "--to", "bob").ended().code == 0
        serve.interrupt()
        serve.ended()
    bob.said("is gone")
    bob.interrupt()
    ended = bob.ended()
    assert ended.code == 130
    assert ended.err.count(" is gone: ") == 2
    assert ended.err.count(" is back") == 1
    assert len(ended.out.splitlines()) == 2


def test_a_name_that_is_taken_is_an_error_for_a_watcher_too(start: Start, room: Room) -> None:
    start("receive", *room, "--name", "bob", "--json").event("joined")
    ended = start("receive", *room, "--name", "bob", "--watch", "--accept", "all").ended()
    assert ended.code == 4
    assert "is taken" in ended.err
