"""The command line itself: help, usage, and how fast it answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import p2pshare
from p2pshare.cli import main, options
from tests.cli.conftest import Start


@pytest.mark.parametrize(
    "arguments", [["--help"], ["send", "--help"], ["receive", "-h"], ["serve", "--help"], ["jobs", "-h"]]
)
def test_help_shows_examples_and_ends_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "  p2pshare " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"p2pshare {p2pshare.__version__}\n"


def test_help_loads_neither_webrtc_nor_the_network() -> None:
    heavy = ("aiortc", "av", "aiohttp", "asyncio", "rich")
    program = f"""
import sys
from p2pshare.cli import main, options
code = main(["send", "--help"])
print(code, *(name for name in {heavy} if name in sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Usage:"),
        (["fetch"], "error: No such command 'fetch'."),
        (["send"], "error: Missing argument"),
        (["send", "a", "--nope"], "error: No such option"),
        (["send", "a", "--to", "bob", "--everyone"], "error: --to and --everyone contradict"),
        (["send", "a", "--quiet"], "error: --quiet would not say which room"),
        (["send", "-", "-"], "error: Standard input ('-') can be sent once"),
        (["send", "-", "--to", "a", "--to", "b"], "error: Standard input ('-') can be sent to one recipient"),
        (["send", "a", "--filename", "b"], "error: --filename names standard input"),
        (["send", "a", "--timeout", "0"], "error: Invalid value for '--timeout'"),
        (["receive"], "error: Missing option '-r' / '--room'"),
        (["receive", "--room", "r", "--accept", "some"], "error: Invalid value for '--accept'"),
        (
            ["receive", "--room", "r", "--max-size", "x"],
            "error: Invalid value for '--max-size': 'x' is no size",
        ),
        (["send", "a", "--rate", "fast"], "error: Invalid value for '--rate': 'fast' is no rate"),
        (["send", "a", "--reconnect-timeout", "-1"], "error: Invalid value for '--reconnect-timeout'"),
        (
            ["receive", "--room", "r", "--accept", "all", "--type", "a/b"],
            "error: --accept all takes",
        ),
        (["receive", "--room", "r", "--accept", "none"], "error: --accept none takes nothing"),
        (["receive", "--room", "r", "--max-per-peer", "1"], "error: --max-per-peer is for"),
        (["receive", "--room", "r", "--on-conflict", "ask"], "error: Invalid value for '--on-conflict'"),
        (["receive", "--room", "r", "--stdout", "--json"], "error: --stdout and --json both"),
        (["receive", "--room", "r", "--stdout", "--watch"], "error: --stdout takes one file"),
        (["receive", "--room", "r", "--stdout", "--dir", "d"], "error: --stdout writes into no folder"),
        (["serve", "--port", "65536"], "error: Invalid value for '--port'"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_a_sentence_and_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(text)


@pytest.mark.parametrize(
    "options",
    [
        ("--room", ""),
        ("--room", "a\x1b"),
        ("--room", "r", "--name", " "),
        ("--room", "r", "--name", ""),
        ("--room", "r", "--server", "ftp://192.0.2.7"),
        ("--room", "r", "--server", "http://"),
    ],
    ids=str,
)
def test_names_and_addresses_that_are_none_are_wrong_usage(
    start: Start, options: tuple[str, ...], tmp_path: Path
) -> None:
    ended = start("receive", *options, "--dir", tmp_path).ended()
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "\x1b" not in ended.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--room", ""), "the room '' must have"),
        (("--room", "r", "--name", ""), "the name '' must have"),
        (("--room", "r", "--filename", "a/b"), "--filename: 'a/b' contains a path separator"),
        (("--room", "r", "--filename", ""), "--filename: "),
    ],
    ids=str,
)
def test_send_refuses_names_as_receive_does(start: Start, options: tuple[str, ...], text: str) -> None:
    ended = start("send", "-", *options, "--server", "http://127.0.0.1:1").ended()
    assert ended.code == 2
    assert ended.err.startswith(f"error: {text}")
    assert ended.err.count("\n") == 1


def test_a_port_that_is_taken_is_an_error(start: Start, server: str) -> None:
    ended = start("serve", "--host", "127.0.0.1", "--port", server.rpartition(":")[2]).ended()
    assert ended.code == 4
    assert ended.err.startswith("error: cannot listen on 127.0.0.1 port ")
    assert "; try --port" in ended.err


def test_serve_says_where_it_listens(start: Start) -> None:
    serve = start("serve", "--port", "0")
    assert serve.out.first(lambda line: "listening on http://" in line)
    serve.out.first(lambda line: "Ctrl-C" in line)
    serve.interrupt()
    ended = serve.ended()
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize(
    ("text", "rate"), [("5MB", 5_000_000), ("500k", 500_000), ("1.5G/s", 1_500_000_000), ("7", 7)]
)
def test_a_rate_is_bytes_a_second(text: str, rate: int) -> None:
    assert options.rate(text) == rate
