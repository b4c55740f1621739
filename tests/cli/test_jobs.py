"""What a second terminal sees: the table, the lines, and that nothing of dead processes is in them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from p2pshare.cli.jobs import table
from p2pshare.cli.status import processes, replace, start_of
from tests.cli.conftest import Start
from tests.cli.processes import Command

Room = tuple[str, ...]


def lines_of(command: Command) -> list[dict[str, Any]]:
    ended = command.ended()
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def shown(start: Start, state: str) -> list[dict[str, Any]]:
    """All lines, once two jobs are in a state: files are written once a second."""
    while True:
        lines = lines_of(start("jobs", "--json"))
        if [each.get("state") for each in lines if each["type"] == "job"] == [state] * 2:
            return lines


def test_another_terminal_sees_who_is_at_what_and_nothing_once_it_is_over(
    start: Start, room: Room, tmp_path: Path
) -> None:
    source = tmp_path / "slow.bin"
    source.write_bytes(bytes(5_000_000))
    receive = start("receive", *room, "--dir", tmp_path / "in", "--accept", "all", "--name", "bob", "--watch")
    receive.said("waiting")
    (waiting,) = lines_of(start("jobs", "--json"))
    assert (waiting["type"], waiting["command"], waiting["name"]) == ("process", "receive", "bob")
    assert waiting["pid"] == receive.process.pid
    send = start("send", source, *room, "--name", "alice", "--rate", "100k")
    lines = shown(start, "active")
    jobs = {each["direction"]: each for each in lines if each["type"] == "job"}
    assert (jobs["to"]["pid"], jobs["to"]["peer"]) == (send.process.pid, "bob")
    assert (jobs["from"]["pid"], jobs["from"]["peer"]) == (receive.process.pid, "alice")
    assert (jobs["from"]["size"], jobs["from"]["files"]) == (5_000_000, 1)
    told = start("jobs").ended().out
    assert "from 'alice'  active" in told
    assert "of 5.0 MB" in told
    folder = tmp_path / "home" / "run" / "p2pshare"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.json")} == {0o600}
    send.interrupt()
    assert send.ended().code == 130
    receive.interrupt()
    receive.ended()
    ended = start("jobs").ended()
    assert (ended.code, ended.out, ended.err) == (0, "", "no p2pshare of yours is running\n")
    assert not list(folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "p2pshare").mkdir(mode=0o700, parents=True)
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "p2pshare"


def fields(pid: int, **changed: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "pid": pid,
        "started": start_of(pid),
        "since": 1.0,
        "command": "send",
        "room": "r",
        "jobs": [],
    }
    return told | changed


def test_what_killed_processes_left_is_neither_shown_nor_kept(folder: Path) -> None:
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    replace(folder / f"{over.pid}.json", fields(over.pid))
    (folder / f"{over.pid}.new").write_text("{")
    ours = os.getpid()
    replace(folder / f"{ours}.json", fields(ours))
    (folder / f"{ours}.new").write_text("{")
    assert [each["pid"] for each in processes()] == [ours]
    assert sorted(os.listdir(folder)) == [f"{ours}.json", f"{ours}.new"]


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux")
def test_another_process_of_the_same_number_is_not_taken_for_it(folder: Path) -> None:
    ours = os.getpid()
    replace(folder / f"{ours}.json", fields(ours, started="1"))
    assert processes() == []


def test_a_folder_that_others_can_look_into_is_not_used(folder: Path) -> None:
    replace(folder / f"{os.getpid()}.json", fields(os.getpid()))
    folder.chmod(0o755)
    assert processes() == []


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_the_terminal_and_names_in_it_are_escaped(width: int) -> None:
    job = {
        "job": 1,
        "direction": "to",
        "peer": "e\x1b[2J",
        "state": "paused",
        "bytes": 1,
        "size": None,
        "rate": 0,
        "seconds_left": None,
        "files_done": 0,
        "files": 1,
    }
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table([fields(7, room="[red]", jobs=[job])], width))
    told = captured.get()
    assert "\x1b[2J" not in told
    assert r"to 'e\u{1b}[2J'" in told
    assert "paused" in told
    assert ("'[red]'" in told) is (width == 200)
    assert max(map(len, told.splitlines())) <= width
