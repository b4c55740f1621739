"""Downloads: files of one offer, on their way into a folder or into memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from p2pshare import events as ev
from p2pshare.errors import (
    DownloadError,
    DownloadNotAvailable,
    P2PShareError,
    SaveFailed,
    TransferCancelled,
    TransferError,
)
from p2pshare.events import AvailableFile
from p2pshare.model import HeldBlocks, OfferedFile, Progress
from p2pshare.session.handles import Handle, ProgressMeter
from p2pshare.session.link import Link, as_transfer_error
from p2pshare.session.receiver import Receiver
from p2pshare.storage import Sink, UnsafeName, check_wire_path

if TYPE_CHECKING:
    from p2pshare.session.session import Session

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Download(Handle[T]):
    """Files of one offer that are being fetched.

    ``await download`` gives the final path, the list of paths, or the bytes, as the call that began it says.
    Raises (on await):
        SaveFailed, StorageAccessDenied, IntegrityError, TransferStalled, ConnectionLost, DownloadError: What
            went wrong, of the first file that did not arrive; files that did are kept.
        DownloadNotAvailable: No longer offered.
        TransferCancelled: By us or by the sender (``.remote``).
    """

    def __init__(
        self,
        session: Session,
        job_id: int,
        files: Sequence[AvailableFile],
        make_sink: Callable[[Sequence[OfferedFile]], Sink],
        result_of: Callable[[Sink, Sequence[AvailableFile]], T],
    ) -> None:
        super().__init__(job_id)
        self.session = session
        self.peer = files[0].peer
        self.files = tuple(files)
        self.failures: Mapping[int, TransferError] = {}
        "Files that did not arrive, by their number in the offer; complete once the download is done."
        sizes = [file.size for file in files]
        size = None if None in sizes else sum(size for size in sizes if size is not None)
        self._make_sink = make_sink
        self._result_of = result_of
        self._meter = ProgressMeter(size, len(files))
        self._opening: asyncio.Task[Sequence[HeldBlocks]] | None = None
        self._receiver: Receiver | None = None
        self._cancelled: TransferCancelled | None = None

    def __repr__(self) -> str:
        return f"<Download {self.id}: {len(self.files)} files>"

    @property
    def progress(self) -> Progress:
        """How far the download is."""
        return self._meter.progress

    def cancel(self, reason: str = "") -> None:
        """End the download as cancelled, at both ends; idempotent."""
        if self.done or self._cancelled is not None:
            return
        self._cancelled = TransferCancelled(reason or "cancelled", job_id=self.id, peer=self.peer)
        if self._receiver is not None:
            self._receiver.give_up(self._cancelled)
        elif self._opening is not None:
            self._opening.cancel()

    # For the session -------------------------------------------------------------------------------------

    async def run(self, link: Link | None, offer: int) -> None:
        """The whole life of the download; what goes wrong becomes the handle's error."""
        sink: Sink | None = None
        error: P2PShareError | None = None
        keep_parts = True
        is_complete = False
        try:
            if link is None:
                raise DownloadNotAvailable("the file is no longer offered")
            by_index = {file.file.index: file.file for file in self.files}
            refused = _refusals(by_index.values())
            sink = self._make_sink([file for file in by_index.values() if file.index not in refused])
            await self._fetch(link, offer, sink, sorted(by_index), refused)
            keep_parts = not isinstance(self._error(), TransferCancelled)
            error = self._error()
            is_complete = error is None
        except P2PShareError as exc:
            error = exc
        finally:
            try:
                if sink is not None:
                    await sink.close(keep_parts=keep_parts)
            finally:  # a sink may raise anything: whoever waits for the download hears of its end
                error = error or self._cancelled or DownloadError("the download was interrupted")
                self._settle(sink, error, is_complete)

    async def _fetch(
        self,
        link: Link,
        offer: int,
        sink: Sink,
        indexes: Sequence[int],
        refused: Mapping[int, TransferError],
    ) -> None:
        held = await self._open(sink)
        receiver = Receiver(
            link,
            sink,
            stall_timeout_s=self.session.limits.stall_timeout_s,
            on_change=self._changed,
        )
        by_index = {file.file.index: file.file for file in self.files}
        if held:
            self._meter.hold(sum(blocks.size_in(by_index[blocks.index]) for blocks in held))
        job = link.core.downloads.accept(offer, indexes, held)
        self._receiver = receiver
        receiver.start(job, refused)
        self.session.emit(ev.DownloadStarted(self.id, self.peer))
        if refused:
            self.session.names_refused(link, len(refused))
        await receiver.run()
        self.failures = receiver.failures

    async def _open(self, sink: Sink) -> Sequence[HeldBlocks]:
        """Open the sink, which may take minutes where much is held already: cancel() does not wait for it."""
        if self._cancelled is not None:
            raise self._cancelled
        self._opening = asyncio.create_task(sink.open(), name="opening a sink")
        try:
            held = await self._opening
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._cancelled is None or (task is not None and task.cancelling()):
                raise
            raise self._cancelled from None
        if self._cancelled is not None:
            raise self._cancelled
        return held

    def _changed(self, stored: int, files: int) -> None:
        self._meter.add(stored, files)
        if self._meter.is_due():
            self._progressed()
            self.session.emit(ev.DownloadProgress(self.id, self.peer, self.progress))

    def _error(self) -> TransferError | None:
        receiver = self._receiver
        if receiver is None:
            return None
        if receiver.error is not None:
            return receiver.error
        if not receiver.failures:
            return None
        index, error = min(receiver.failures.items())
        error.file = next(file.path for file in self.files if file.file.index == index)
        return error

    def _settle(self, sink: Sink | None, error: P2PShareError, is_complete: bool) -> None:
        if is_complete and sink is not None and self._receiver is not None and self._error() is None:
            self._succeed(self._result_of(sink, self.files))
            self.session.emit(ev.DownloadProgress(self.id, self.peer, self.progress))
            self.session.emit(ev.DownloadCompleted(self.id, self.peer, dict(sink.paths)))
        else:
            failure = as_transfer_error(error)
            failure.job_id, failure.peer = self.id, self.peer
            self._fail(error)
            if isinstance(error, TransferCancelled):
                self.session.emit(ev.DownloadCancelled(self.id, self.peer, failure))
            else:
                self.session.emit(ev.DownloadFailed(self.id, self.peer, failure))
        self._progressed()
        self.session.download_ended(self)


def _refusals(files: Iterable[OfferedFile]) -> dict[int, TransferError]:
    refused: dict[int, TransferError] = {}
    for file in files:
        try:
            check_wire_path(file.path)
        except UnsafeName as exc:
            refused[file.index] = SaveFailed(f"a name that is not allowed: {exc}")
    return refused


def path_of(sink: Sink, files: Sequence[AvailableFile]) -> Path:
    """The result of one file in a folder."""
    return sink.paths[files[0].file.index]


def list_of_paths(sink: Sink, files: Sequence[AvailableFile]) -> list[Path]:
    """The result of several files in a folder, in the order they were asked for."""
    return [sink.paths[file.file.index] for file in files]


def bytes_of(sink: Sink, files: Sequence[AvailableFile]) -> bytes:
    """The result of one file in memory."""
    return sink.contents[files[0].file.index]


def list_of_bytes(sink: Sink, files: Sequence[AvailableFile]) -> list[bytes]:
    """The result of several files in memory, in the order they were asked for."""
    return [sink.contents[file.file.index] for file in files]
