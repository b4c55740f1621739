"""The documented fields: a script depends on every one of them."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from p2pshare import events as ev
from p2pshare.cli import jsonlines, moments
from p2pshare.cli.jsonlines import JsonLines, as_fields
from p2pshare.errors import (
    ConnectionLost,
    FileTooLarge,
    OfferDeclined,
    SharingNotAvailable,
    TransferCancelled,
)
from p2pshare.model import FileKind, OfferedFile, Progress

_FILE = ev.AvailableFile(7, "bob", OfferedFile(0, ("a\x1b", "b"), 5))
_FOLDER = ev.AvailableFile(7, "bob", OfferedFile(1, ("c",), 0, kind=FileKind.DIRECTORY))
_PROGRESS = Progress(stored=5, size=10, files_done=0, files=1, rate=2.5)
_MOVED = {"bytes": 5, "size": 10, "rate": 2, "seconds_left": 2.0, "files_done": 0, "files": 1}
_DECLINED = OfferDeclined("no", remote=True)
_CANCELLED = TransferCancelled("cancelled")
_LOST = ConnectionLost("silent")
_TOO_LARGE = FileTooLarge(size=2, limit=1, file="a", remote=True)
_JOB = {"job": 1, "peer": "bob"}

TABLE: list[tuple[ev.Event, jsonlines.Fields]] = [
    (moments.Listening(("http://h:1",)), {"type": "listening", "addresses": ["http://h:1"]}),
    (
        moments.Joined("http://h:1", "r", "me"),
        {"type": "joined", "server": "http://h:1", "room": "r", "name": "me"},
    ),
    (
        moments.ServerLost("http://h:1", "why"),
        {"type": "server_lost", "server": "http://h:1", "reason": "why"},
    ),
    (moments.ServerBack("http://h:1"), {"type": "server_back", "server": "http://h:1"}),
    (ev.PeerJoined("bob"), {"type": "peer_joined", "peer": "bob"}),
    (ev.PeerLeft("bob"), {"type": "peer_left", "peer": "bob"}),
    (ev.PeerReady("bob"), {"type": "peer_ready", "peer": "bob"}),
    (ev.PeerUnresponsive("bob", 5.0), {"type": "peer_unresponsive", "peer": "bob", "silent_s": 5.0}),
    (
        ev.LinkFailed("bob", SharingNotAvailable("gone")),
        {"type": "link_failed", "peer": "bob", "code": 5091, "reason": "gone"},
    ),
    (
        ev.FileOffered(ev.Offer(7, "bob", (_FILE, _FOLDER), "hi")),
        {
            "type": "file_offered",
            "offer": 7,
            "peer": "bob",
            "message": "hi",
            "size": 5,
            "files": [
                {"index": 0, "path": "a\x1b/b", "size": 5, "kind": "file"},
                {"index": 1, "path": "c", "size": 0, "kind": "directory"},
            ],
        },
    ),
    (
        moments.OfferSettled(7, "bob", "declined"),
        {"type": "offer_settled", "offer": 7, "peer": "bob", "reason": "declined"},
    ),
    (
        moments.Measured("bob", is_upload=True, size=10, seconds=2.0, cpu_s=1.0, path=None),
        {
            "type": "measured",
            "peer": "bob",
            "direction": "to",
            "bytes": 10,
            "seconds": 2.0,
            "cpu_s": 1.0,
            "rtt_s": None,
            "packet_size": None,
            "packets_sent": None,
            "packets_retransmitted": None,
        },
    ),
    (moments.Offering(1, "bob"), {"type": "offering", **_JOB}),
    (ev.UploadStarted(1, "bob"), {"type": "upload_started", **_JOB}),
    (ev.UploadProgress(1, "bob", _PROGRESS), {"type": "upload_progress", **_JOB, **_MOVED}),
    (ev.UploadPaused(1, "bob", remote=True), {"type": "upload_paused", **_JOB, "remote": True}),
    (ev.UploadResumed(1, "bob", remote=False), {"type": "upload_resumed", **_JOB, "remote": False}),
    (
        ev.UploadInterrupted(1, "bob", _LOST),
        {
            "type": "upload_interrupted",
            **_JOB,
            "code": 6004,
            "reason": "silent",
            "remote": False,
            "file": None,
        },
    ),
    (ev.UploadCompleted(1, "bob"), {"type": "upload_completed", **_JOB}),
    (
        ev.UploadFailed(1, "bob", _DECLINED),
        {"type": "upload_failed", **_JOB, "code": 6002, "reason": "no", "remote": True, "file": None},
    ),
    (
        ev.UploadCancelled(1, "bob", _CANCELLED),
        {
            "type": "upload_cancelled",
            **_JOB,
            "code": 6001,
            "reason": "cancelled",
            "remote": False,
            "file": None,
        },
    ),
    (ev.UploadClosed(1), {"type": "upload_closed", "job": 1}),
    (ev.DownloadStarted(1, "bob"), {"type": "download_started", **_JOB}),
    (ev.DownloadProgress(1, "bob", _PROGRESS), {"type": "download_progress", **_JOB, **_MOVED}),
    (ev.DownloadPaused(1, "bob", remote=True), {"type": "download_paused", **_JOB, "remote": True}),
    (ev.DownloadResumed(1, "bob", remote=False), {"type": "download_resumed", **_JOB, "remote": False}),
    (
        ev.DownloadInterrupted(1, "bob", _LOST),
        {
            "type": "download_interrupted",
            **_JOB,
            "code": 6004,
            "reason": "silent",
            "remote": False,
            "file": None,
        },
    ),
    (
        ev.DownloadCompleted(1, "bob", {1: Path("in/b"), 0: Path("in/a")}),
        {"type": "download_completed", **_JOB, "paths": [str(Path("in/a")), str(Path("in/b"))]},
    ),
    (
        ev.DownloadFailed(1, "bob", _TOO_LARGE),
        {
            "type": "download_failed",
            **_JOB,
            "code": 1185,
            "reason": "'a' has 2 bytes, the limit is 1",
            "remote": True,
            "file": "a",
        },
    ),
    (
        ev.DownloadCancelled(1, "bob", _CANCELLED),
        {
            "type": "download_cancelled",
            **_JOB,
            "code": 6001,
            "reason": "cancelled",
            "remote": False,
            "file": None,
        },
    ),
    (
        moments.AlreadyHere(1, "bob", same=2, skipped=1),
        {"type": "already_here", **_JOB, "same": 2, "skipped": 1},
    ),
    (moments.Failed(SharingNotAvailable("gone")), {"type": "error", "code": 5091, "reason": "gone"}),
    (moments.Failed(ValueError("no")), {"type": "error", "code": None, "reason": "no"}),
    (moments.Ended(4), {"type": "ended", "exit_code": 4}),
]

_ONE_BY_ONE = {ev.FileAvailable, ev.FileUnavailable}
_ABSTRACT = {ev.Event, ev.UploadEvent, ev.DownloadEvent}


@pytest.mark.parametrize(("event", "fields"), TABLE, ids=lambda each: type(each).__name__)
def test_an_event_is_a_line_of_these_fields(
    event: ev.Event, fields: jsonlines.Fields, capsys: pytest.CaptureFixture[str]
) -> None:
    JsonLines().tell(event)
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == fields


def test_every_event_has_a_line() -> None:
    classes = {
        each
        for module in (ev, moments)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, ev.Event)
    }
    assert classes - _ABSTRACT - _ONE_BY_ONE == {type(event) for event, _ in TABLE}


def test_every_field_is_documented() -> None:
    documented = jsonlines.__doc__ or ""
    for _, fields in TABLE:
        missing = [name for name in (fields["type"], *fields) if str(name) not in documented]
        assert not missing


def test_results_have_no_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines().result(Path("in") / "a")
    assert capsys.readouterr().out == ""


def test_files_that_come_and_go_one_by_one_have_no_line() -> None:
    assert as_fields(ev.FileAvailable(_FILE)) is None
    assert as_fields(ev.FileUnavailable(_FILE, "gone")) is None
