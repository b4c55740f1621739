"""Offers that are taken by rule, and files that are chosen by name; with nobody there to ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pshare.cli.admission import NO_FILE, NO_RULE, Admission, Wishes
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import OfferedFile
from p2pshare.session import Accept, Decline
from tests.cli.conftest import Start

Room = tuple[str, ...]


def offer_of(*names: str, peer: str = "alice", media_type: str | None = None) -> Offer:
    files = (
        OfferedFile(n, tuple(name.split("/")), 10, media_type=media_type) for n, name in enumerate(names)
    )
    return Offer(1, peer, tuple(AvailableFile(1, peer, file) for file in files))


@pytest.mark.parametrize(
    ("wishes", "offer", "taken"),
    [
        (Wishes(), offer_of("a"), None),
        (Wishes(takes_all=True), offer_of("a", "b"), ["a", "b"]),
        (Wishes(peers=["ALI*"]), offer_of("a"), ["a"]),
        (Wishes(peers=["bob", "alice"]), offer_of("a"), ["a"]),
        (Wishes(peers=["bob"]), offer_of("a"), None),
        (Wishes(peers=["bob"], asks=False), offer_of("a"), NO_RULE),
        (Wishes(media_types=["image/*"]), offer_of("a", media_type="image/png"), ["a"]),
        (Wishes(media_types=["image/*"], asks=False), offer_of("a", media_type="text/plain"), NO_RULE),
        (Wishes(media_types=["image/*"], asks=False), offer_of("a"), NO_RULE),
        (Wishes(peers=["bob"], media_types=["image/*"]), offer_of("a", media_type="image/png"), None),
        (Wishes(takes_all=True, only=["*.PDF"]), offer_of("x/a.pdf", "b.txt"), ["x/a.pdf"]),
        (Wishes(takes_all=True, only=["x/*"]), offer_of("x/a.pdf", "b.txt"), ["x/a.pdf"]),
        (Wishes(only=["*.pdf"]), offer_of("b.txt"), NO_FILE),
    ],
)
async def test_an_offer_is_taken_declined_or_asked_about(
    wishes: Wishes, offer: Offer, taken: list[str] | str | None
) -> None:
    decision = await Admission(wishes).decide(offer)
    if isinstance(decision, Accept):
        assert [file.path for file in decision.files or ()] == taken
    elif isinstance(decision, Decline):
        assert decision.reason == taken
    else:
        assert taken is None


async def test_no_peer_gives_more_than_its_share() -> None:
    admission = Admission(Wishes(takes_all=True, max_peer_bytes=15))
    assert isinstance(await admission.decide(offer_of("a")), Accept)
    assert isinstance(await admission.decide(offer_of("a")), Decline)
    assert isinstance(await admission.decide(offer_of("a", peer="bob")), Accept)


def test_a_watcher_without_a_terminal_takes_by_rule_and_logs_a_line_an_offer(
    start: Start, room: Room, tmp_path: Path
) -> None:
    text, picture = tmp_path / "a.txt", tmp_path / "a.png"
    text.write_text("text")
    picture.write_bytes(b"picture")
    inbox = tmp_path / "in"
    rules = ("--accept-from", "ali*", "--type", "image/*")
    bob = start("receive", *room, "--dir", inbox, "--watch", "--name", "bob", *rules)
    bob.said("waiting")
    outcomes = [
        start("send", path, *room, "--to", "bob", "--name", name).ended()
        for path, name in ((picture, "alice"), (text, "alice"), (picture, "eve"))
    ]
    assert [each.code for each in outcomes] == [0, 3, 3]
    assert outcomes[2].err.splitlines()[-1] == f"error: 'bob' declined: {NO_RULE} (6002)"
    bob.interrupt()
    ended = bob.ended()
    assert os.listdir(inbox) == ["a.png"]
    assert ended.out == f"{inbox / 'a.png'}\n"
    lines = [line[len("2000-01-01 00:00:00 ") :] for line in ended.err.splitlines()]
    assert lines[0].startswith("in room ")
    assert lines[1].startswith("waiting for somebody")
    assert lines[2].startswith("from 'alice': done, 1 file, 7 B in ")
    assert lines[3] == f"declined the offer of 'alice' (1 file, 4 B): {NO_RULE}"
    assert lines[4] == f"declined the offer of 'eve' (1 file, 7 B): {NO_RULE}"
    assert lines[5:] == ["cancelling (Ctrl-C again: at once)", "error: cancelled (6001)"]


def test_what_no_rule_takes_is_no_end_for_who_waits_for_one_offer(
    start: Start, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("text")
    bob = start("receive", *room, "--dir", tmp_path / "in", "--name", "bob", "--accept-from", "alice")
    bob.said("waiting")
    assert start("send", source, *room, "--to", "bob", "--name", "eve").ended().code == 3
    assert start("send", source, *room, "--to", "bob", "--name", "alice").ended().code == 0
    received = bob.ended()
    assert received.code == 0
    assert "declined the offer of 'eve'" in received.err


def test_only_some_files_are_taken_and_the_sender_is_told(start: Start, room: Room, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a.pdf", "b.txt", "c.PDF"):
        (tree / name).write_text(name)
    inbox = tmp_path / "in"
    bob = start("receive", *room, "--dir", inbox, "--accept", "all", "--only", "*.pdf", "--name", "bob")
    bob.said("waiting")
    sent = start("send", tree, *room).ended()
    assert (sent.code, bob.ended().code) == (0, 0)
    assert sorted(os.listdir(inbox / "tree")) == ["a.pdf", "c.PDF"]
    assert "to 'bob': done, took 2 of 3 files" in sent.err


@pytest.mark.parametrize(
    ("conflict", "names", "content"),
    [("rename", ["a (1).txt", "a.txt"], "old"), ("skip", ["a.txt"], "old"), ("overwrite", ["a.txt"], "new!")],
)
def test_a_name_that_is_taken(
    start: Start, room: Room, tmp_path: Path, conflict: str, names: list[str], content: str
) -> None:
    source, inbox = tmp_path / "a.txt", tmp_path / "in"
    source.write_text("new!")
    inbox.mkdir()
    (inbox / "a.txt").write_text("old")
    bob = start(
        "receive", *room, "--dir", inbox, "--accept", "all", "--on-conflict", conflict, "--name", "bob"
    )
    bob.said("waiting")
    sent, received = start("send", source, *room, "--name", "alice").ended(), bob.ended()
    assert received.code == 0, received.err
    assert sent.code == (3 if conflict == "skip" else 0), sent.err
    assert sorted(os.listdir(inbox)) == names
    assert (inbox / "a.txt").read_text() == content
    is_told = "from 'alice': 1 file skipped, as something of that name is here" in received.err
    assert is_told is (conflict == "skip")


def test_links_and_executables_are_kept_where_both_sides_say_so(
    start: Start, room: Room, tmp_path: Path
) -> None:
    tree, inbox = tmp_path / "tree", tmp_path / "in"
    tree.mkdir()
    (tree / "run").write_text("#!/bin/sh")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("run")
    bob = start(
        "receive", *room, "--dir", inbox, "--accept", "all", "--links", "--keep-executable", "--name", "bob"
    )
    bob.said("waiting")
    sent = start("send", tree, *room, "--links").ended()
    assert (sent.code, bob.ended().code) == (0, 0), sent.err
    assert os.readlink(inbox / "tree" / "link") == "run"
    assert os.access(inbox / "tree" / "run", os.X_OK)
