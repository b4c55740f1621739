"""The uploader's end of a job: from a reader, under credit and limits of the pace, to a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from p2pshare.errors import TransferError, UploadError, transfer_error
from p2pshare.model import MIB, Piece
from p2pshare.protocol import events as e
from p2pshare.protocol.ranges import indexes_of
from p2pshare.protocol.states import JobState
from p2pshare.session.link import Link, StallWatch
from p2pshare.session.rate import Pace
from p2pshare.storage import FileFailed, UploadReader

BATCH_SIZE: Final = MIB
"""Bytes that are read at a time: a job holds two batches, one being sent and one read ahead."""


class Sender:
    """Sends one job. ``run()`` is its life; it never raises for what goes wrong with the job."""

    is_upload = True

    def __init__(
        self,
        link: Link,
        job_id: int,
        reader: UploadReader,
        *,
        pace: Pace,
        stall_timeout_s: float,
        confirm_timeout_s: float,
        on_change: Callable[[Sender, int, int], None],
        on_pause: Callable[[bool], None],
        on_end: Callable[[Sender], None],
    ) -> None:
        self.link = link
        self.job_id = job_id
        self.failures: dict[int, TransferError] = {}
        "Files that did not arrive, by index."
        self.confirmed: list[int] = []
        self.error: TransferError | None = None
        "Why the job as a whole did not complete; None also where its link ended under it."
        self.end_state: JobState | None = None
        "How it ended, once it has."
        self._reader = reader
        self._pace = pace
        self._pieces: deque[Piece] = deque()
        self._all_read = False
        self._on_change = on_change
        self._on_pause = on_pause
        self._on_end = on_end
        self._ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._pace_timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._stored = 0
        self._stall = StallWatch(stall_timeout_s)
        self._confirm_timeout_s = max(confirm_timeout_s, stall_timeout_s)

    async def run(self) -> None:
        """Read and send until the job is over."""
        try:
            while not self._ended.is_set():
                if self._is_paused:
                    await self._rest()
                elif self._pieces or self._all_read:
                    await self._wake.wait()
                    self._wake.clear()
                else:
                    await self._read()
        finally:
            if self._pace_timer is not None:
                self._pace_timer.cancel()
            if not self._ended.is_set():
                self.give_up(UploadError("the upload was interrupted"))
            await self._reader.close()

    async def _read(self) -> None:
        batch = await self._reader.next_batch(BATCH_SIZE)
        if self._ended.is_set():
            return
        if not batch:
            self._all_read = True
        for piece in batch:
            if isinstance(piece, FileFailed):
                self._give_up_file(piece.index, piece.error)
            else:
                self._pieces.append(piece)
        self.link.pump()

    async def _rest(self) -> None:
        """A paused job holds no buffers: what was read and not sent is read again."""
        pieces, self._pieces = list(self._pieces), deque()
        await self._reader.put_back(pieces)
        if pieces:
            self._all_read = False
        while self._is_paused and not self._ended.is_set():
            await self._wake.wait()
            self._wake.clear()

    @property
    def _is_paused(self) -> bool:
        job = self.link.core.uploads.jobs.get(self.job_id)
        return job is not None and job.is_paused

    def pause(self) -> None:
        """Send nothing until resume(); idempotent."""
        self.link.core.uploads.pause(self.job_id)
        self._wake.set()
        self.link.touch()

    def resume(self) -> None:
        """Undo pause()."""
        self.link.core.uploads.resume(self.job_id)
        self._wake.set()
        self.link.touch()

    def give_up(self, error: TransferError) -> None:
        """End the job from this side; idempotent."""
        if not self._ended.is_set():
            self.error = error
            self.link.core.uploads.reset(self.job_id, int(error.code), error.reason)
            self.link.touch()

    def _give_up_file(self, index: int, error: TransferError) -> None:
        self.failures[index] = error
        self.link.core.uploads.give_up_file(self.job_id, index, int(error.code), error.reason)
        self.link.touch()

    # LinkJob -------------------------------------------------------------------------------------------

    def wants_to_send(self) -> bool:
        """Whether there is something to send, credit for it, and room in the stream's channel."""
        uploads = self.link.core.uploads
        if not self._pieces or uploads.credit(self.job_id) <= 0:
            return False
        if not self.link.has_room(uploads.jobs[self.job_id].channel):
            return False
        return self._may_go()

    def _may_go(self) -> bool:
        """Whether the pace allows more now; otherwise the link is pumped when it does."""
        wait_s = self._pace.wait_s()
        if wait_s <= 0:
            return True
        if self._pace_timer is None:
            self._pace_timer = asyncio.get_running_loop().call_later(wait_s, self._pace_came)
        return False

    def _pace_came(self) -> None:
        self._pace_timer = None
        self.link.pump()

    def pump(self) -> bool:
        """Send one message."""
        sent = self.link.core.uploads.send(self.job_id, self._pieces)
        self._sent += max(0, sent)
        self._pace.spend(max(0, sent))
        if not self._pieces:
            self._wake.set()
        return sent >= 0

    def event_received(self, event: e.CoreEvent) -> None:
        """The receiver's side moved."""
        match event:
            case e.CreditRaised():
                stored, self._stored = event.stored - self._stored, event.stored
                self._on_change(self, stored, 0)
            case e.FilesConfirmed():
                indexes = list(indexes_of(event.files))
                self.confirmed.extend(indexes)
                self._on_change(self, 0, len(indexes))
            case e.FileGivenUp():
                self.failures[event.file] = transfer_error(event.code, event.reason, remote=True)
                self._on_change(self, 0, 0)
            case e.JobPaused() | e.JobResumed():
                self._on_pause(isinstance(event, e.JobPaused))
                self._wake.set()
            case e.JobEnded():
                self._end(event)

    def _end(self, event: e.JobEnded) -> None:
        self.end_state = event.state
        if event.state is JobState.COMPLETED:
            if self.error is None and not self.failures:
                # The last bytes are confirmed with their file, and raise no credit any more.
                self._on_change(self, self._sent - self._stored, 0)
        elif event.state is not JobState.LOST and self.error is None:
            # By the state, not by the code: a peer may give up with code 0.
            self.error = transfer_error(event.code, event.reason, remote=event.remote)
        self._ended.set()
        self._wake.set()
        self._pieces.clear()
        self._on_end(self)

    def check_stall(self, now: float) -> None:
        """Give up when neither side moved for the stall timeout; paused jobs may stand still."""
        job = self.link.core.uploads.jobs.get(self.job_id)
        if job is None:
            return
        waits_for_confirm = self._all_read and not self._pieces
        timeout_s = self._confirm_timeout_s if waits_for_confirm else self._stall.timeout_s
        is_excused = job.is_paused or self._pace_timer is not None
        state = (job.sent, job.stored, self._reader.hashed, len(self.confirmed), now if is_excused else 0)
        error = self._stall.check(state, now, timeout_s)
        if error is not None:
            self.give_up(error)
