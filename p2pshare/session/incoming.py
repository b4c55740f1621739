"""What a session receives: what peers offer, what is taken of it, and who decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypedDict, TypeVar

from p2pshare.errors import P2PShareError, RemoteProtocolError
from p2pshare.events import AvailableFile, Event, Offer
from p2pshare.model import Conflict, Limits, OfferedFile
from p2pshare.protocol import events as e
from p2pshare.session.accepting import Accept, AcceptPolicy, Decline, Doorkeeper
from p2pshare.session.download import Download, list_of_paths
from p2pshare.session.link import Link
from p2pshare.session.offers import OfferTable, Standing
from p2pshare.session.rate import RateLimit
from p2pshare.session.tasks import TaskSet
from p2pshare.storage import FolderSink, Sink

T = TypeVar("T")
MakeSink = Callable[[Sequence[OfferedFile]], Sink]

_MAX_REFUSED_NAMES: Final = 3


class DownloadOptions(TypedDict, total=False):
    """How a download is stored; see `Session.download_file`."""

    conflict: Conflict
    keep_executable: bool
    keep_links: bool
    rate_limit: int | None


class Incoming:
    """All offers of peers, and all downloads of a session."""

    def __init__(
        self,
        emit: Callable[[Event], bool],
        tasks: TaskSet,
        limits: Limits,
        job_ids: Iterator[int],
        *,
        policy: AcceptPolicy,
        download_dir: Path,
    ) -> None:
        self.emit = emit
        self.limits = limits
        self.pace = RateLimit()
        "Of all downloads together."
        self.downloads: dict[int, Download[object]] = {}
        "Those that have not ended, by id."
        self.offers = OfferTable(emit, reconnect_timeout_s=limits.reconnect_timeout_s)
        self.download_dir = download_dir
        self._tasks = tasks
        self._job_ids = job_ids
        self._doorkeeper = Doorkeeper(policy, limits.max_peer_bytes)
        self._refused_names: dict[Link, int] = {}

    def begin(
        self,
        files: Sequence[AvailableFile],
        make_sink: MakeSink,
        result_of: Callable[[Sink, Sequence[AvailableFile]], T],
        rate_limit: int | None,
    ) -> Download[T]:
        """Fetch files of one offer into a sink."""
        download = Download(self, next(self._job_ids), files, make_sink, result_of, rate_limit=rate_limit)
        entry: Download[object] = download  # type: ignore[assignment]  # Download is invariant, the tables only cancel
        self.downloads[download.id] = entry
        standing = self.offers.get(files[0].offer_id)
        if standing is not None:
            standing.downloads.add(entry)
        self._tasks.start(self._run(entry, standing), f"download {download.id}")
        return download

    async def _run(self, download: Download[object], standing: Standing | None) -> None:
        try:
            await download.run(standing)
        finally:
            if standing is not None:
                self.offers.download_ended(standing, download)

    def into_folder(
        self, folder: str | os.PathLike[str] | None, peer: str, options: DownloadOptions
    ) -> MakeSink:
        """What makes the sink of a download: files in a folder, None being the session's."""
        root = self.download_dir if folder is None else Path(folder)
        conflict = options.get("conflict", Conflict.RENAME)
        keep_executable, keep_links = options.get("keep_executable", False), options.get("keep_links", False)

        def make(files: Sequence[OfferedFile]) -> Sink:
            return FolderSink(
                root,
                files,
                limits=self.limits,
                peer=peer,
                conflict=conflict,
                keep_executable=keep_executable,
                keep_links=keep_links,
            )

        return make

    def decline(self, offer: Offer, reason: str, code: int) -> None:
        """Decline an offer, or what is left of it."""
        standing = self.offers.get(offer.id)
        if standing is not None:
            self.offers.decline(standing, code, reason)

    def cancel(self, job_id: int, reason: str, *, keep_parts: bool) -> None:
        """Cancel a download; one that has ended, or never was, is no error."""
        download = self.downloads.get(job_id)
        if download is not None:
            download.cancel(reason, keep_parts=keep_parts)

    def cancel_all(self, reason: str, *, keep_parts: bool) -> None:
        """Cancel every download."""
        for download in list(self.downloads.values()):
            download.cancel(reason, keep_parts=keep_parts)

    # From links ----------------------------------------------------------------------------------------

    def offered(self, link: Link, event: e.OfferReceived, room: str | None) -> None:
        """A peer offers files."""
        offer = self.offers.received(link, event)
        if offer is not None:
            self._tasks.start(self._decide(offer, room), "deciding on an offer")

    async def _decide(self, offer: Offer, room: str | None) -> None:
        """Take or refuse an offer by the session's policy."""
        decision = await self._doorkeeper.decide(offer, room)
        if self.offers.get(offer.id) is None:
            return  # it was answered, or withdrawn, meanwhile
        if isinstance(decision, Accept):
            options = DownloadOptions(
                conflict=decision.conflict,
                keep_executable=decision.keep_executable,
                keep_links=decision.keep_links,
            )
            files = offer.files if decision.files is None else decision.files
            self.begin(files, self.into_folder(decision.save_to, offer.peer, options), list_of_paths, None)
        elif isinstance(decision, Decline):
            self.decline(offer, decision.reason, decision.code)

    def link_closed(self, link: Link, error: P2PShareError) -> None:
        """A link is gone: its offers rest, or end."""
        self.offers.link_closed(link, error)
        self._refused_names.pop(link, None)

    # For downloads ---------------------------------------------------------------------------------------

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
