"""Where offers come in, are taken by rule or asked about one by one, and become downloads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2pshare import events as ev
from p2pshare.cli import words
from p2pshare.cli.admission import Admission
from p2pshare.cli.consent import NO_TERMINAL, Consent, can_ask
from p2pshare.cli.display import Display
from p2pshare.cli.downloading import Downloading
from p2pshare.cli.keyboard import Keyboard
from p2pshare.cli.moments import OfferSettled
from p2pshare.cli.running import report
from p2pshare.errors import (
    ConnectionLost,
    OfferDeclined,
    P2PShareError,
    SharingNotAvailable,
    TransferCancelled,
    show,
    show_reason,
)
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import FileKind
from p2pshare.session import Accept, Decline, Session
from p2pshare.session.link import Link, as_transfer_error

if TYPE_CHECKING:
    from p2pshare.cli.receive import ReceiveOptions

logger = logging.getLogger(__name__)

TAKES_ONE: Final = "takes one offer, and has one already"
ONE_FILE: Final = "one file is taken here"


class _News:
    """What becomes of an offer while it is asked about; the newest counts."""

    def __init__(self, link: Link | None) -> None:
        self.link = link
        "On which it came."
        self._queue: asyncio.Queue[P2PShareError | None] = asyncio.Queue()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened that was not heard of."""
        return self._queue.empty()

    def put(self, error: P2PShareError | None) -> None:
        """It cannot be taken now, for this reason; None: it can, again."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(error)

    async def get(self) -> P2PShareError | None:
        """Wait for the next."""
        return await self._queue.get()


class Desk:
    """Deals with the offers of a session."""

    def __init__(
        self,
        session: Session,
        options: ReceiveOptions,
        display: Display,
        downloading: Downloading,
        keyboard: Keyboard,
    ) -> None:
        self._session = session
        self._options = options
        self._display = display
        self._downloading = downloading
        wishes = options.wishes
        # What no rule takes is asked about where there is somebody to ask.
        self._admission = Admission(replace(wishes, asks=wishes.asks and (can_ask() or not wishes.has_rules)))
        self._offers: asyncio.Queue[Offer] = asyncio.Queue()
        self._news: dict[int, _News] = {}
        "For each offer that is being asked about."
        self._running: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Lock()
        self._consent: Consent | None = None
        if options.wishes.asks and can_ask():
            place = "to be written to standard output"
            if not options.to_stdout:
                place = f"to be saved in {options.folder.absolute()}"
            self._consent = Consent(display, place, keyboard)
        elif options.wishes.asks and not options.wishes.has_rules:
            display.note(f"warning: {NO_TERMINAL}")
        session.on(ev.FileOffered, lambda event: self._offers.put_nowait(event.offer))
        session.on(ev.FileUnavailable, self._unavailable)
        session.on(ev.FileAvailable, self._available)

    async def take_one(self) -> None:
        """Deal with the first offer that the options do not leave out; decline all others."""
        try:
            async with asyncio.timeout(self._options.timeout_s) as timer:
                while True:
                    offer = await self._offers.get()
                    decision = await self._admission.decide(offer)
                    if not isinstance(decision, Decline):
                        timer.reschedule(None)
                        break
                    self._leave_out(offer, decision)
        except TimeoutError:
            raise SharingNotAvailable("nobody offered anything") from None
        while not self._offers.empty():
            self._session.decline(self._offers.get_nowait(), TAKES_ONE)
        self._session.on(ev.FileOffered, lambda event: self._session.decline(event.offer, TAKES_ONE))
        await self._take(offer, decision)

    async def take_all(self, stop: asyncio.Event) -> bool:
        """Ask about offers one by one, download side by side, until cancelled or nothing more comes.

        ``stop`` has it take no more, and wait for what runs. Returns whether an offer has come.
        """
        has_come = False
        async with asyncio.TaskGroup() as tasks:
            while (offer := await self._next_offer(stop)) is not None:
                has_come = True
                dealing = tasks.create_task(self._deal(offer), name="dealing with an offer")
                self._running.add(dealing)
                dealing.add_done_callback(self._running.discard)
        return has_come

    async def _next_offer(self, stop: asyncio.Event) -> Offer | None:
        """The next offer; None where none has come in time, counted while nothing runs, or at the stop."""
        coming = asyncio.ensure_future(self._offers.get())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not coming.done():
                timeout_s = None if self._running else self._options.timeout_s
                done, _ = await asyncio.wait(
                    [coming, stopping, *self._running],
                    timeout=timeout_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done or stopping in done:
                    return None
            return coming.result()
        finally:
            coming.cancel()
            stopping.cancel()

    async def _deal(self, offer: Offer) -> None:
        """Whatever becomes of an offer, the next ones are taken."""
        try:
            decision = await self._admission.decide(offer)
            if isinstance(decision, Decline):
                self._leave_out(offer, decision)
            else:
                await self._take(offer, decision)
        except Exception as error:  # a fault of ours, or of a terminal that is gone, must not end the watch
            if not isinstance(error, P2PShareError):
                logger.debug("dealing with an offer failed", exc_info=error)
            report(error, self._display)

    def _leave_out(self, offer: Offer, decision: Decline) -> None:
        """Decline what the options leave out: whoever waits for an offer goes on waiting."""
        self._session.decline(offer, decision.reason, code=decision.code)
        self._display.tell(OfferSettled(offer.id, offer.peer, "declined"))
        self._display.note(f"declined {_described(offer)}: {decision.reason}")

    async def _take(self, offer: Offer, decision: Accept | None) -> None:
        """Ask where there is no decision yet; download. Raises P2PShareError."""
        files = self._admission.wanted(offer) if decision is None else decision.files or offer.files
        if self._options.to_stdout and (len(files) > 1 or files[0].file.kind is not FileKind.FILE):
            what = words.files(len(files)) if len(files) > 1 else "no file"
            here = f"{show(offer.peer)} offers {what}, and --stdout takes one file: choose it with --only"
            raise self._decline(offer, here, ONE_FILE)
        if decision is None:
            files = await self._ask(replace(offer, files=tuple(files)), offer)
        await self._downloading.fetch(offer, files)

    # Asking --------------------------------------------------------------------------------------------

    async def _ask(self, seen: Offer, offer: Offer) -> Sequence[AvailableFile]:
        """The files that a person wants. Raises OfferDeclined for none, or why the offer is gone."""
        if self._consent is None:
            raise self._decline(offer, NO_TERMINAL, "nobody is there to ask")
        if self._asking.locked():
            self._display.note(f"{_described(offer)} waits for an answer, too")
        news = self._news[offer.id] = _News(self._session.links.get(offer.peer))
        try:
            async with self._asking:
                if offer not in self._session.offers and news.is_empty:
                    raise SharingNotAvailable(f"the offer of {show(offer.peer)} is gone")
                while (files := await self._answer(seen, news)) is None:
                    pass
        except P2PShareError as error:
            self._display.tell(OfferSettled(offer.id, offer.peer, str(error)))
            raise
        finally:
            del self._news[offer.id]
        if not files:
            raise self._decline(offer, f"the offer of {show(offer.peer)} was declined here", "")
        return files

    async def _answer(self, offer: Offer, news: _News) -> Sequence[AvailableFile] | None:
        """What the person says; None: ask again, after the sender was lost and has come back."""
        assert self._consent is not None
        asking = asyncio.ensure_future(self._consent.ask(offer))
        changing = asyncio.ensure_future(news.get())
        try:
            await asyncio.wait([asking, changing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changing.cancel()
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
        if not changing.done() or changing.cancelled():
            return asking.result()
        error = changing.result()
        if error is None:
            return None
        timeout_s = self._session.limits.reconnect_timeout_s
        if not isinstance(error, ConnectionLost) or timeout_s <= 0:
            raise error
        self._display.note(f"the connection was lost, waiting for {show(offer.peer)} to come back")
        try:
            async with asyncio.timeout(timeout_s):
                while (newer := await news.get()) is not None:
                    if not isinstance(newer, ConnectionLost):
                        raise newer
        except TimeoutError:
            raise error from None
        return None

    def _decline(self, offer: Offer, here: str, there: str) -> OfferDeclined:
        self._session.decline(offer, there)
        self._display.tell(OfferSettled(offer.id, offer.peer, "declined"))
        return OfferDeclined(here)

    def _unavailable(self, event: ev.FileUnavailable) -> None:
        news = self._news.get(event.file.offer_id)
        if news is None:
            return
        peer, error = event.file.peer, news.link.error if news.link is not None else None
        if news.link is not None and error is None:
            news.put(TransferCancelled(show_reason(event.reason), peer=peer, remote=True))
        else:
            news.put(as_transfer_error(error or SharingNotAvailable(f"{show(peer)} is gone")))

    def _available(self, event: ev.FileAvailable) -> None:
        news = self._news.get(event.file.offer_id)
        if news is not None:
            news.link = self._session.links.get(event.file.peer)
            news.put(None)


def _described(offer: Offer) -> str:
    return f"the offer of {show(offer.peer)} ({words.files(len(offer.files))}, {words.size(offer.size)})"
