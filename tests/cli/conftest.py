from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from tests.cli.processes import Command

Start = Callable[..., Command]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a signaling server that all tests share: each has a room of its own."""
    with Command(
        "serve", "--host", "127.0.0.1", "--port", "0", home=tmp_path_factory.mktemp("home")
    ) as serve:
        yield serve.out.first(lambda line: "listening" in line).split()[-1]
        serve.interrupt()
        assert serve.ended().code == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts commands in a home of their own; they are ended with the test."""
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:

        def start_one(*arguments: str | Path, stdin: int | IO[bytes] | None = None) -> Command:
            command = Command(*arguments, home=home, **({} if stdin is None else {"stdin": stdin}))
            return stack.enter_context(command)

        yield start_one


@pytest.fixture
def room(server: str, request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options that lead into a room of the test's own."""
    return ("--server", server, "--room", request.node.name[:60])
