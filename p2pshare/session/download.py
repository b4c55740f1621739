"""Downloads: files of one offer, on their way into a folder or into memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from p2pshare import events as ev
from p2pshare.errors import (
    ConnectionLost,
    DownloadError,
    DownloadNotAvailable,
    P2PShareError,
    SaveFailed,
    TransferCancelled,
    TransferError,
)
from p2pshare.events import AvailableFile
from p2pshare.model import ErrorCode, HeldBlocks, OfferedFile, Progress, total_size
from p2pshare.protocol.states import JobState
from p2pshare.session.handles import Handle, ProgressMeter
from p2pshare.session.link import Link, as_transfer_error
from p2pshare.session.offers import Standing
from p2pshare.session.rate import Pace, RateLimit
from p2pshare.session.receiver import Receiver
from p2pshare.storage import Sink, UnsafeName, check_wire_path

if TYPE_CHECKING:
    from p2pshare.session.incoming import Incoming

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Download(Handle[T]):
    """Files of one offer that are being fetched.

    ``await download`` gives the final path, the list of paths, or the bytes, as the call that began it says.
    A lost connection does not end it: it goes on when the sender is back within
    ``Limits.reconnect_timeout_s``, and only what is missing travels.
    Raises (on await):
        SaveFailed, StorageAccessDenied, IntegrityError, TransferStalled, ConnectionLost, DownloadError: What
            went wrong, of the first file that did not arrive; files that did are kept.
        DownloadNotAvailable: No longer offered.
        TransferCancelled: By us or by the sender (``.remote``).
    """

    def __init__(
        self,
        owner: Incoming,
        job_id: int,
        files: Sequence[AvailableFile],
        make_sink: Callable[[Sequence[OfferedFile]], Sink],
        result_of: Callable[[Sink, Sequence[AvailableFile]], T],
        *,
        rate_limit: int | None = None,
    ) -> None:
        super().__init__(job_id)
        self._owner = owner
        self.peer = files[0].peer
        self.files = tuple(files)
        self.failures: dict[int, TransferError] = {}
        "Files that did not arrive, by their number in the offer; complete once the download is done."
        self.skipped: frozenset[int] = frozenset()
        "Files that were not wanted, as something of their name was there (`Conflict.SKIP`)."
        self.is_paused = False
        "Whether this side pauses it."
        self.is_interrupted = False
        "Whether it waits for its sender to come back."
        self._by_index = {file.file.index: file.file for file in files}
        self._done: set[int] = set()
        self._make_sink = make_sink
        self._result_of = result_of
        self._pace = RateLimit(rate_limit)
        self._meter = ProgressMeter(total_size(file.size for file in files), len(files))
        self._waiting: asyncio.Task[Any] | None = None
        self._receiver: Receiver | None = None
        self._cancelled: TransferCancelled | None = None
        self._keep_parts = True
        self._was_accepted = False
        self._error: TransferError | None = None

    def __repr__(self) -> str:
        return f"<Download {self.id}: {len(self.files)} files>"

    @property
    def progress(self) -> Progress:
        """How far the download is."""
        return self._meter.progress

    @property
    def lacking(self) -> list[OfferedFile]:
        """Files that are still to come."""
        over = self._done | self.failures.keys() | self.skipped
        return [file for index, file in sorted(self._by_index.items()) if index not in over]

    @property
    def rate_limit(self) -> int | None:
        """Bytes a second; None: no limit. May be set at any time.

        Raises (when set):
            ValueError: The rate is not above 0.
        """
        return self._pace.rate

    @rate_limit.setter
    def rate_limit(self, rate: int | None) -> None:
        self._pace.rate = rate

    def pause(self) -> None:
        """Have the sender wait; nothing stalls out. Idempotent."""
        if not self.is_paused and not self.done:
            self.is_paused = True
            if self._receiver is not None:
                self._receiver.pause()
            self._owner.emit(ev.DownloadPaused(self.id, self.peer, remote=False))

    def resume(self) -> None:
        """Undo pause(); where the sender pauses as well, it goes on when both have resumed."""
        if self.is_paused:
            self.is_paused = False
            if self._receiver is not None:
                self._receiver.resume()
            self._owner.emit(ev.DownloadResumed(self.id, self.peer, remote=False))

    def cancel(self, reason: str = "", *, keep_parts: bool = False) -> None:
        """End the download as cancelled, at both ends; idempotent.

        What has come of unfinished files is removed, or with ``keep_parts`` left for a later attempt.
        """
        if self.done or self._cancelled is not None:
            return
        self._cancelled = TransferCancelled(reason or "cancelled", job_id=self.id, peer=self.peer)
        self._keep_parts = keep_parts
        if self._receiver is not None:
            self._receiver.give_up(self._cancelled)
        if self._waiting is not None:
            self._waiting.cancel()

    # For the session -------------------------------------------------------------------------------------

    async def run(self, standing: Standing | None) -> None:
        """The whole life of the download; what goes wrong becomes the handle's error."""
        sink: Sink | None = None
        error: P2PShareError | None = None
        is_complete = False
        try:
            if standing is None:
                raise DownloadNotAvailable("the file is no longer offered")
            refused = _refusals(self._by_index.values())
            sink = self._make_sink([file for file in self._by_index.values() if file.index not in refused])
            held = await self._unless_cancelled(sink.open(), "opening a sink")
            self.skipped = frozenset(sink.skipped)
            await self._fetch(standing, sink, held, refused)
            error = self._first_error()
            is_complete = error is None
        except P2PShareError as exc:
            error = exc
        finally:
            if isinstance(error, TransferCancelled) and error.remote:
                self._keep_parts = False
            if self._cancelled is not None and not self._was_accepted and standing is not None:
                # Its sender has not heard of the download, and would wait for an answer to the offer.
                self._owner.offers.give_up(standing, sorted(self._by_index), self._cancelled.reason)
            try:
                if sink is not None:
                    await sink.close(keep_parts=self._keep_parts)
            finally:  # a sink may raise anything: whoever waits for the download hears of its end
                error = error or self._cancelled or DownloadError("the download was interrupted")
                self._settle(sink, error, is_complete)

    async def _fetch(
        self,
        standing: Standing,
        sink: Sink,
        held: Sequence[HeldBlocks],
        refused: Mapping[int, TransferError],
    ) -> None:
        """Fetch what is lacking, on one link after another where they are lost."""
        has_adopted = False
        while self.lacking:
            link = await self._unless_cancelled(standing.on_link(), "waiting for the sender")
            if not has_adopted:
                has_adopted = await self._adopt(standing, link, sink)
                continue
            receiver = await self._fetch_on(link, standing, sink, held, refused)
            refused = {}
            self._receiver = None
            self.failures.update(receiver.failures)
            if receiver.end_state is not JobState.LOST:
                self._error = receiver.error
                break
            if self._cancelled is not None:
                raise self._cancelled
            error = as_transfer_error(link.error or ConnectionLost("the link ended"))
            if not isinstance(error, ConnectionLost) or standing.gone is not None:
                raise standing.gone or error
            self.is_interrupted = True
            self._owner.emit(ev.DownloadInterrupted(self.id, self.peer, error))
            held = await sink.reopen()
            self._recount(held)
        self._skip(standing)

    async def _fetch_on(
        self,
        link: Link,
        standing: Standing,
        sink: Sink,
        held: Sequence[HeldBlocks],
        refused: Mapping[int, TransferError],
    ) -> Receiver:
        """One job: until all is there, or the link is lost, or something else went wrong."""

        def changed(stored: int, confirmed: Sequence[int]) -> None:
            self._done.update(confirmed)
            standing.keep(confirmed, link)
            self._changed(stored, len(confirmed))

        receiver = Receiver(
            link,
            sink,
            pace=Pace(self._pace, self._owner.pace),
            stall_timeout_s=self._owner.limits.stall_timeout_s,
            on_change=changed,
            on_pause=self._paused_by_sender,
        )
        wanted = {file.index for file in self.lacking}
        held = [blocks for blocks in held if blocks.index in wanted]
        self._recount(held)
        job = link.core.downloads.accept(standing.number, sorted(wanted), held)
        self._was_accepted = True
        self._receiver = receiver
        self.is_interrupted = False
        receiver.start(job, refused, is_paused=self.is_paused)
        self._owner.emit(ev.DownloadStarted(self.id, self.peer))
        if refused:
            self._owner.names_refused(link, len(refused))
        await receiver.run()
        return receiver

    async def _adopt(self, standing: Standing, link: Link, sink: Sink) -> bool:
        """Find files that are there already; False where the link was lost over it."""
        lacking = {file.index for file in self.lacking}
        asked = [index for index in sink.lookalikes if index in lacking]
        if not asked:
            return True
        digests = await self._unless_cancelled(link.ask_have(standing.number, asked), "asking for digests")
        if digests is None:
            return False
        adopted = [
            index
            for index in asked
            if index in digests
            and await self._unless_cancelled(sink.adopt(index, *digests[index]), "comparing a file")
        ]
        self._done.update(adopted)
        standing.keep(adopted, None)
        self._recount(())
        return True

    def _skip(self, standing: Standing) -> None:
        if self.skipped and standing.link is not None:
            standing.link.core.downloads.decline_files(
                standing.number, sorted(self.skipped), ErrorCode.DECLINED, "a file of that name is there"
            )
            standing.link.touch()

    async def _unless_cancelled(self, coroutine: Coroutine[Any, Any, R], name: str) -> R:
        """Wait for something that may take minutes: cancel() does not wait for it."""
        if self._cancelled is not None:
            coroutine.close()
            raise self._cancelled
        waiting = asyncio.create_task(coroutine, name=name)
        self._waiting = waiting
        try:
            result = await waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._cancelled is None or (task is not None and task.cancelling()):
                raise
            raise self._cancelled from None
        finally:
            self._waiting = None
        if self._cancelled is not None:
            raise self._cancelled
        return result

    def _recount(self, held: Sequence[HeldBlocks]) -> None:
        """Count anew what is here: files in place, and blocks of others."""
        over = self._done | self.skipped
        stored = sum(self._by_index[index].size or 0 for index in over)
        stored += sum(blocks.size_in(self._by_index[blocks.index]) for blocks in held)
        self._meter.restart(self._meter.size, len(self.files), stored, len(over))
        self._progressed()

    def _changed(self, stored: int, files: int) -> None:
        self._meter.add(stored, files)
        if self._meter.is_due():
            self._progressed()
            self._owner.emit(ev.DownloadProgress(self.id, self.peer, self.progress))

    def _paused_by_sender(self, is_paused: bool) -> None:
        event = ev.DownloadPaused if is_paused else ev.DownloadResumed
        self._owner.emit(event(self.id, self.peer, remote=True))

    def _first_error(self) -> TransferError | None:
        if self._error is not None:
            return self._error
        if not self.failures:
            return None
        index, error = min(self.failures.items())
        error.file = next(file.path for file in self.files if file.file.index == index)
        return error

    def _settle(self, sink: Sink | None, error: P2PShareError, is_complete: bool) -> None:
        if is_complete and sink is not None:
            self._succeed(self._result_of(sink, self.files))
            self._owner.emit(ev.DownloadProgress(self.id, self.peer, self.progress))
            self._owner.emit(ev.DownloadCompleted(self.id, self.peer, dict(sink.paths)))
        else:
            failure = as_transfer_error(error)
            failure.job_id, failure.peer = self.id, self.peer
            self._fail(error)
            event = ev.DownloadCancelled if isinstance(error, TransferCancelled) else ev.DownloadFailed
            if self._owner.emit(event(self.id, self.peer, failure)):
                self._was_told()
        self._progressed()
        self._owner.download_ended(self)


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
