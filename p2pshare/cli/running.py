"""How a command runs: its event loop, its signals, and what it says when something went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from p2pshare.cli.display import Display
from p2pshare.cli.exit_codes import ExitCode, exit_code, reason, sentence
from p2pshare.cli.interrupts import Interrupts, Press
from p2pshare.cli.keyboard import restore_terminals
from p2pshare.cli.moments import Ended, Failed
from p2pshare.errors import TransferCancelled, UploadError

logger = logging.getLogger(__name__)

Command = Callable[[Display, Interrupts], Awaitable[None]]

_SIGNALS: Final = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows knows no SIGHUP
_ONE_PRESS_S: Final = 0.5
"""Signals this close together are one: a terminal and a wrapping program may both pass on a Ctrl-C."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Of mallopt(3)."""
_OUR_LOGGERS: Final = ("p2pshare", "signaling")


def run(command: Command, display: Display) -> int:
    """Run a command to its end; return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels it, and it has the time to tell the other side; a second one
    ends the process at once. A command may have SIGINT cancel its jobs instead (`Interrupts`).
    """
    raise_file_limit()
    keep_memory()
    code = ExitCode.CANCELLED
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_run(command, display))
    except KeyboardInterrupt:  # where the loop knows no signals: Windows
        report(TransferCancelled("cancelled"), display)
    finally:
        display.tell(Ended(code))
        display.close()
        restore_terminals()
    return code


async def _run(command: Command, display: Display) -> ExitCode:
    interrupts = Interrupts()
    _cancel_on_signals(display, interrupts)
    try:
        await command(display, interrupts)
    except asyncio.CancelledError:
        error: BaseException = TransferCancelled("cancelled")
    except Exception as exc:  # the last line of defence: a person gets a sentence, never a traceback
        logger.debug("the command failed", exc_info=exc)
        error = exc
    else:
        return ExitCode.OK
    report(error, display)
    return exit_code(error)


def report(error: BaseException, display: Display) -> None:
    """Say what went wrong: a sentence, or one a recipient."""
    several: list[BaseException] = list(error.failures.values()) if isinstance(error, UploadError) else []
    for each in several or [error]:
        display.error(sentence(each))
        display.tell(Failed(each))


def _cancel_on_signals(display: Display, interrupts: Interrupts) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    last_at = float("-inf")

    def interrupted(number: int) -> None:
        nonlocal last_at
        is_new_wish = number != signal.SIGINT and not interrupts.is_ending
        if loop.time() - last_at <= _ONE_PRESS_S and not is_new_wish:
            return
        last_at = loop.time()
        match interrupts.press() if number == signal.SIGINT else interrupts.terminate():
            case Press.CANCELLED_JOBS:
                display.note("cancelling what runs (Ctrl-C again: all of it, at once)")
            case Press.END:
                _forget_terminal()
                display.note("cancelling (Ctrl-C again: at once)")
                if task is not None:
                    task.cancel()
            case Press.AT_ONCE:
                display.close()
                restore_terminals()
                os._exit(ExitCode.CANCELLED)

    # Closing the loop removes them; until then a signal must not raise in the middle of anything.
    for number in _SIGNALS:
        if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup's wish
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, interrupted, number)


def _forget_terminal() -> None:
    """Write to nowhere from now on, where the terminal is gone: whatever writes to it would fail."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed; None is asyncio's own."""
    if sys.platform == "win32":
        return None
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def raise_file_limit() -> None:
    """Allow this process as many open files as the system lets it have: each peer takes several."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems name a hard limit that they refuse
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_memory() -> None:
    """Have glibc's allocator keep what is freed, up to 64 MiB, for what comes next.

    By default it gives memory back to the system after each batch of a file and asks for it again: a
    process of our own may say otherwise, a library may not. File to file it costs a tenth of the CPU.
    """
    with contextlib.suppress(OSError, AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def set_up_logging(*, verbose: bool, display: Display) -> None:
    """Log everything of ours to standard error (verbose), or only warnings, each in a line of the display."""
    if verbose:
        logging.basicConfig(format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
        for name in _OUR_LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)
        return
    logging.getLogger().addHandler(logging.NullHandler())  # or logging prints warnings by itself
    for name in _OUR_LOGGERS:
        logging.getLogger(name).addHandler(_Warnings(display))


class _Warnings(logging.Handler):
    """Warnings for a person: a line, without the traceback."""

    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Show the message; of an exception, its sentence."""
        error = record.exc_info[1] if record.exc_info else None
        why = f": {reason(error)} (-v says more)" if error is not None else ""
        self._display.note(f"warning: {record.getMessage()}{why}")
