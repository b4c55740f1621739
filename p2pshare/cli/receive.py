"""``p2pshare receive``: take what is offered in a room, after asking or by rule."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pshare.cli.admission import Wishes
from p2pshare.cli.desk import Desk
from p2pshare.cli.display import Display
from p2pshare.cli.downloading import Downloading
from p2pshare.cli.interrupts import Interrupts
from p2pshare.cli.pausing import keys
from p2pshare.cli.room import Place, in_room, limits_of
from p2pshare.cli.running import report
from p2pshare.errors import SharingNotAvailable, SignalingFailed, StorageAccessDenied
from p2pshare.model import Conflict
from signaling.errors import NameTaken, NotAllowed, SignalingError

RETRY_FIRST_S: Final = 1.0
RETRY_AT_MOST_S: Final = 60.0
"""A receiver that watches tries again to come into its room after such times, a little shaken."""
LEAVING: Final = "left without an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveOptions:
    """What was asked for."""

    server: str
    room: str
    name: str | None
    folder: Path
    wishes: Wishes
    watches: bool
    "Whether it goes on after the first offer."
    max_size: int | None
    "Bytes of one file at most."
    timeout_s: float | None
    "For an offer to come; with ``watches``, for another one while nothing runs."
    conflict: Conflict = Conflict.RENAME
    keep_executable: bool = False
    keep_links: bool = False
    to_stdout: bool = False
    "One file goes to standard output instead."
    rate: int | None = None
    "Bytes a second, of all downloads together."
    reconnect_timeout_s: float | None = None
    "For a sender whose connection was lost to come back; None: as the library has it."
    again: str = "p2pshare receive"
    "What to type to go on with what was broken off."


async def receive(options: ReceiveOptions, display: Display, interrupts: Interrupts) -> None:
    """Receive.

    Raises the first offer's error; with ``watches`` it reports errors and goes on until it is cancelled, or
    raises SharingNotAvailable where nothing was received in time.
    """
    if not options.to_stdout:
        _check_folder(options.folder)
    if not options.watches:
        await _Visit(options, display, interrupts).receive()
        return
    wait_s, visit = RETRY_FIRST_S, _Visit(options, display, interrupts)
    while True:
        try:
            if await visit.receive():
                return
            wait_s = RETRY_FIRST_S  # the server let us in, and later no more
        except SignalingFailed as error:
            is_final = isinstance(error.__cause__, NameTaken | NotAllowed) and not visit.was_in
            if is_final:
                raise
            if wait_s == RETRY_FIRST_S:
                report(error, display)
                display.note("waiting for the signaling server to let us in (Ctrl-C cancels)")
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
        wait_s = min(2 * wait_s, RETRY_AT_MOST_S)


class _Visit:
    """Being in the room, once or, for who watches, as often as it takes."""

    def __init__(self, options: ReceiveOptions, display: Display, interrupts: Interrupts) -> None:
        self._options = options
        self._display = display
        self._interrupts = interrupts
        self.was_in = False
        "Whether the server has let us in before."
        self.has_received = False

    async def receive(self) -> bool:
        """Come in and take offers; False where the server has let us in no more."""
        options, display = self._options, self._display
        refused = asyncio.Event()

        def on_refused(_: SignalingError) -> None:
            refused.set()

        limits = limits_of(max_file_size=options.max_size, reconnect_timeout_s=options.reconnect_timeout_s)
        place = Place(server=options.server, room=options.room, name=options.name)
        async with in_room(
            place,
            display,
            command="receive",
            folder=options.folder,
            limits=limits,
            interrupts=self._interrupts,
            on_refused=on_refused,
        ) as session:
            self.was_in = True
            session.download_rate_limit = options.rate
            downloading = Downloading(session, display, options)
            # A pager at the other end of a pipe has the keys for itself.
            with keys(session, display, is_wanted=not options.to_stdout) as keyboard:
                desk = Desk(session, options, display, downloading, keyboard)
                display.note("waiting for somebody to send (Ctrl-C cancels)")
                try:
                    if options.watches:
                        self._interrupts.jobs = lambda: list(session.downloads.values())
                        has_come = await desk.take_all(refused)
                    else:
                        await desk.take_one()
                        return True
                except asyncio.CancelledError:
                    downloading.abandon()
                    for offer in session.offers:
                        session.decline(offer, LEAVING)
                    if not self._interrupts.is_persons_wish and any(
                        map(downloading.has_parts, session.downloads.values())
                    ):
                        display.note(downloading.how_to_go_on)
                    raise
                finally:
                    self._interrupts.jobs = None
        self.has_received |= downloading.has_received
        if refused.is_set():
            return False
        if not self.has_received:
            raise SharingNotAvailable("nothing was received" if has_come else "nobody offered anything")
        return True


def _check_folder(folder: Path) -> None:
    """Complain about a folder that cannot be written to before anybody is bothered."""
    nearest = folder.absolute()
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise StorageAccessDenied("not a folder", file=str(folder))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageAccessDenied("no permission to write there", file=str(folder))
