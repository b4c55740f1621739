"""``python -m signaling`` as a process of its own, and `serve` inside a program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from signaling.__main__ import main
from signaling.errors import CannotListen
from signaling.limits import Limits
from signaling.serve import serve
from signaling.server import SignalingServer
from tests.signaling.raw import raw_client

Process = subprocess.Popen[str]


@contextmanager
def signaling(*arguments: str) -> Iterator[Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "signaling", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: Process) -> str:
    """Read what a server prints when it is ready; return the URL for this machine."""
    assert process.stdout is not None
    urls: list[str] = []
    for line in process.stdout:
        if line == "press Ctrl-C to stop\n":
            return urls[-1]
        assert line.startswith("listening on ws://")
        urls.append(line.removeprefix("listening on ").strip())
    raise AssertionError("it ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_its_url_serves_and_ends_at_a_signal(number: signal.Signals) -> None:
    with signaling("--port", "0") as process:
        url = url_of(process)
        assert url.startswith("ws://127.0.0.1:")
        assert not url.startswith("ws://127.0.0.1:0/")
        async with raw_client(url) as client:
            await client.enter("alice")
            process.send_signal(number)
            assert await client.closed() == 1001
        assert process.communicate() == ("", "")
        assert process.returncode == 0


def test_it_listens_where_it_is_told() -> None:
    with signaling("--host", "127.0.0.1", "--port", "0") as process:
        url = url_of(process).replace("ws://", "http://").replace("/ws", "/health")
        with urllib.request.urlopen(url) as response:
            assert response.status == 200


def test_a_port_in_use_is_one_sentence_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with signaling("--host", "127.0.0.1", "--port", port) as process:
            out, err = process.communicate()
    assert (out, process.returncode) == ("", 1)
    assert err == f"error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize("port", ["-1", "65536", "http", "8_0", "\u0661"])
def test_a_port_that_is_none_is_wrong_usage(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([f"--port={port}"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("error: argument --port: a port is 0 to 65535\n")


def test_unknown_arguments_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--frobnicate"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --frobnicate" in capsys.readouterr().err


def test_verbose_logs_to_standard_error() -> None:
    with signaling("--port", "0", "--verbose") as process:
        url_of(process)
        process.terminate()
        _, err = process.communicate()
    assert "signaling.server = listening on port " in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_when_it_is_ready_and_returns_at_a_signal(number: signal.Signals) -> None:
    seen: list[SignalingServer] = []
    urls: list[str] = []
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def ready(server: SignalingServer) -> None:
        seen.append(server)
        urls.append(server.url)
        socket.create_connection(("127.0.0.1", server.port)).close()
        os.kill(os.getpid(), number)

    serve("127.0.0.1", 0, limits=Limits(max_peers=2), ready=ready)
    (server,) = seen
    assert urls == [f"ws://127.0.0.1:{server.port}/ws"]
    assert server.limits.max_peers == 2
    assert server.urls == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_serve_passes_on_that_it_cannot_listen() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1 port 0: "):
        serve("192.0.2.1", 0, ready=lambda _: pytest.fail("it listens"))


def test_serve_ends_when_ready_raises() -> None:
    ports: list[int] = []

    def ready(server: SignalingServer) -> None:
        ports.append(server.port)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        serve("127.0.0.1", 0, ready=ready)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))
