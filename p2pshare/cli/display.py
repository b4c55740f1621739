"""What a command shows while it runs: one of four displays, chosen by its options and its terminal.

Standard error is for people: bars on a terminal, lines elsewhere. Standard output holds results alone: the
paths of what was received, or with ``--json`` every event.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from p2pshare.events import Event


class Display:
    """The base, and what ``--quiet`` shows: results, errors and questions."""

    def note(self, text: str) -> None:
        """A line for a person. What a peer said in it has passed show()."""

    def tell(self, event: Event) -> None:
        """Something happened."""

    def result(self, path: Path) -> None:
        """Something was saved: a line for a script."""
        write_line(str(path))

    def error(self, text: str) -> None:
        """A sentence about what went wrong."""
        say(f"error: {text}")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While a question is asked, nothing else draws."""
        yield

    def close(self) -> None:
        """Leave the terminal as it was. Idempotent."""


def say(text: str) -> None:
    """A line to standard error; nothing where that is closed, for what else runs shall go on."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(text, err=True)


def write_line(text: str) -> bool:
    """A line to standard output, a path as the bytes that it is; False once nobody reads it any more."""
    try:
        click.echo(os.fsencode(text))
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # or Python complains about the pipe once more at exit
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True


def make_display(*, json: bool, quiet: bool, verbose: bool, is_log: bool = False) -> Display:
    """The display for these options and this terminal. Log lines (verbose) would tear bars apart.

    ``is_log``: what is said goes on for months, and without a terminal it is kept short.
    """
    if json:
        from p2pshare.cli.jsonlines import JsonLines

        return JsonLines()
    if quiet:
        return Display()
    if sys.stderr.isatty() and not verbose and os.environ.get("TERM") != "dumb":
        from p2pshare.cli.bars import Bars

        return Bars()
    from p2pshare.cli.plain import Log, Plain

    return Log() if is_log and not verbose and not sys.stderr.isatty() else Plain()
