"""A session: this program's place among its peers, and everything it shares with them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, overload
from weakref import WeakSet

import platformdirs

from p2pshare import events as ev
from p2pshare.errors import (
    P2PShareError,
    RemoteProtocolError,
    SharingNotAvailable,
    UploadError,
    show,
    show_reason,
)
from p2pshare.events import AvailableFile, Event, Offer
from p2pshare.model import EVERYONE, ErrorCode, Limits, OfferedFile, Recipients
from p2pshare.protocol import events as e
from p2pshare.protocol.core import CoreConfig
from p2pshare.protocol.schema import MAX_TEXT
from p2pshare.rtc import Channels, accelerate
from p2pshare.session.budget import PROCESS_BUDGET, MemoryBudget
from p2pshare.session.dispatch import Dispatcher
from p2pshare.session.download import Download, bytes_of, list_of_bytes, list_of_paths, path_of
from p2pshare.session.link import Link, as_transfer_error
from p2pshare.session.room import Room
from p2pshare.session.tasks import TaskSet
from p2pshare.session.upload import Delivery, Upload
from p2pshare.storage import FolderSink, MemorySink, Sink, SourceLike, close_sources, list_sources

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

logger = logging.getLogger(__name__)
E = TypeVar("E", bound=Event)
T = TypeVar("T")
PathLike = str | os.PathLike[str]

FLUSH_TIMEOUT_S: Final = 2.0
"""Seconds that a closing link waits for the peer to have the last message."""
STORE_TIMEOUT_S: Final = 10.0
"""Seconds that a closing session waits for disks to take what is being written."""
_MAX_REFUSED_NAMES: Final = 3

_attached: WeakSet[RTCPeerConnection] = WeakSet()


class _DownloadDir:
    """The type of the default of ``save_to``."""

    def __repr__(self) -> str:
        return "the session's download_dir"


_DOWNLOAD_DIR: Final = _DownloadDir()


class Session:
    """Sharing with peers: of a room (`join`), of connections that the program owns (`attach`), or both.

    Everything of a session happens on the event loop that runs when it is made. Use it as
    ``async with``, or call close(): what runs is cancelled then, and every peer is told.
    """

    def __init__(
        self,
        *,
        download_dir: PathLike | None = None,
        limits: Limits | None = None,
        state_dir: PathLike | None = None,
        accelerate: bool = True,
        budget: MemoryBudget = PROCESS_BUDGET,
    ) -> None:
        """Make a session.

        ``download_dir`` is where downloads go by default: the user's download folder. ``state_dir`` holds
        the installation's secret, by which sources are known again after a restart; without one, a
        secret lives as long as the session. ``accelerate`` has connections use the fast data path
        (`p2pshare.accelerate`); without it they stay aiortc's own.
        """
        self.download_dir = Path(download_dir) if download_dir else platformdirs.user_downloads_path()
        self.limits = limits or Limits()
        self.tasks = TaskSet()
        self.uploads: dict[int, Upload] = {}
        "Uploads that have not ended, by id."
        self.downloads: dict[int, Download[object]] = {}
        "Downloads that have not ended, by id."
        self._state_dir = Path(state_dir) if state_dir else None
        self.accelerate = accelerate
        self._budget = budget
        self._dispatcher = Dispatcher(self.tasks)
        self._config = CoreConfig(secrets.token_bytes(16), self.limits)
        self._job_ids = itertools.count(1)
        self._offer_ids = itertools.count(1)
        self._links: dict[str, Link] = {}
        self._connections: dict[Link, RTCPeerConnection] = {}
        self._known: set[str] = set()
        self._room: Room | None = None
        self._deliveries: dict[tuple[Link, int], Delivery] = {}
        self._offers: dict[int, tuple[Link, int, Offer]] = {}
        self._offer_of: dict[tuple[Link, int], int] = {}
        self._refused_names: dict[Link, int] = {}
        self._is_closed = False
        self._closing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Session with {len(self._links)} links, {len(self.uploads)} uploads>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Peers ---------------------------------------------------------------------------------------------

    @property
    def peers(self) -> tuple[str, ...]:
        """Who is there: members of the room and attached peers, by name."""
        names = {peer for peer, link in self._links.items() if link.is_attached}
        if self._room is not None:
            names.update(self._room.names)
        return tuple(sorted(names))

    async def wait_for_peers(self, *names: str) -> None:
        """Wait until all of these peers are there at once; with ``asyncio.timeout`` not for ever.

        Raises:
            SharingNotAvailable: The session is closed, or is closed meanwhile.
        """
        self._check_open()
        async with contextlib.aclosing(self._dispatcher.events()) as changes:
            while not set(names) <= set(self.peers):
                if await anext(changes, None) is None:
                    raise SharingNotAvailable("the session is closed")

    @property
    def links(self) -> Mapping[str, Link]:
        """The links there are, by the peer's name."""
        return dict(self._links)

    def attach(self, pc: RTCPeerConnection, *, peer: str) -> Link:
        """Share over a connection that the program owns; ``peer`` is the name to use for its other side.

        Plain and immediate: before or after the connection connects, on either side, whichever attaches
        first; ``await link.ready()`` waits for the peer. The connection, its media and the program's own
        channels stay the program's.

        Raises:
            ValueError: The connection is attached already, or the name is taken.
            SharingNotAvailable: The connection is closed, or has connected without a data section
                (renegotiate with one, then attach), or the control channel's id is taken.
        """
        self._check_open()
        if pc in _attached:
            raise ValueError("this connection is attached already")
        if peer in self.peers:
            raise ValueError(f"there is a peer named {show(peer)} already")
        link = Link(peer, self._config, self, self._budget, is_attached=True)
        channels = Channels(pc, link)
        if self.accelerate:
            accelerate(pc)
        link.start(channels)
        _attached.add(pc)
        self._connections[link] = pc
        self._links[peer] = link
        self._known.add(peer)
        self.emit(ev.PeerJoined(peer))
        return link

    async def enter(self, room: Room) -> None:
        """Take part in a room; `join` calls this."""
        self._check_open()
        self._room = room
        await room.enter(self)

    # Uploads -------------------------------------------------------------------------------------------

    def send_files(
        self,
        paths: PathLike | SourceLike | Iterable[PathLike | SourceLike],
        *,
        to: Recipients = EVERYONE,
        message: str | None = None,
        wait_for: int = 1,
    ) -> Upload:
        """Offer files and folders to peers.

        Returns at once. Await the upload for the outcome, iterate it for progress. To EVERYONE the offer
        stays open for who joins later, until ``upload.close()``; with ``wait_for=0`` awaiting it does not
        wait for a first recipient where there is none.

        Raises:
            ValueError: ``to`` is empty or names a peer that never was there, there is nothing to send, or
                the message is more than 1,024 bytes of UTF-8 or no Unicode text.
            TypeError: Something to send is neither a path nor made by `from_bytes`, `from_stream` or
                `from_file_object`.
            SharingNotAvailable: The session is closed.
        """
        self._check_open()
        things = _as_list(paths)
        if not things:
            raise ValueError("nothing to send")
        if message is not None and len(message.encode()) > MAX_TEXT:
            raise ValueError(f"a message of more than {MAX_TEXT:,} bytes")
        names = self._recipients(to)
        upload = Upload(self, next(self._job_ids), message=message, stays_open=to is EVERYONE)
        self.uploads[upload.id] = upload
        for name in names:
            upload.add_recipient(name)
        upload.require(*names)
        self.tasks.start(self._run_upload(upload, things, wait_for), f"upload {upload.id}")
        return upload

    def _recipients(self, to: Recipients) -> list[str]:
        if to is EVERYONE:
            return self._present()
        assert not isinstance(to, type(EVERYONE))
        names = [to] if isinstance(to, str) else list(dict.fromkeys(to))
        if not names:
            raise ValueError("to: no recipient")
        for name in names:
            if name not in self.peers and name not in self._known:
                there = ", ".join(show(peer) for peer in self.peers) or "nobody"
                raise ValueError(f"no peer is named {show(name)}; there are: {there}")
        return names

    def _present(self) -> list[str]:
        """Who EVERYONE is now: members of the room, and attached peers that have greeted."""
        members = self._room.names if self._room is not None else ()
        greeted = [peer for peer, link in self._links.items() if link.is_open]
        return sorted({*members, *greeted})

    async def _run_upload(
        self, upload: Upload, things: Sequence[PathLike | SourceLike], wait_for: int
    ) -> None:
        try:
            upload.listed(await list_sources(things, state_dir=self._state_dir))
        except P2PShareError as error:
            upload.fail(error)
            return
        finally:  # whatever went wrong, who waits for the upload hears of its end
            if not upload.is_listed:
                upload.fail(UploadError("the upload was interrupted"))
        if upload.is_closed:  # cancelled meanwhile: nobody will read the streams
            await close_sources(upload.sources)
            return
        if not upload.deliveries and wait_for == 0:
            upload.finish_unheard()
        if upload.stays_open:
            present = self._present()
            for name in present:
                upload.add_recipient(name)
            upload.require(*present)  # who came while the files were listed is the first that was waited for
        for delivery in list(upload.deliveries.values()):
            self._begin_delivery(delivery)

    def _begin_delivery(self, delivery: Delivery) -> None:
        if not delivery.is_begun:
            delivery.is_begun = True
            self.tasks.start(self._deliver(delivery), f"delivery to {show(delivery.peer)}")

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            link = await self._link_to(delivery.peer)
            if not delivery.state.is_outcome:
                delivery.offer_on(link)
        except P2PShareError as error:
            delivery.fail(as_transfer_error(error))
        except Exception:
            delivery.fail(UploadError("the upload was interrupted"))
            raise

    async def _link_to(self, peer: str) -> Link:
        """An open link with a peer. Raises SharingNotAvailable, SignalingFailed."""
        link = self._links.get(peer)
        if link is None:
            if self._room is None or peer not in self._room.names:
                raise SharingNotAvailable(f"{show(peer)} is not there any more")
            link = await self._room.connect(peer)
        await link.ready()
        return link

    def cancel_upload(self, job_id: int, reason: str = "") -> None:
        """Cancel an upload by its id; one that has ended, or never was, is no error."""
        upload = self.uploads.get(job_id)
        if upload is not None:
            upload.cancel(reason)

    def cancel_all_uploads(self, reason: str = "") -> None:
        """Cancel every upload."""
        for upload in list(self.uploads.values()):
            upload.cancel(reason)

    # Downloads -----------------------------------------------------------------------------------------

    @property
    def available_files(self) -> tuple[AvailableFile, ...]:
        """What can be downloaded now: every file of every open offer."""
        return tuple(file for _, _, offer in self._offers.values() for file in offer.files)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The offers that are open."""
        return tuple(offer for _, _, offer in self._offers.values())

    @overload
    def download_file(
        self, file: AvailableFile, *, save_to: PathLike | _DownloadDir = ...
    ) -> Download[Path]: ...
    @overload
    def download_file(self, file: AvailableFile, *, save_to: None) -> Download[bytes]: ...
    def download_file(
        self, file: AvailableFile, *, save_to: PathLike | _DownloadDir | None = _DOWNLOAD_DIR
    ) -> Download[Path] | Download[bytes]:
        """Download one file into a folder, or with ``save_to=None`` into memory.

        Returns at once; awaiting the download gives the final path, or the bytes. Nothing is ever
        overwritten: a name that is taken gets " (1)".
        """
        if save_to is None:
            return self._download([file], _into_memory, bytes_of)
        return self._download([file], self._into_folder(save_to, file.peer), path_of)

    @overload
    def download_files(
        self, files: Iterable[AvailableFile], *, save_to: PathLike | _DownloadDir = ...
    ) -> Download[list[Path]]: ...
    @overload
    def download_files(self, files: Iterable[AvailableFile], *, save_to: None) -> Download[list[bytes]]: ...
    def download_files(
        self, files: Iterable[AvailableFile], *, save_to: PathLike | _DownloadDir | None = _DOWNLOAD_DIR
    ) -> Download[list[Path]] | Download[list[bytes]]:
        """Download files of one offer, as one job: ``session.download_files(offer.files)``.

        Raises:
            ValueError: No file, or files of several offers.
        """
        wanted = _of_one_offer(files)
        if save_to is None:
            return self._download(wanted, _into_memory, list_of_bytes)
        return self._download(wanted, self._into_folder(save_to, wanted[0].peer), list_of_paths)

    def download_into(
        self, files: Iterable[AvailableFile], make_sink: Callable[[Sequence[OfferedFile]], Sink]
    ) -> Download[Sink]:
        """Download files of one offer into a sink of the program's own (`p2pshare.storage.Sink`).

        ``make_sink`` is called once with the files that may be stored; awaiting the download gives the sink.

        Raises:
            ValueError: No file, or files of several offers.
        """
        return self._download(_of_one_offer(files), make_sink, lambda sink, _: sink)

    def _download(
        self,
        files: Sequence[AvailableFile],
        make_sink: Callable[[Sequence[OfferedFile]], Sink],
        result_of: Callable[[Sink, Sequence[AvailableFile]], T],
    ) -> Download[T]:
        self._check_open()
        download = Download(self, next(self._job_ids), files, make_sink, result_of)
        self.downloads[download.id] = download  # type: ignore[assignment]  # Download is invariant, the table only cancels
        link, offer = None, 0
        if files[0].offer_id in self._offers:
            link, offer, _ = self._offers[files[0].offer_id]
        self.tasks.start(download.run(link, offer), f"download {download.id}")
        return download

    def _into_folder(
        self, save_to: PathLike | _DownloadDir, peer: str
    ) -> Callable[[Sequence[OfferedFile]], Sink]:
        folder = self.download_dir if isinstance(save_to, _DownloadDir) else Path(save_to)

        def make(files: Sequence[OfferedFile]) -> Sink:
            return FolderSink(folder, files, limits=self.limits, peer=peer)

        return make

    def decline(self, offer: Offer, reason: str = "", *, code: int = ErrorCode.DECLINED) -> None:
        """Decline an offer, or what is left of it; its sender is told. Idempotent.

        ``code`` tells why where it was no choice: `ErrorCode.SAVE_FAILED` for a full disk.
        """
        link, offer_id, _ = self._offers.get(offer.id, (None, 0, offer))
        if link is not None:
            link.core.downloads.decline(offer_id, code, reason)
            link.touch()
            self._forget_available(link, offer_id, reason or "declined")

    def cancel_download(self, job_id: int, reason: str = "") -> None:
        """Cancel a download by its id; one that has ended, or never was, is no error."""
        download = self.downloads.get(job_id)
        if download is not None:
            download.cancel(reason)

    def cancel_all_downloads(self, reason: str = "") -> None:
        """Cancel every download."""
        for download in list(self.downloads.values()):
            download.cancel(reason)

    # Events --------------------------------------------------------------------------------------------

    def on(
        self, event_type: type[E], callback: Callable[[E], Awaitable[object] | object]
    ) -> Callable[[], None]:
        """Call back for each event of a type and its subtypes, plain or async; returns what undoes it.

        An exception in a callback is logged, and reaches no transfer.

        Raises:
            TypeError: ``event_type`` is no `Event`.
        """
        return self._dispatcher.on(event_type, callback)

    def events(self) -> AsyncIterator[Event]:
        """All events from now on, until the session closes. Progress is coalesced, nothing else is dropped.

        Raises (on iteration):
            EventsLost: The iterator fell hundreds of thousands of events behind.
        """
        return self._dispatcher.events()

    def emit(self, event: Event) -> None:
        """Tell the program; jobs and links of this session call it."""
        self._dispatcher.emit(event)

    # The end -------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Cancel what runs, tell every peer, free everything. Attached connections stay open.

        Idempotent: a second call waits for the first, and finishes what it left where it was cancelled.
        """
        self._is_closed = True
        async with self._closing:
            await self._end()

    async def _end(self) -> None:
        self.cancel_all_uploads("the session was closed")
        self.cancel_all_downloads("the session was closed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_TIMEOUT_S):
                for download in list(self.downloads.values()):
                    await download.wait()
        for link in list(self._links.values()):
            link.close(SharingNotAvailable("the session was closed"))
        await self.tasks.settle(_RELEASING)
        if self._room is not None:
            await self._room.leave()
        self._dispatcher.close()
        await self.tasks.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SharingNotAvailable("the session is closed")

    # For links (LinkOwner) -------------------------------------------------------------------------------

    def new_link(self, peer: str) -> Link:
        """A link for a member of the room; one of the same name that is there is replaced.

        Raises:
            SharingNotAvailable: The session is closed, or the name is that of an attached connection: who
                comes into a room under it is somebody else.
        """
        self._check_open()
        old = self._links.get(peer)
        if old is not None:
            if old.is_attached:
                raise SharingNotAvailable(f"a connection is attached under the name {show(peer)}")
            old.close(SharingNotAvailable(f"{show(peer)} connected anew"))
        link = self._links[peer] = Link(peer, self._config, self, self._budget, is_attached=False)
        return link

    def link_opened(self, link: Link) -> None:
        """Both sides speak p2pshare: offer what stands open."""
        self.emit(ev.PeerReady(link.peer))
        self._offer_standing(link.peer)

    def link_event(self, link: Link, event: e.CoreEvent) -> None:
        """An event of a link that is no job's."""
        match event:
            case e.OfferReceived():
                self._offer_received(link, event)
            case e.OfferWithdrawn():
                self._forget_available(link, event.offer, show_reason(event.reason))
            case e.JobRequested() | e.OfferDeclinedByPeer() | e.HaveAsked():
                delivery = self._deliveries.get((link, event.offer))
                if delivery is not None:
                    delivery.event_received(event)
                elif isinstance(event, e.JobRequested):
                    link.core.uploads.reset(event.job, ErrorCode.DOWNLOAD_NOT_AVAILABLE, "no longer offered")
            case e.PeerSilent():
                self.emit(ev.PeerUnresponsive(link.peer, event.silent_s))
                if not link.is_attached and self._room is not None and link.peer not in self._room.names:
                    link.connection_closed(f"{show(link.peer)} left the room and is silent")
            case e.HelloTimedOut():
                error = SharingNotAvailable(f"{show(link.peer)} does not answer")
                self.emit(ev.LinkFailed(link.peer, error))

    def link_closed(self, link: Link, error: P2PShareError) -> None:
        """Nothing more comes of a link: settle what hung on it, and free the connection."""
        for key in [key for key in self._offer_of if key[0] is link]:
            self._forget_available(link, key[1], str(error))
        for key in [key for key in self._deliveries if key[0] is link]:
            self._deliveries.pop(key).link_closed(as_transfer_error(error))
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            if not link.was_closed_orderly:
                self.emit(ev.LinkFailed(link.peer, error))
            if link.is_attached:
                self.emit(ev.PeerLeft(link.peer))
        self._refused_names.pop(link, None)
        self.tasks.start(self._release(link), _RELEASING)

    async def _release(self, link: Link) -> None:
        await link.flushed(FLUSH_TIMEOUT_S)
        pc = self._connections.pop(link, None)
        if pc is not None:
            _attached.discard(pc)
        if self._room is not None:
            await self._room.release(link)

    # For deliveries and downloads ------------------------------------------------------------------------

    def register_offer(self, link: Link, offer: int, delivery: Delivery) -> None:
        """Answers to an offer on a link go to this delivery."""
        self._deliveries[link, offer] = delivery

    def forget_offer(self, link: Link, offer: int) -> None:
        """No answer to an offer is expected any more."""
        self._deliveries.pop((link, offer), None)

    def upload_closed(self, upload: Upload) -> None:
        """An upload has ended for everybody."""
        self.uploads.pop(upload.id, None)
        self.emit(ev.UploadClosed(upload.id))

    def download_ended(self, download: Download[T]) -> None:
        """A download has its outcome."""
        self.downloads.pop(download.id, None)

    def names_refused(self, link: Link, count: int) -> None:
        """A peer offered names that are not allowed; one that goes on doing so is no peer."""
        if link.error is not None:
            return
        total = self._refused_names[link] = self._refused_names.get(link, 0) + count
        if total >= _MAX_REFUSED_NAMES:
            link.close(RemoteProtocolError(f"{total} file names that are not allowed"))

    # For the room ----------------------------------------------------------------------------------------

    def peer_joined(self, peer: str) -> None:
        """A member joined the room: offer it what stands open."""
        self._known.add(peer)
        self.emit(ev.PeerJoined(peer))
        self._offer_standing(peer)

    def peer_left(self, peer: str) -> None:
        """A member left the room. Its link lives on by itself, unless it is silent already."""
        self.emit(ev.PeerLeft(peer))
        link = self._links.get(peer)
        if link is not None and not link.is_attached and link.is_silent:
            link.connection_closed(f"{show(peer)} left the room")

    def _offer_standing(self, peer: str) -> None:
        for upload in list(self.uploads.values()):
            if upload.stays_open and upload.is_listed:
                delivery = upload.add_recipient(peer)
                upload.require(peer)
                self._begin_delivery(delivery)

    # Offers of peers -------------------------------------------------------------------------------------

    def _offer_received(self, link: Link, event: e.OfferReceived) -> None:
        offer_id = next(self._offer_ids)
        files = tuple(AvailableFile(offer_id, link.peer, file) for file in event.files)
        offer = Offer(offer_id, link.peer, files, event.message)
        self._offers[offer_id] = (link, event.offer, offer)
        self._offer_of[link, event.offer] = offer_id
        self.emit(ev.FileOffered(offer))
        for file in files:
            self.emit(ev.FileAvailable(file))

    def _forget_available(self, link: Link, wire_offer: int, reason: str) -> None:
        offer_id = self._offer_of.pop((link, wire_offer), None)
        if offer_id is None:
            return
        _, _, offer = self._offers.pop(offer_id)
        for file in offer.files:
            self.emit(ev.FileUnavailable(file, reason))


_RELEASING: Final = "releasing a link"


def _into_memory(files: Sequence[OfferedFile]) -> Sink:
    return MemorySink(files)


def _of_one_offer(files: Iterable[AvailableFile]) -> list[AvailableFile]:
    wanted = list(files)
    if not wanted:
        raise ValueError("no file to download")
    if len({file.offer_id for file in wanted}) > 1:
        raise ValueError("files of several offers: make one download an offer")
    return wanted


def _as_list(paths: object) -> list[PathLike | SourceLike]:
    """One thing to send, or several; what has no name is refused."""
    given: Iterable[object] = [paths]
    if isinstance(paths, Iterable) and not isinstance(paths, str | bytes | bytearray):
        given = paths
    things: list[PathLike | SourceLike] = []
    for thing in given:
        if not isinstance(thing, str | os.PathLike | SourceLike):
            raise TypeError(f"a {type(thing).__name__} has no name to send it by: see p2pshare.from_bytes()")
        things.append(thing)
    return things
