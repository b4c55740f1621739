"""The uploader's end of a job: from a reader, under credit, to a stream."""

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
        stall_timeout_s: float,
        confirm_timeout_s: float,
        held: int,
        on_change: Callable[[Sender, int, int], None],
        on_end: Callable[[Sender], None],
    ) -> None:
        self.link = link
        self.job_id = job_id
        self.failures: dict[int, TransferError] = {}
        "Files that did not arrive, by index."
        self.confirmed: list[int] = []
        self.error: TransferError | None = None
        "Why the job as a whole did not complete."
        self.held = held
        "Bytes that the receiver held already."
        self._reader = reader
        self._pieces: deque[Piece] = deque()
        self._all_read = False
        self._on_change = on_change
        self._on_end = on_end
        self._ended = asyncio.Event()
        self._room = asyncio.Event()
        self._sent = 0
        self._stored = 0
        self._stall = StallWatch(stall_timeout_s)
        self._confirm_timeout_s = max(confirm_timeout_s, stall_timeout_s)

    async def run(self) -> None:
        """Read and send until the job is over."""
        try:
            while not self._ended.is_set():
                batch = await self._reader.next_batch(BATCH_SIZE)
                if not batch:
                    break
                for piece in batch:
                    if isinstance(piece, FileFailed):
                        self._give_up_file(piece.index, piece.error)
                    else:
                        self._pieces.append(piece)
                self.link.pump()
                if self._pieces and not self._ended.is_set():
                    self._room.clear()
                    await self._room.wait()
            self._all_read = True
            await self._ended.wait()
        finally:
            if not self._ended.is_set():
                self.give_up(UploadError("the upload was interrupted"))
            await self._reader.close()

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
        return self.link.has_room(uploads.jobs[self.job_id].channel)

    def pump(self) -> bool:
        """Send one message."""
        sent = self.link.core.uploads.send(self.job_id, self._pieces)
        self._sent += max(0, sent)
        if not self._pieces:
            self._room.set()
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
            case e.JobEnded():
                # By the state, not by the code: a peer may give up with code 0.
                if event.state is not JobState.COMPLETED and self.error is None:
                    self.error = transfer_error(event.code, event.reason, remote=event.remote)
                if self.error is None and not self.failures:
                    # The last bytes are confirmed with their file, and raise no credit any more.
                    self._on_change(self, self._sent - self._stored, 0)
                self._ended.set()
                self._room.set()
                self._pieces.clear()
                self._on_end(self)

    def check_stall(self, now: float) -> None:
        """Give up when neither side moved for the stall timeout; paused jobs may stand still."""
        job = self.link.core.uploads.jobs.get(self.job_id)
        if job is None:
            return
        waits_for_confirm = self._all_read and not self._pieces
        timeout_s = self._confirm_timeout_s if waits_for_confirm else self._stall.timeout_s
        state = (job.sent, job.stored, self._reader.hashed, len(self.confirmed), now if job.is_paused else 0)
        error = self._stall.check(state, now, timeout_s)
        if error is not None:
            self.give_up(error)
