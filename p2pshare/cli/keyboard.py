"""Keys of a terminal, one by one, without blocking; and the terminal as it was, whatever happens.

Only where a person sees them: standard input and standard error are a terminal of which this process is
in the foreground. Windows has none.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from p2pshare.cli.stdin import STDIN, reopened

termios: ModuleType | None
try:
    import termios
except ImportError:  # Windows
    termios = None

_LOCAL_MODES: Final = 3
_CONTROL_CHARACTERS: Final = 6
"""Places in what tcgetattr(3) gives in Python."""

_saved: dict[int, list[Any]] = {}
"""How terminals were before we changed them, by descriptor."""


def restore_terminals() -> None:
    """Give every terminal back as it was. Idempotent, and never fails."""
    while _saved:
        descriptor, attributes = _saved.popitem()
        _set(descriptor, attributes)


atexit.register(restore_terminals)


class Keyboard:
    """Calls back for each key, from `start` to `stop`."""

    def __init__(self, on_key: Callable[[str], None], descriptor: int = STDIN) -> None:
        self._on_key = on_key
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._is_wanted = False
        self._is_on = False
        self._terminal = -1
        "The same terminal under a descriptor of our own, while keys are heard."

    @property
    def is_on(self) -> bool:
        """Whether keys are heard."""
        return self._is_on

    def start(self) -> None:
        """Listen, where there is a terminal of ours."""
        self._is_wanted = True
        self._switch_on()
        if self._is_on:
            with contextlib.suppress(NotImplementedError):
                self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)
                self._loop.add_signal_handler(signal.SIGCONT, self._continued)

    def stop(self) -> None:
        """Give the terminal back. Idempotent."""
        if self._is_wanted:
            self._is_wanted = False
            self._switch_off()
            for number in (getattr(signal, "SIGTSTP", None), getattr(signal, "SIGCONT", None)):
                if number is not None:
                    self._loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def as_lines(self) -> Iterator[None]:
        """Whole lines are typed meanwhile, as the answer to a question; what was typed before is dropped."""
        was_wanted, self._is_wanted = self._is_wanted, False
        self._switch_off()
        if termios is not None and _is_foreground(self._descriptor):
            with contextlib.suppress(termios.error):
                termios.tcflush(self._descriptor, termios.TCIFLUSH)
        try:
            yield
        finally:
            self._is_wanted = was_wanted
            if was_wanted:
                self._switch_on()

    def _switch_on(self) -> None:
        if termios is None or self._is_on or not _is_ours(self._descriptor):
            return
        try:
            attributes = termios.tcgetattr(self._descriptor)
            self._terminal = reopened(self._descriptor)
        except (termios.error, OSError):
            return
        self._loop.add_reader(self._terminal, self._read)
        changed = [*attributes[:_CONTROL_CHARACTERS], list(attributes[_CONTROL_CHARACTERS])]
        changed[_LOCAL_MODES] &= ~(termios.ICANON | termios.ECHO)  # Ctrl-C stays a signal
        changed[_CONTROL_CHARACTERS][termios.VMIN] = 1
        changed[_CONTROL_CHARACTERS][termios.VTIME] = 0
        _saved[self._descriptor] = attributes
        _set(self._descriptor, changed)
        self._is_on = True

    def _switch_off(self) -> None:
        if self._is_on:
            self._is_on = False
            self._loop.remove_reader(self._terminal)
            os.close(self._terminal)
            attributes = _saved.pop(self._descriptor, None)
            if attributes is not None:
                _set(self._descriptor, attributes)

    def _read(self) -> None:
        if not _is_ours(self._descriptor):  # in the background: a read would stop the process
            self._switch_off()
            return
        try:
            typed = os.read(self._terminal, 64)
        except BlockingIOError:
            return
        except OSError:
            typed = b""
        if not typed:
            self._switch_off()
        for key in typed.decode(errors="replace"):
            self._on_key(key)

    def _suspend(self) -> None:
        """Ctrl-Z: the shell gets its terminal as it was."""
        self._switch_off()
        self._loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)  # it stops here, until somebody wakes it
        self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)

    def _continued(self) -> None:
        if self._is_wanted:
            self._switch_on()


def _is_ours(descriptor: int) -> bool:
    """Whether it is a terminal that a person watches, and this process is in its foreground."""
    return sys.stderr.isatty() and _is_foreground(descriptor)


def _is_foreground(descriptor: int) -> bool:
    """A process in the background that touches the terminal is stopped for it."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, AttributeError):
        return False


def _set(descriptor: int, attributes: list[Any]) -> None:
    if termios is not None and _is_foreground(descriptor):
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)
