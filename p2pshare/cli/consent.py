"""The question before anything is written: who offers what, and does the person want it?

Everything in it is a stranger's word: names, sizes, the message. All of it passes `show()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Sequence
from typing import Final

import click

from p2pshare.cli import words
from p2pshare.cli.display import Display
from p2pshare.cli.keyboard import Keyboard
from p2pshare.cli.stdin import Lines
from p2pshare.errors import show, show_reason
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import FileKind

LISTED_AT_ONCE: Final = 200
"""Files listed before the question; of more, "l" lists the rest."""

NO_TERMINAL: Final = "nobody is there to ask: --accept ask needs a terminal, --accept all takes everything"

_HELP: Final = "y takes everything, n declines, numbers such as 1,3-5 take these files"
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def can_ask() -> bool:
    """Whether there is somebody at a terminal, to read the question and to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


class Consent:
    """Asks a person, one offer at a time."""

    def __init__(self, display: Display, place: str, keyboard: Keyboard | None = None) -> None:
        """``place`` says where the files would go; ``keyboard`` hears keys while no question is asked."""
        self._display = display
        self._place = place
        self._keyboard = keyboard
        self._lines = Lines()

    async def ask(self, offer: Offer) -> Sequence[AvailableFile]:
        """Show an offer; return the files that are wanted, none for no."""
        files = offer.files
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._display.paused())
            if self._keyboard is not None:
                stack.enter_context(self._keyboard.as_lines())
            _write(*listing(files[:LISTED_AT_ONCE]))
            if len(files) > LISTED_AT_ONCE:
                _write(f"  ... and {len(files) - LISTED_AT_ONCE:,} more, l lists them")
            _write(*summary(offer, self._place))
            self._lines.forget()
            while True:
                answer = await self._answer("y/n" if len(files) == 1 else "y/n/numbers")
                if answer == "l":
                    _write(*listing(files[LISTED_AT_ONCE:], first=LISTED_AT_ONCE + 1))
                    _write(*summary(offer, self._place))
                    continue
                chosen = choice(answer, len(files))
                if chosen is not None:
                    return [files[number] for number in chosen]
                _write(_HELP)

    async def _answer(self, choices: str) -> str:
        """What the person types; the end of the input is a no."""
        click.echo(f"Accept? [{choices}] ", nl=False, err=True)
        try:
            answer = await self._lines.next()
        except asyncio.CancelledError:
            _write("")  # whatever is said next does not belong on the question's line
            raise
        if answer is None:
            _write("")
            return "n"
        return answer.strip().lower()


def listing(files: Sequence[AvailableFile], first: int = 1) -> list[str]:
    """A line for each file: its number, size and path."""
    width = len(str(first + len(files)))
    return [
        f"  {number:>{width}}  {_size(each):>10}  {show(each.path)}"
        for number, each in enumerate(files, first)
    ]


def summary(offer: Offer, place: str) -> list[str]:
    """Who offers how much, with which words, and where it would go."""
    folders = sum(each.file.kind is FileKind.DIRECTORY for each in offer.files)
    count = words.files(len(offer.files) - folders, folders)
    told = [f"{show(offer.peer)} offers {count}, {words.size(offer.size)}; {place}"]
    if offer.message:
        told.append(f"{show(offer.peer)} says: {show_reason(offer.message)}")
    return told


def choice(answer: str, count: int) -> list[int] | None:
    """What an answer chooses of so many files, counted from 0; None where it says nothing that we know."""
    answer = answer.strip().lower()
    if answer in ("y", "yes"):
        return list(range(count))
    if answer in ("n", "no"):
        return []
    chosen: set[int] = set()
    for part in answer.replace(",", " ").split():
        match = _RANGE.fullmatch(part)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            return None
        chosen.update(range(first - 1, last))
    return sorted(chosen) or None


def _size(file: AvailableFile) -> str:
    if file.file.kind is FileKind.DIRECTORY:
        return "folder"
    return "unknown" if file.size is None else words.size(file.size)


def _write(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)
