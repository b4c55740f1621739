"""``p2pshare jobs``: what the running commands of this user are at, as their status files say."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from p2pshare.cli import words
from p2pshare.cli.display import write_line
from p2pshare.cli.status import Fields, processes
from p2pshare.errors import show
from p2pshare.model import Progress

_WIDE: Final = 1_000
"""Columns where no terminal sets a limit."""
_COLUMNS: Final = (
    ("pid", 76),
    ("command", 84),
    ("room", 110),
    ("peer", 0),
    ("state", 0),
    ("done", 0),
    ("speed", 60),
    ("left", 68),
    ("files", 96),
)
"""What a row has, and the width of a terminal from which it is shown."""
_LEFT: Final = ("command", "room", "peer")


def list_jobs(*, json: bool) -> int:
    """Print a table, or JSON lines: ``process`` for each command, then ``job`` for each of its jobs.

    A ``process`` has pid, command, server, room, name and since (Unix time); a ``job`` has pid, job,
    direction, peer, state (waiting, offered, active, paused, interrupted, or an outcome), bytes, size, rate,
    seconds_left, files_done and files.
    """
    found = processes()
    if json:
        for line in _lines(found):
            if not write_line(json_format.dumps(line)):
                break
    elif found:
        width = None if sys.stdout.isatty() else _WIDE
        console = Console(width=width, highlight=False)
        console.print(table(found, console.width))
    else:
        click.echo("no p2pshare of yours is running", err=True)
    return 0


def _lines(found: list[Fields]) -> Iterator[Fields]:
    for process in found:
        told = {name: process[name] for name in ("pid", "command", "server", "room", "name", "since")}
        yield {"type": "process", **told}
        for job in process["jobs"]:
            yield {"type": "job", "pid": process["pid"], **job}


def table(found: list[Fields], width: int) -> Table:
    """A row a job; a process without one has a row of its own. Text from peers is plain text, escaped.

    ``width`` is the terminal's: where it has no room for all columns, it shows the most important ones.
    """
    rows = Table(box=None, pad_edge=False, header_style="dim")
    shown = [width >= needed for _, needed in _COLUMNS]
    for name, needed in _COLUMNS:
        if width >= needed:
            rows.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
    for process in found:
        first = [str(process["pid"]), process["command"], show(process["room"])]
        cells = [[*first, *_cells(job)] for job in process["jobs"]]
        for row in cells or [[*first, "nothing runs", "", "", "", "", ""]]:
            rows.add_row(*(Text(cell) for cell, is_shown in zip(row, shown, strict=True) if is_shown))
    return rows


def _cells(job: Fields) -> list[str]:
    progress = Progress(job["bytes"], job["size"], job["files_done"], job["files"], job["rate"])
    is_moving = job["state"] == "active"
    return [
        f"{job['direction']} {show(job['peer'])}",
        job["state"],
        words.amount(progress),
        words.rate(progress.rate) if is_moving else "",
        words.duration(progress.seconds_left) if is_moving else "",
        words.files_done(progress),
    ]
