"""A session: this program's place among its peers, and everything it shares with them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack, overload

import platformdirs

from p2pshare import events as ev
from p2pshare.errors import (
    P2PShareError,
    SharingNotAvailable,
    show,
)
from p2pshare.events import AvailableFile, Event, Offer
from p2pshare.model import EVERYONE, ErrorCode, Limits, OfferedFile, Recipients
from p2pshare.protocol import events as e
from p2pshare.protocol.core import CoreConfig
from p2pshare.protocol.schema import MAX_TEXT
from p2pshare.session.accepting import AcceptPolicy
from p2pshare.session.budget import PROCESS_BUDGET, MemoryBudget
from p2pshare.session.dispatch import Dispatcher
from p2pshare.session.download import Download, bytes_of, list_of_bytes, list_of_paths, path_of
from p2pshare.session.incoming import DownloadOptions, Incoming, MakeSink
from p2pshare.session.link import Link
from p2pshare.session.outgoing import Outgoing
from p2pshare.session.peers import RELEASING, Peers
from p2pshare.session.room import Room
from p2pshare.session.tasks import TaskSet
from p2pshare.session.upload import Upload
from p2pshare.storage import (
    MemorySink,
    Sink,
    SourceLike,
    list_sources,
)

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

logger = logging.getLogger(__name__)
E = TypeVar("E", bound=Event)
PathLike = str | os.PathLike[str]

STORE_TIMEOUT_S: Final = 10.0
"""Seconds that a closing session waits for disks to take what is being written."""


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
        accept: AcceptPolicy = None,
        budget: MemoryBudget = PROCESS_BUDGET,
    ) -> None:
        """Make a session.

        ``download_dir`` is where downloads go by default: the user's download folder. ``state_dir`` holds
        the installation's secret, by which sources are known again after a restart; without one, a
        secret lives as long as the session. ``accelerate`` has connections use the fast data path
        (`p2pshare.accelerate`); without it they stay aiortc's own. ``accept`` takes offers by rules, the
        first that fits, or by a function of an `Offer`, plain or async, that gives `Accept`, `Decline` or
        None; what neither decides is up to who hears `FileOffered`.
        """
        self.limits = limits or Limits()
        self.tasks = TaskSet()
        self._state_dir = Path(state_dir) if state_dir else None
        self.accelerate = accelerate
        self._dispatcher = Dispatcher(self.tasks)
        self._config = CoreConfig(secrets.token_bytes(16), self.limits)
        self._peers = Peers(self, self._config, budget)
        job_ids = itertools.count(1)
        self._outgoing = Outgoing(self.emit, self.tasks, self.limits, self._peers, job_ids)
        self._incoming = Incoming(
            self.emit,
            self.tasks,
            self.limits,
            job_ids,
            policy=accept,
            download_dir=Path(download_dir) if download_dir else platformdirs.user_downloads_path(),
        )
        self._is_closed = False
        self._closing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Session with {len(self.links)} links, {len(self.uploads)} uploads>"

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
        return self._peers.names

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
        return dict(self._peers.links)

    def attach(self, pc: RTCPeerConnection, *, peer: str) -> Link:
        """Share over a connection that the program owns; ``peer`` is the name to use for its other side.

        Plain and immediate: before or after the connection connects, on either side, whichever attaches
        first; ``await link.ready()`` waits for the peer. The connection, its media and the program's own
        channels stay the program's. When it is lost, attach another one under the same name: what was
        going on goes on there.

        Raises:
            ValueError: The connection is attached already, or a peer of this name is there and alive.
            SharingNotAvailable: The connection is closed, or has connected without a data section
                (renegotiate with one, then attach), or the control channel's id is taken.
        """
        self._check_open()
        return self._peers.attach(pc, peer)

    async def enter(self, room: Room) -> None:
        """Take part in a room; `join` calls this."""
        self._check_open()
        self._peers.room = room
        await room.enter(self)

    # Uploads -------------------------------------------------------------------------------------------

    def send_files(
        self,
        paths: PathLike | SourceLike | Iterable[PathLike | SourceLike],
        *,
        to: Recipients = EVERYONE,
        message: str | None = None,
        wait_for: int = 1,
        rate_limit: int | None = None,
        keep_links: bool = False,
    ) -> Upload:
        """Offer files and folders to peers.

        Returns at once. Await the upload for the outcome, iterate it for progress. To EVERYONE the offer
        stays open for who joins later, until ``upload.close()``; with ``wait_for=0`` awaiting it does not
        wait for a first recipient where there is none. ``rate_limit`` is bytes a second, for all recipients
        together. Symbolic links within a folder are left out, or with ``keep_links`` offered as links.

        Raises:
            ValueError: ``to`` is empty or names a peer that never was there, there is nothing to send, the
                message is more than 1,024 bytes of UTF-8 or no Unicode text, or the rate is not above 0.
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
        return self._outgoing.begin(
            partial(list_sources, things, state_dir=self._state_dir, keep_links=keep_links),
            names,
            message=message,
            stays_open=to is EVERYONE,
            wait_for=wait_for,
            rate_limit=rate_limit,
        )

    def _recipients(self, to: Recipients) -> list[str]:
        if to is EVERYONE:
            return self._peers.present
        assert not isinstance(to, type(EVERYONE))
        names = [to] if isinstance(to, str) else list(dict.fromkeys(to))
        if not names:
            raise ValueError("to: no recipient")
        for name in names:
            if not self._peers.is_known(name):
                there = ", ".join(show(peer) for peer in self.peers) or "nobody"
                raise ValueError(f"no peer is named {show(name)}; there are: {there}")
        return names

    def cancel_upload(self, job_id: int, reason: str = "") -> None:
        """Cancel an upload by its id; one that has ended, or never was, is no error."""
        self._outgoing.cancel(job_id, reason)

    def cancel_all_uploads(self, reason: str = "") -> None:
        """Cancel every upload."""
        self._outgoing.cancel_all(reason)

    @property
    def uploads(self) -> Mapping[int, Upload]:
        """Uploads that have not ended, by id."""
        return dict(self._outgoing.uploads)

    # Downloads -----------------------------------------------------------------------------------------

    @property
    def available_files(self) -> tuple[AvailableFile, ...]:
        """What can be downloaded now: every file of every open offer."""
        return self._incoming.offers.files

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The offers that are open."""
        return self._incoming.offers.offers

    @overload
    def download_file(
        self,
        file: AvailableFile,
        *,
        save_to: PathLike | _DownloadDir = ...,
        **options: Unpack[DownloadOptions],
    ) -> Download[Path]: ...
    @overload
    def download_file(
        self, file: AvailableFile, *, save_to: None, rate_limit: int | None = None
    ) -> Download[bytes]: ...
    def download_file(
        self,
        file: AvailableFile,
        *,
        save_to: PathLike | _DownloadDir | None = _DOWNLOAD_DIR,
        **options: Unpack[DownloadOptions],
    ) -> Download[Path] | Download[bytes]:
        """Download one file into a folder, or with ``save_to=None`` into memory.

        Returns at once; awaiting the download gives the final path, or the bytes. A file that is there
        already, by its digest, is not fetched again. ``conflict`` says what happens where the name is taken
        by another: by default the new one gets " (1)". Nothing becomes executable but with
        ``keep_executable``, no symbolic link is made but with ``keep_links``. ``rate_limit``: bytes a second.
        Raises:
            ValueError: The rate is not above 0.
        """
        self._check_open()
        rate_limit = options.pop("rate_limit", None)
        if save_to is None:
            return self._incoming.begin([file], _into_memory, bytes_of, rate_limit)
        make_sink = self._into_folder(save_to, file.peer, options)
        return self._incoming.begin([file], make_sink, path_of, rate_limit)

    @overload
    def download_files(
        self,
        files: Iterable[AvailableFile],
        *,
        save_to: PathLike | _DownloadDir = ...,
        **options: Unpack[DownloadOptions],
    ) -> Download[list[Path]]: ...
    @overload
    def download_files(
        self, files: Iterable[AvailableFile], *, save_to: None, rate_limit: int | None = None
    ) -> Download[list[bytes]]: ...
    def download_files(
        self,
        files: Iterable[AvailableFile],
        *,
        save_to: PathLike | _DownloadDir | None = _DOWNLOAD_DIR,
        **options: Unpack[DownloadOptions],
    ) -> Download[list[Path]] | Download[list[bytes]]:
        """Download files of one offer, as one job: ``session.download_files(offer.files)``.

        Options as for `download_file`.
        Raises:
            ValueError: No file, or files of several offers, or the rate is not above 0.
        """
        self._check_open()
        wanted = _of_one_offer(files)
        rate_limit = options.pop("rate_limit", None)
        if save_to is None:
            return self._incoming.begin(wanted, _into_memory, list_of_bytes, rate_limit)
        make_sink = self._into_folder(save_to, wanted[0].peer, options)
        return self._incoming.begin(wanted, make_sink, list_of_paths, rate_limit)

    def download_into(
        self,
        files: Iterable[AvailableFile],
        make_sink: Callable[[Sequence[OfferedFile]], Sink],
        *,
        rate_limit: int | None = None,
    ) -> Download[Sink]:
        """Download files of one offer into a sink of the program's own (`p2pshare.storage.Sink`).

        ``make_sink`` is called once with the files that may be stored; awaiting the download gives the sink.

        Raises:
            ValueError: No file, or files of several offers, or the rate is not above 0.
        """
        self._check_open()
        return self._incoming.begin(_of_one_offer(files), make_sink, lambda sink, _: sink, rate_limit)

    def _into_folder(self, save_to: PathLike | _DownloadDir, peer: str, options: DownloadOptions) -> MakeSink:
        folder = None if isinstance(save_to, _DownloadDir) else save_to
        return self._incoming.into_folder(folder, peer, options)

    def decline(self, offer: Offer, reason: str = "", *, code: int = ErrorCode.DECLINED) -> None:
        """Decline an offer, or what is left of it; its sender is told. Idempotent.

        ``code`` tells why where it was no choice: `ErrorCode.SAVE_FAILED` for a full disk.
        """
        self._incoming.decline(offer, reason, code)

    def cancel_download(self, job_id: int, reason: str = "", *, keep_parts: bool = False) -> None:
        """Cancel a download by its id; one that has ended, or never was, is no error."""
        self._incoming.cancel(job_id, reason, keep_parts=keep_parts)

    def cancel_all_downloads(self, reason: str = "", *, keep_parts: bool = False) -> None:
        """Cancel every download."""
        self._incoming.cancel_all(reason, keep_parts=keep_parts)

    @property
    def downloads(self) -> Mapping[int, Download[object]]:
        """Downloads that have not ended, by id."""
        return dict(self._incoming.downloads)

    @property
    def download_dir(self) -> Path:
        """Where downloads go by default. May be set at any time, for those to come."""
        return self._incoming.download_dir

    @download_dir.setter
    def download_dir(self, folder: PathLike) -> None:
        self._incoming.download_dir = Path(folder)

    # The pace ------------------------------------------------------------------------------------------

    @property
    def upload_rate_limit(self) -> int | None:
        """Bytes a second that all uploads together send; None: no limit. May be set at any time.

        Raises (when set):
            ValueError: The rate is not above 0.
        """
        return self._outgoing.pace.rate

    @upload_rate_limit.setter
    def upload_rate_limit(self, rate: int | None) -> None:
        self._outgoing.pace.rate = rate

    @property
    def download_rate_limit(self) -> int | None:
        """Bytes a second that all downloads together take; as `upload_rate_limit`."""
        return self._incoming.pace.rate

    @download_rate_limit.setter
    def download_rate_limit(self, rate: int | None) -> None:
        self._incoming.pace.rate = rate

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

    def emit(self, event: Event) -> bool:
        """Tell the program; jobs and links of this session call it. Returns whether a callback took it."""
        return self._dispatcher.emit(event)

    # The end -------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Cancel what runs, tell every peer, free everything. Attached connections stay open.

        What has come of unfinished downloads is kept on disk, for a later session to go on with.

        Idempotent: a second call waits for the first, and finishes what it left where it was cancelled.
        """
        self._is_closed = True
        async with self._closing:
            await self._end()

    async def _end(self) -> None:
        self.cancel_all_uploads("the session was closed")
        self.cancel_all_downloads("the session was closed", keep_parts=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORE_TIMEOUT_S):
                for download in list(self.downloads.values()):
                    await download.wait()
        self._incoming.offers.close()
        self._peers.close_links(SharingNotAvailable("the session was closed"))
        await self.tasks.settle(RELEASING)
        if self._peers.room is not None:
            await self._peers.room.leave()
        self._dispatcher.close()
        await self.tasks.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SharingNotAvailable("the session is closed")

    # For links (LinkOwner) -------------------------------------------------------------------------------

    def new_link(self, peer: str) -> Link:
        """A link for a member of the room. Raises SharingNotAvailable."""
        self._check_open()
        return self._peers.new_link(peer)

    def needs(self, link: Link) -> bool:
        """Whether an offer or a job depends on a link."""
        return bool(link.jobs) or self._outgoing.needs(link)

    def link_opened(self, link: Link) -> None:
        """Both sides speak p2pshare: offer what stands open."""
        self._peers.opened(link)
        self.emit(ev.PeerReady(link.peer))
        self._outgoing.offer_standing(link.peer)

    def link_event(self, link: Link, event: e.CoreEvent) -> None:
        """An event of a link that is no job's."""
        match event:
            case e.OfferReceived():
                room = self._peers.room.name if self._peers.room is not None else None
                self._incoming.offered(link, event, room)
            case e.OfferWithdrawn():
                self._incoming.offers.withdrawn(link, event)
            case e.JobRequested() | e.OfferDeclinedByPeer() | e.FilesKept() | e.HaveAsked():
                self._outgoing.answered(link, event)
            case e.PeerSilent():
                self.emit(ev.PeerUnresponsive(link.peer, event.silent_s))
                self._peers.silent(link)
            case e.HelloTimedOut():
                error = SharingNotAvailable(f"{show(link.peer)} does not answer")
                self.emit(ev.LinkFailed(link.peer, error))

    def link_closed(self, link: Link, error: P2PShareError) -> None:
        """Nothing more comes of a link: settle what hung on it, and free the connection."""
        self._incoming.link_closed(link, error)
        self._outgoing.link_closed(link, error)
        self._peers.closed(link, error)

    # For the room ----------------------------------------------------------------------------------------

    def peer_joined(self, peer: str) -> None:
        """A member joined the room: offer it what stands open."""
        self._peers.joined(peer)
        self.emit(ev.PeerJoined(peer))
        self._outgoing.offer_standing(peer)

    def peer_left(self, peer: str) -> None:
        """A member left the room."""
        self.emit(ev.PeerLeft(peer))
        self._peers.left(peer)


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
