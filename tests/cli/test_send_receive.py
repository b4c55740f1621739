"""Two commands as people run them, each a process: what arrives, what is said, which codes come out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Start
from tests.cli.processes import environment

Room = tuple[str, ...]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "report.pdf"
    source.write_bytes(os.urandom(300_000))
    return source


def test_a_file_arrives_and_its_path_is_printed(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--name", "bob")
    receive.said("waiting for somebody to send")
    send = start("send", source, *room, "--name", "alice")
    sent, received = send.ended(), receive.ended()
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert (inbox / "report.pdf").read_bytes() == source.read_bytes()
    assert (sent.out, received.out) == ("", f"{inbox / 'report.pdf'}\n")
    assert "to 'bob': done, 1 file, 300.0 kB in " in sent.err
    assert "from 'alice': done, 1 file, 300.0 kB in " in received.err
    assert "\x1b" not in sent.err + received.err


def test_a_tree_arrives_and_json_tells_all_of_it(start: Start, room: Room, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "a").write_bytes(os.urandom(200_000))
    (tree / "zero").write_bytes(b"")
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--name", "bob", "--json")
    receive.event("joined")
    send = start("send", tree, *room, "--name", "alice", "--to", "BOB", "--message", "hi \x1b[1m", "--json")
    sent, received = send.ended(), receive.ended()
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert (sent.err, received.err) == ("", "")
    assert (inbox / "tree" / "deep" / "a").read_bytes() == (tree / "deep" / "a").read_bytes()
    offered = next(event for event in received.events if event["type"] == "file_offered")
    assert (offered["peer"], offered["message"], offered["size"]) == ("alice", "hi \x1b[1m", 200_000)
    assert [file["path"] for file in offered["files"]] == ["tree/deep/a", "tree/zero"]
    kinds = [event["type"] for event in received.events]
    assert (
        kinds.index("download_started") < kinds.index("download_progress") < kinds.index("download_completed")
    )
    completed = next(event for event in received.events if event["type"] == "download_completed")
    assert completed["paths"] == [str(inbox / "tree" / "deep" / "a"), str(inbox / "tree" / "zero")]
    last = [event for event in sent.events if event["type"] == "upload_progress"][-1]
    assert (last["job"], last["peer"], last["bytes"], last["size"]) == (1, "bob", 200_000, 200_000)
    assert (last["files_done"], last["files"]) == (2, 2)
    assert sent.events[-1] == received.events[-1] == {"type": "ended", "exit_code": 0}
    assert "link_failed" not in {event["type"] for event in sent.events + received.events}


def test_standard_input_arrives_under_its_name(start: Start, room: Room, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--quiet")
    send = start("send", "-", "--filename", "log.txt", *room, "--quiet", stdin=subprocess.PIPE)
    assert send.process.stdin is not None
    send.process.stdin.write("first\n")
    send.process.stdin.flush()
    send.process.stdin.write("second\n")
    send.process.stdin.close()
    sent, received = send.ended(), receive.ended()
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert (inbox / "log.txt").read_text() == "first\nsecond\n"
    assert (sent.out, sent.err, received.out, received.err) == ("", "", f"{inbox / 'log.txt'}\n", "")


def test_without_a_server_send_brings_one_and_says_what_to_type(
    start: Start, source: Path, tmp_path: Path
) -> None:
    send = start("send", source)
    typed = send.said("p2pshare receive --room").split()
    assert typed[:3] == ["p2pshare", "receive", "--room"]
    receive = start(*typed[1:], "--dir", tmp_path / "inbox", "--accept", "all")
    assert (send.ended().code, receive.ended().code) == (0, 0)
    assert (tmp_path / "inbox" / "report.pdf").read_bytes() == source.read_bytes()


def test_everyone_who_is_there_gets_it(start: Start, room: Room, source: Path, tmp_path: Path) -> None:
    receivers = [
        start("receive", *room, "--dir", tmp_path / name, "--accept", "all", "--name", name)
        for name in ("bob", "carol")
    ]
    for receiver in receivers:
        receiver.said("waiting for somebody to send")
    sent = start("send", source, *room, "--everyone").ended()
    assert sent.code == 0, sent.err
    assert [receiver.ended().code for receiver in receivers] == [0, 0]
    for name in ("bob", "carol"):
        assert f"to '{name}': done" in sent.err
        assert (tmp_path / name / "report.pdf").read_bytes() == source.read_bytes()


def test_who_is_there_is_served_while_another_is_missing(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    bob = start("receive", *room, "--dir", tmp_path / "bob", "--accept", "all", "--name", "bob")
    bob.said("waiting")
    send = start("send", source, *room, "--to", "zed", "--to", "Bob")
    assert bob.ended().code == 0
    assert (tmp_path / "bob" / "report.pdf").read_bytes() == source.read_bytes()
    send.said("to 'bob': done, 1 file")
    zed = start("receive", *room, "--dir", tmp_path / "zed", "--accept", "all", "--name", "zed")
    assert (zed.ended().code, send.ended().code) == (0, 0)
    assert (tmp_path / "zed" / "report.pdf").read_bytes() == source.read_bytes()


def test_who_never_came_is_named_and_the_others_have_it(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    bob = start("receive", *room, "--dir", tmp_path / "inbox", "--accept", "all", "--name", "bob")
    bob.said("waiting")
    sent = start("send", source, *room, "--to", "bob", "--to", "zed", "--timeout", "5").ended()
    assert bob.ended().code == 0
    assert sent.code == 4
    assert [line for line in sent.err.splitlines() if "error" in line] == ["error: 'zed' did not come (5091)"]


def test_who_is_there_and_says_nothing_was_not_reached(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    bob = start("receive", *room, "--dir", tmp_path / "inbox", "--accept", "all", "--name", "bob", "--json")
    bob.event("joined")
    bob.interrupt(signal.SIGSTOP)  # it is there, and says nothing
    sent = start("send", source, *room, "--to", "bob", "--timeout", "0.5").ended()
    bob.interrupt(signal.SIGCONT)
    assert (sent.code, sent.err.splitlines()[-1]) == (4, "error: 'bob' was not reached in time (5091)")


def test_two_senders_say_that_both_only_send(start: Start, room: Room, source: Path) -> None:
    senders = {name: start("send", source, *room, "--name", name) for name in ("s1", "s2")}
    senders["s1"].said("'s2' only sends too; waiting for somebody to come")
    senders["s2"].said("'s1' only sends too; waiting for somebody to come")


def test_a_second_sender_in_the_room_is_no_recipient(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    senders = [start("send", source, *room, "--name", name) for name in ("alice", "eve")]
    for sender in senders:
        sender.said("offering it to")
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--watch", "--json")
    assert [sender.ended().code for sender in senders] == [0, 0]
    receive.interrupt()
    assert receive.ended().code == 130
    assert sorted(path.name for path in inbox.iterdir()) == ["report (1).pdf", "report.pdf"]


def test_a_named_recipient_that_only_sends_has_declined(start: Start, room: Room, source: Path) -> None:
    eve = start("send", source, *room, "--name", "eve")
    eve.said("waiting")
    sent = start("send", source, *room, "--to", "eve").ended()
    assert sent.code == 3
    assert sent.err.splitlines()[-1] == "error: 'eve' declined: only sends, and receives nothing (6002)"
    assert eve.process.poll() is None


def test_who_reads_the_output_may_leave_and_the_transfer_goes_on(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    receive = subprocess.Popen(
        [sys.executable, "-m", "p2pshare", "receive", *room, "--dir", inbox, "--accept", "all", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    with receive:
        assert receive.stdout is not None
        assert receive.stderr is not None
        assert b'"joined"' in receive.stdout.readline()
        receive.stdout.close()
        assert start("send", source, *room).ended().code == 0
        assert receive.stderr.read() == b""
    assert receive.returncode == 0
    assert (inbox / "report.pdf").read_bytes() == source.read_bytes()


def test_a_folder_whose_name_is_no_text_is_printed_byte_by_byte(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    receive = start("receive", *room, "--dir", inbox, "--accept", "all")
    receive.said("waiting")
    assert start("send", source, *room).ended().code == 0
    received = receive.ended()
    assert received.code == 0, received.err
    assert os.fsencode(received.out.rstrip()) == os.fsencode(inbox / "report.pdf")


def test_watch_takes_one_offer_after_another(start: Start, room: Room, source: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--watch", "--name", "bob")
    for _ in range(2):
        source.write_bytes(os.urandom(300_000))
        sent = start("send", source, *room, "--to", "bob").ended()
        assert sent.code == 0, sent.err
    receive.interrupt()
    ended = receive.ended()
    assert ended.code == 130
    assert ended.out.splitlines() == [str(inbox / "report.pdf"), str(inbox / "report (1).pdf")]


def test_what_is_there_already_is_not_sent_again(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--watch", "--name", "bob")
    for _ in range(2):
        assert start("send", source, *room, "--to", "bob", "--name", "alice").ended().code == 0
    receive.interrupt()
    ended = receive.ended()
    assert "from 'alice': 1 file already here\n" in ended.err
    assert ended.out.splitlines() == [str(inbox / "report.pdf")] * 2
    assert os.listdir(inbox) == ["report.pdf"]


def test_watch_ends_when_nothing_more_comes_in_time(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    arguments = ("receive", *room, "--dir", tmp_path / "inbox", "--accept", "all", "--watch", "--timeout")
    send = start("send", source, *room, "--to", "bob")
    send.said("waiting for 'bob'")
    receive = start(*arguments, "10", "--name", "bob")
    assert send.ended().code == 0
    ended = receive.ended()
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'inbox' / 'report.pdf'}\n")
    ended = start(*arguments, "0.1").ended()
    assert ended.code == 4
    assert ended.err.splitlines()[-1].endswith(" error: nobody offered anything (5091)")


def test_without_a_terminal_to_ask_on_an_offer_is_declined(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    receive = start("receive", *room, "--dir", tmp_path / "inbox", "--name", "bob")
    receive.said("--accept all")
    sent = start("send", source, *room).ended()
    received = receive.ended()
    assert (sent.code, received.code) == (3, 3)
    assert sent.err.splitlines()[-1] == "error: 'bob' declined: nobody is there to ask (6002)"
    assert "--accept all" in received.err.splitlines()[-1]
    assert not (tmp_path / "inbox").exists()


def test_a_file_above_the_receivers_limit_is_refused_with_the_limit(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    receive = start("receive", *room, "--dir", tmp_path, "--accept", "all", "--max-size", "100k", "--watch")
    receive.said("waiting")
    sent = start("send", source, *room, "--json").ended()
    assert sent.code == 5, sent.err
    assert sent.err.count("error:") == 1
    assert "the limit is 100,000" in sent.err
    assert "(1185)" in sent.err
    failed = next(event for event in sent.events if event["type"] == "upload_failed")
    assert failed["code"] == 1185
    assert sent.events[-1] == {"type": "ended", "exit_code": 5}


def test_a_folder_that_cannot_be_made_is_5_at_both_ends(
    start: Start, room: Room, source: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    receive = start("receive", *room, "--dir", inbox, "--accept", "all", "--name", "bob")
    receive.said("waiting")
    inbox.write_bytes(b"in the way")
    sent, received = start("send", source, *room).ended(), receive.ended()
    assert (sent.code, received.code) == (5, 5)
    assert received.err.splitlines()[-1] == "error: the folder cannot be made: File exists (5090)"
    assert sent.err.splitlines()[-1] == "error: 'bob': the folder cannot be made: File exists (5090)"


@pytest.mark.parametrize("name", ["nope.txt", "report.pdf/inside"])
def test_a_source_that_is_not_there_is_told_at_once(
    start: Start, room: Room, source: Path, name: str
) -> None:
    sent = start("send", source.parent / name, *room).ended()
    assert sent.code == 5
    assert sent.err.endswith("there is no such file or folder (5089)\n")
    assert sent.err.startswith("error: ")
    assert sent.err.count("\n") == 1


def test_a_folder_that_is_none_is_told_at_once(start: Start, room: Room, source: Path) -> None:
    received = start("receive", *room, "--dir", source).ended()
    assert received.code == 5
    assert (
        received.err == f"error: '{source}': not a folder (5089)\n" or "not a folder (5089)" in received.err
    )


def test_no_server_is_told_with_the_address_that_was_tried(start: Start, source: Path) -> None:
    nowhere = ("--room", "r", "--server", "http://127.0.0.1:1")
    for ended in (start("send", source, *nowhere).ended(), start("receive", *nowhere).ended()):
        assert ended.code == 4
        assert ended.err.startswith("error: no signaling server answers at ws://127.0.0.1:1/ws")
        assert ended.err.endswith("(6007)\n")


def test_nobody_came_in_time(start: Start, room: Room, source: Path) -> None:
    for arguments, text in (
        (("send", source, *room, "--timeout", "0.1"), "nobody came to receive"),
        (("send", source, *room, "--to", "carol", "--timeout", "0.1"), "'carol' did not come"),
        (("receive", *room, "--timeout", "0.1"), "nobody offered anything"),
    ):
        ended = start(*arguments).ended()
        assert (ended.code, ended.err.splitlines()[-1]) == (4, f"error: {text} (5091)")


def test_a_name_that_is_taken_is_an_error_and_a_default_name_is_numbered(start: Start, room: Room) -> None:
    first = start("receive", *room, "--json")
    name = first.event("joined")["name"]
    second = start("receive", *room, "--json")
    assert second.event("joined")["name"] == f"{name}-2"
    third = start("receive", *room, "--name", name).ended()
    assert third.code == 4
    assert "is taken" in third.err
