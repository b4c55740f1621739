"""The command as a process of its own, read line by line: no test waits for time to pass."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

HANG_S = 120.0
"Against a test that hangs: no machine is that slow."


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process left."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class _Stream:
    """The lines of one stream so far, and a way to wait for one."""

    def __init__(self, opened: IO[str]) -> None:
        self.lines: list[str] = []
        self._is_open = True
        self._changed = threading.Condition()
        self._opened = opened
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self._opened:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def first(self, fits: Callable[[str], bool]) -> str:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_open or any(map(fits, self.lines)), timeout=HANG_S)
            for line in self.lines:
                if fits(line):
                    return line
        raise AssertionError(f"no such line; there are:\n{self.text}")

    @property
    def text(self) -> str:
        return "".join(self.lines)


class Command:
    """``p2pshare`` with some arguments, running; ended at the end of the ``with`` block."""

    def __init__(
        self, *arguments: str | Path, home: Path, stdin: int | IO[bytes] = subprocess.DEVNULL
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2pshare", *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=environment(home),
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out = _Stream(self.process.stdout)
        self.err = _Stream(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin):
            if stream is not None:
                stream.close()

    def said(self, text: str) -> str:
        """The first line on standard error with this text."""
        return self.err.first(lambda line: text in line)

    def event(self, kind: str) -> dict[str, Any]:
        """The first event of a type, with ``--json``."""
        line = self.out.first(lambda line: line.startswith("{") and json.loads(line)["type"] == kind)
        event: dict[str, Any] = json.loads(line)
        return event

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def ended(self) -> Ended:
        """Wait for its end."""
        code = self.process.wait(timeout=HANG_S)
        for stream in (self.out, self.err):
            stream.thread.join(timeout=HANG_S)
        return Ended(code, self.out.text, self.err.text)


def environment(home: Path) -> dict[str, str]:
    """The user's environment with another home, and nothing in it that the command itself reads."""
    runtime = home / "run"
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_RUNTIME_DIR": str(runtime),
        "PYTHONUNBUFFERED": "1",
    }
    kept = {name: value for name, value in os.environ.items() if name not in ("P2PSHARE_SERVER", "COLUMNS")}
    return kept | ours
