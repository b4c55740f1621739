"""What peers offer: a table that outlives the connections on which the offers came.

An offer stands on one link at a time. When that is lost the offer rests, and its files are not available,
until its sender is back and offers it again under the same key: nobody is asked twice. One that has been
answered for good is remembered for as long as its session may come back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from p2pshare import events as ev
from p2pshare.errors import ConnectionLost, DownloadNotAvailable, P2PShareError, show_reason
from p2pshare.events import AvailableFile, Event, Offer
from p2pshare.model import ErrorCode, OfferedFile
from p2pshare.protocol import events as e
from p2pshare.protocol.states import LinkState
from p2pshare.session.link import Link, as_transfer_error

if TYPE_CHECKING:
    from p2pshare.session.download import Download

MAX_SETTLED: Final = 1_024
"""Answered offers that are remembered."""


@dataclass(eq=False, slots=True)
class Standing:
    """An offer of a peer, on whichever link it stands now."""

    offer: Offer
    key: bytes | None
    link: Link | None
    "None while its sender is away."
    number: int
    "The offer's, on the link."
    in_place: set[int] = field(default_factory=set)
    "Files that are verified and in place here."
    downloads: set[Download[object]] = field(default_factory=set)
    "Those that have not ended."
    is_withdrawn: bool = False
    "Nobody can begin a download any more; those that run go on."
    gone: P2PShareError | None = None
    "Why no download can go on any more."
    expiry: asyncio.TimerHandle | None = None
    is_available: bool = True
    "What the program was told last."
    _change: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        """Wake who waits for its sender."""
        self._change.set()
        self._change = asyncio.Event()

    def keep(self, indexes: Sequence[int], told_on: Link | None) -> None:
        """Files are in place: their sender hears of it, where no CONFIRM on its present link says so."""
        self.in_place.update(indexes)
        if indexes and self.link is not None and self.link is not told_on:
            self.link.core.downloads.keep(self.number, indexes)
            self.link.touch()

    async def on_link(self) -> Link:
        """The link on which it stands, as soon as its sender is there.

        Raises:
            P2PShareError: What became of it: its sender did not come back, or closed its session.
        """
        while True:
            if self.gone is not None:
                raise self.gone
            if self.link is not None and self.link.is_open:
                return self.link
            await self._change.wait()


@dataclass(frozen=True, slots=True)
class _Settled:
    """How an offer was answered that is no longer in the table."""

    in_place: frozenset[int]
    declined: tuple[int, str] | None


class OfferTable:
    """All offers of all peers of a session."""

    def __init__(self, emit: Callable[[Event], bool], *, reconnect_timeout_s: float) -> None:
        self._emit = emit
        self._timeout_s = reconnect_timeout_s
        self._ids = itertools.count(1)
        self._standing: dict[int, Standing] = {}
        self._settled: OrderedDict[tuple[str, bytes], _Settled] = OrderedDict()

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Those that can be accepted now."""
        return tuple(each.offer for each in self._available())

    @property
    def files(self) -> tuple[AvailableFile, ...]:
        """Every file of those."""
        return tuple(file for each in self._available() for file in each.offer.files)

    def _available(self) -> Iterable[Standing]:
        return (each for each in self._standing.values() if each.is_available)

    def get(self, offer_id: int) -> Standing | None:
        """An offer by the session's number for it; None where it cannot be accepted now."""
        standing = self._standing.get(offer_id)
        return standing if standing is not None and standing.is_available else None

    # From links ----------------------------------------------------------------------------------------

    def received(self, link: Link, event: e.OfferReceived) -> Offer | None:
        """An offer is complete: returned if it is new, and not one of before that is here again."""
        standing = self._find(link.peer, event)
        if standing is not None:
            self._back(standing, link, event)
            return None
        settled = self._settled.get((link.peer, event.key)) if event.key is not None else None
        if settled is not None:
            link.core.downloads.keep(event.offer, sorted(settled.in_place))
            if settled.declined is not None:
                link.core.downloads.decline(event.offer, *settled.declined)
            if settled.declined is not None or len(settled.in_place) == len(event.files):
                return None
        offer_id = next(self._ids)
        files = tuple(AvailableFile(offer_id, link.peer, file) for file in event.files)
        offer = Offer(offer_id, link.peer, files, event.message)
        standing = Standing(offer, event.key, link, event.offer)
        if settled is not None:
            standing.in_place.update(settled.in_place)
        self._standing[offer_id] = standing
        self._emit(ev.FileOffered(offer))
        for file in files:
            self._emit(ev.FileAvailable(file))
        return offer

    def _find(self, peer: str, event: e.OfferReceived) -> Standing | None:
        for standing in self._standing.values():
            if standing.offer.peer != peer:
                continue
            if event.key is not None and standing.key == event.key and _files(standing.offer) == event.files:
                return standing
            if standing.link is None and standing.downloads and _goes_on_with(standing, event.files):
                return standing
        return None

    def _back(self, standing: Standing, link: Link, event: e.OfferReceived) -> None:
        if standing.expiry is not None:
            standing.expiry.cancel()
        standing.link, standing.number, standing.key = link, event.offer, event.key
        link.core.downloads.keep(event.offer, sorted(standing.in_place))
        standing.changed()
        if not standing.is_available and not standing.is_withdrawn:
            standing.is_available = True
            for file in standing.offer.files:
                self._emit(ev.FileAvailable(file))

    def withdrawn(self, link: Link, event: e.OfferWithdrawn) -> None:
        """A sender took an offer back."""
        if link.core.state is LinkState.CLOSED:
            return  # link_closed() follows, and knows whether it may come back
        standing = self._on(link, event.offer)
        if standing is not None:
            self.end(standing, show_reason(event.reason))

    def link_closed(self, link: Link, error: P2PShareError) -> None:
        """A link is gone: its offers rest where it was lost, and end where it was closed."""
        for standing in [each for each in self._standing.values() if each.link is link]:
            standing.link = None
            if isinstance(error, ConnectionLost) and self._timeout_s > 0:
                self._make_unavailable(standing, str(error))
                loop = asyncio.get_running_loop()
                standing.expiry = loop.call_later(self._timeout_s, self._lose, standing, error)
            else:
                self._lose(standing, error)

    def _lose(self, standing: Standing, error: P2PShareError) -> None:
        standing.gone = as_transfer_error(error)
        standing.link = None
        self._remove(standing)
        self._make_unavailable(standing, str(error))
        standing.changed()

    def _on(self, link: Link, number: int) -> Standing | None:
        found = (each for each in self._standing.values() if each.link is link and each.number == number)
        return next(found, None)

    # From the program ----------------------------------------------------------------------------------

    def decline(self, standing: Standing, code: int, reason: str) -> None:
        """Decline an offer, or what is left of it; its sender is told, now or when it is back."""
        if standing.link is not None:
            standing.link.core.downloads.decline(standing.number, code, reason)
            standing.link.touch()
        if standing.key is not None:
            self._settle(standing, (code, reason))
        self.end(standing, reason or "declined")

    def give_up(self, standing: Standing, indexes: Sequence[int], reason: str) -> None:
        """A download of these files was cancelled before its sender heard of it: the files are declined."""
        if len(indexes) == len(standing.offer.files):
            self.decline(standing, ErrorCode.CANCELLED, reason)
        elif standing.link is not None:
            standing.link.core.downloads.decline_files(standing.number, indexes, ErrorCode.CANCELLED, reason)
            standing.link.touch()

    def end(self, standing: Standing, reason: str) -> None:
        """Nobody can begin a download any more; those that run go on."""
        self._make_unavailable(standing, reason)
        standing.is_withdrawn = True
        if not standing.downloads:
            self._remove(standing)

    def download_ended(self, standing: Standing, download: Download[object]) -> None:
        """A download has its outcome."""
        standing.downloads.discard(download)
        if standing.is_withdrawn and not standing.downloads:
            self._remove(standing)

    def close(self) -> None:
        """The session is over: no timer is left, and nobody waits for ever."""
        for standing in list(self._standing.values()):
            if standing.expiry is not None:
                standing.expiry.cancel()
            standing.gone = standing.gone or DownloadNotAvailable("the session was closed")
            standing.changed()

    def _make_unavailable(self, standing: Standing, reason: str) -> None:
        if standing.is_available:
            standing.is_available = False
            for file in standing.offer.files:
                self._emit(ev.FileUnavailable(file, reason))

    def _remove(self, standing: Standing) -> None:
        self._standing.pop(standing.offer.id, None)
        if standing.expiry is not None:
            standing.expiry.cancel()
        if standing.key is not None and standing.in_place:
            self._settle(standing, None)

    def _settle(self, standing: Standing, declined: tuple[int, str] | None) -> None:
        assert standing.key is not None
        at = standing.offer.peer, standing.key
        known = self._settled.pop(at, None)
        if known is not None:
            declined = declined or known.declined
        self._settled[at] = _Settled(frozenset(standing.in_place), declined)
        if len(self._settled) > MAX_SETTLED:
            self._settled.popitem(last=False)


def _files(offer: Offer) -> tuple[OfferedFile, ...]:
    return tuple(file.file for file in offer.files)


def _goes_on_with(standing: Standing, files: Sequence[OfferedFile]) -> bool:
    """Whether another offer has, at the same indexes, all that the running downloads lack.

    Its sender was restarted: the source's id, which only it and who was offered the file have heard, and the
    size and time tell that it is the same file.
    """
    lacking = [file for download in standing.downloads for file in download.lacking]
    return bool(lacking) and all(
        file.index < len(files)
        and file.source_id is not None
        and (file.source_id, file.path, file.size, file.mtime_ns)
        == (
            files[file.index].source_id,
            files[file.index].path,
            files[file.index].size,
            files[file.index].mtime_ns,
        )
        for file in lacking
    )
