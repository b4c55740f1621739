"""A real terminal: a command in tmux, what its screen shows, and keys for it."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cli.processes import HANG_S, environment


class Screen:
    """``p2pshare`` with some arguments, in a terminal of its own; ended at the end of the ``with`` block."""

    def __init__(self, *arguments: str | Path, home: Path, columns: int = 100) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tmux-")
        self._socket = str(Path(self._folder.name) / "socket")
        self._environment = environment(home)
        fifo = str(Path(self._folder.name) / "output")
        os.mkfifo(fifo)
        self._output = os.open(fifo, os.O_RDWR)
        self.raw = b""
        "Everything that went to the terminal."
        command = shlex.join([sys.executable, "-m", "p2pshare", *map(str, arguments)])
        # The command begins when its output is watched; the shell outlives a Ctrl-C, and tells the exit code.
        modes = "stty -a | grep -q -e -icanon -e '-echo ' && echo terminal spoilt || echo terminal as it was"
        shell = f"read go; trap : INT; {command}; echo exit code $?; {modes}; exec cat"
        size = ("-x", str(columns), "-y", "40")
        self._tmux("-f", os.devnull, "new-session", "-d", "-s", "it", *size, "sh", "-c", shell)
        self._tmux("pipe-pane", "-t", "it", f"cat > {shlex.quote(fifo)}")
        self.type("go")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tmux("kill-server")
        os.close(self._output)
        self._folder.cleanup()

    def _tmux(self, *arguments: str) -> str:
        tmux = ["tmux", "-S", self._socket, *arguments]
        run = subprocess.run(
            tmux, env=self._environment, check=True, capture_output=True, text=True, timeout=HANG_S
        )
        return run.stdout

    def text(self) -> str:
        """What is on the screen now, wrapped lines joined."""
        return self._tmux("capture-pane", "-p", "-J", "-t", "it")

    def shows(self, *texts: str) -> str:
        """Wait for the screen to show all of these at once; return what it shows."""
        while True:
            seen = self.text()
            if all(text in seen for text in texts):
                return seen
            readable, _, _ = select.select([self._output], [], [], HANG_S)
            if not readable:
                raise AssertionError(f"the screen does not show {texts}, but\n{seen}")
            self.raw += os.read(self._output, 1 << 16)

    def type(self, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-t", "it", "-l", text)
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key, as tmux names it: ``C-c``."""
        self._tmux("send-keys", "-t", "it", key)
