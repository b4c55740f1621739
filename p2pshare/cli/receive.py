"""``p2pshare receive``: take what is offered in a room, after asking."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pshare import events as ev
from p2pshare.cli.consent import NO_TERMINAL, Consent, can_ask
from p2pshare.cli.display import Display
from p2pshare.cli.moments import OfferSettled
from p2pshare.cli.room import Place, deadline_in, in_room
from p2pshare.cli.running import report
from p2pshare.errors import (
    OfferDeclined,
    P2PShareError,
    SaveFailed,
    SharingNotAvailable,
    StorageAccessDenied,
    TransferCancelled,
    show,
    show_reason,
)
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import Limits
from p2pshare.session import Session
from p2pshare.session.link import as_transfer_error

TAKES_ONE: Final = "takes one offer, and has one already"
THE_REST: Final = "the rest is not wanted"
LEAVING: Final = "left without an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveOptions:
    """What was asked for."""

    server: str
    room: str
    name: str | None
    folder: Path
    asks: bool
    "Whether a person is asked; else everything is taken."
    watches: bool
    "Whether it goes on after the first offer."
    max_size: int | None
    "Bytes of one file at most."
    timeout_s: float | None
    "For an offer to come; with ``watches``, for another one while nothing runs."


async def receive(options: ReceiveOptions, display: Display) -> None:
    """Receive.

    Raises the first offer's error; with ``watches`` it reports errors and goes on until it is cancelled, or
    raises SharingNotAvailable where nothing was received in time.
    """
    _check_folder(options.folder)
    place = Place(server=options.server, room=options.room, name=options.name)
    limits = Limits() if options.max_size is None else Limits(max_file_size=options.max_size)
    async with in_room(place, display, folder=options.folder, limits=limits) as session:
        desk = _Desk(session, options, display)
        display.note("waiting for somebody to send (Ctrl-C cancels)")
        try:
            await (desk.take_all() if options.watches else desk.take_one())
        except asyncio.CancelledError:
            for offer in session.offers:
                session.decline(offer, LEAVING)
            raise


def _check_folder(folder: Path) -> None:
    """Complain about a folder that cannot be written to before anybody is bothered."""
    nearest = folder.absolute()
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise StorageAccessDenied("not a folder", file=str(folder))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageAccessDenied("no permission to write there", file=str(folder))


class _Desk:
    """Where offers come in, are asked about one by one, and become downloads."""

    def __init__(self, session: Session, options: ReceiveOptions, display: Display) -> None:
        self._session = session
        self._options = options
        self._display = display
        self._offers: asyncio.Queue[Offer] = asyncio.Queue()
        self._gone: dict[int, asyncio.Future[P2PShareError]] = {}
        "For each offer that is being asked about: set when it cannot be taken any more, to the reason."
        self._running: set[asyncio.Task[None]] = set()
        self._has_received = False
        self._consent: Consent | None = None
        if options.asks and can_ask():
            self._consent = Consent(display, options.folder)
        elif options.asks:
            display.note(f"warning: {NO_TERMINAL}")
        session.on(ev.FileOffered, lambda event: self._offers.put_nowait(event.offer))
        session.on(ev.FileUnavailable, self._unavailable)

    async def take_one(self) -> None:
        """Deal with the first offer; decline all others."""
        try:
            async with asyncio.timeout_at(deadline_in(self._options.timeout_s)):
                offer = await self._offers.get()
        except TimeoutError:
            raise SharingNotAvailable("nobody offered anything") from None
        while not self._offers.empty():
            self._session.decline(self._offers.get_nowait(), TAKES_ONE)
        self._session.on(ev.FileOffered, lambda event: self._session.decline(event.offer, TAKES_ONE))
        await self._download(offer, await self._decide(offer))

    async def take_all(self) -> None:
        """Ask about offers one by one, download side by side, until cancelled or nothing more comes."""
        has_come = False
        async with asyncio.TaskGroup() as tasks:
            while (offer := await self._next_offer()) is not None:
                has_come = True
                try:
                    files = await self._decide(offer)
                except P2PShareError as error:
                    report(error, self._display)
                    continue
                download = tasks.create_task(self._download_or_report(offer, files))
                self._running.add(download)
                download.add_done_callback(self._running.discard)
        if not self._has_received:
            raise SharingNotAvailable("nothing was received" if has_come else "nobody offered anything")

    async def _next_offer(self) -> Offer | None:
        """The next offer; None where none has come in time, counted while no download runs."""
        coming = asyncio.ensure_future(self._offers.get())
        try:
            while not coming.done():
                timeout_s = None if self._running else self._options.timeout_s
                done, _ = await asyncio.wait(
                    [coming, *self._running], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    return None
            return coming.result()
        finally:
            coming.cancel()

    async def _decide(self, offer: Offer) -> Sequence[AvailableFile]:
        """The files that are wanted. Raises OfferDeclined for none, or why the offer is gone."""
        if not self._options.asks:
            return offer.files
        if self._consent is None:
            raise self._decline(offer, NO_TERMINAL, "nobody is there to ask")
        gone = self._gone[offer.id] = asyncio.get_running_loop().create_future()
        asking = asyncio.ensure_future(self._consent.ask(offer))
        try:
            if offer not in self._session.offers:
                raise SharingNotAvailable(f"the offer of {show(offer.peer)} is gone")
            await asyncio.wait([asking, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._gone[offer.id]
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
        if gone.done():
            error = gone.result()
            self._display.tell(OfferSettled(offer.id, offer.peer, str(error)))
            raise error
        if not asking.result():
            raise self._decline(offer, f"the offer of {show(offer.peer)} was declined here", "")
        return asking.result()

    def _decline(self, offer: Offer, here: str, there: str) -> OfferDeclined:
        self._session.decline(offer, there)
        self._display.tell(OfferSettled(offer.id, offer.peer, "declined"))
        return OfferDeclined(here)

    def _unavailable(self, event: ev.FileUnavailable) -> None:
        gone = self._gone.get(event.file.offer_id)
        if gone is None or gone.done():
            return
        peer = event.file.peer
        link = self._session.links.get(peer)
        if link is not None and link.error is None:
            why = show_reason(event.reason)
            gone.set_result(TransferCancelled(why, peer=peer, remote=True))
        else:
            error = link.error if link is not None else None
            gone.set_result(as_transfer_error(error or SharingNotAvailable(f"{show(peer)} is gone")))

    async def _download_or_report(self, offer: Offer, files: Sequence[AvailableFile]) -> None:
        try:
            await self._download(offer, files)
        except P2PShareError as error:
            report(error, self._display)

    async def _download(self, offer: Offer, files: Sequence[AvailableFile]) -> None:
        try:
            await asyncio.to_thread(_make_folder, self._options.folder)
            paths = await self._session.download_files(files)
        except P2PShareError as error:
            # Of what failed before the sender was asked for a byte it does not know yet.
            self._session.decline(offer, error.reason, code=int(error.code))
            raise
        if len(files) < len(offer.files):
            self._session.decline(offer, THE_REST)
        self._has_received = True
        for path in outermost(paths, self._options.folder):
            self._display.result(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SaveFailed(f"the folder cannot be made: {exc.strerror}") from exc


def outermost(paths: Sequence[Path], folder: Path) -> list[Path]:
    """What is new in the folder itself: files, and folders in place of all that they hold."""
    spellings = (folder, folder.absolute(), folder.resolve())
    tops: dict[Path, None] = {}
    for path in paths:
        inner = next((path.relative_to(base) for base in spellings if path.is_relative_to(base)), None)
        tops[folder / inner.parts[0] if inner is not None and inner.parts else path] = None
    return list(tops)
