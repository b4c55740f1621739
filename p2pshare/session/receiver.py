"""The downloader's end of a job: from a stream to a sink, granting credit as the sink keeps up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from p2pshare.errors import TransferError, transfer_error
from p2pshare.model import KIB, Piece
from p2pshare.protocol import events as e
from p2pshare.protocol.states import JobState
from p2pshare.session.link import Link, StallWatch
from p2pshare.session.rate import Pace
from p2pshare.storage import Sink

LINGER_BELOW: Final = 256 * KIB
LINGER_S: Final = 0.001
"""Less than so many bytes wait so long for more: a hop to a thread costs as much as 100 KiB of a file."""


class Receiver:
    """Receives one job into an open sink. ``run()`` is its life; it never raises for what goes wrong."""

    is_upload = False

    def __init__(
        self,
        link: Link,
        sink: Sink,
        *,
        pace: Pace,
        stall_timeout_s: float,
        on_change: Callable[[int, Sequence[int]], None],
        on_pause: Callable[[bool], None],
    ) -> None:
        self.link = link
        self.job_id = 0
        self.failures: dict[int, TransferError] = {}
        "Files that did not arrive, by index."
        self.error: TransferError | None = None
        "Why the job as a whole did not complete; None also where its link ended under it."
        self.end_state: JobState | None = None
        "How it ended, once it has."
        self._sink = sink
        self._pace = pace
        self._pending: deque[tuple[tuple[Piece, ...], int]] = deque()
        self._pending_cost = 0
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_storing = False
        self._on_change = on_change
        self._on_pause = on_pause
        self._confirmed = 0
        self._stall = StallWatch(stall_timeout_s)

    def start(self, job_id: int, refused: Mapping[int, TransferError], *, is_paused: bool) -> None:
        """The job has its id; give up at once the files that are refused."""
        self.job_id = job_id
        self.link.add_job(job_id, self)
        if is_paused:
            self.link.core.downloads.pause(job_id)
        for index, error in refused.items():
            self._give_up_file(index, error)
        self.link.touch()

    async def run(self) -> None:
        """Store what arrives until the job is over."""
        try:
            while not self._ended.is_set():
                await self._wake.wait()
                self._wake.clear()
                if self._pending_cost < LINGER_BELOW and self._pending:
                    await asyncio.sleep(LINGER_S)
                if self._pending and not self._ended.is_set():
                    await self._store()
        finally:
            if not self._ended.is_set():
                self.give_up(TransferError("the download was interrupted"))

    async def _store(self) -> None:
        pieces: list[Piece] = []
        cost = 0
        while self._pending:
            more, paid = self._pending.popleft()
            pieces.extend(more)
            cost += paid
        self._pending_cost = 0
        self._is_storing = True
        try:
            report = await self._sink.store(pieces)
            await self._keep_pace(cost)
        finally:
            self._is_storing = False
        downloads = self.link.core.downloads
        downloads.stored(self.job_id, report.stored, cost, asyncio.get_running_loop().time())
        for index, error in report.failed.items():
            self._give_up_file(index, error)
        if not self._ended.is_set():
            downloads.confirm(self.job_id, report.confirmed)
            self._confirmed += len(report.confirmed)
        self._on_change(report.stored, report.confirmed)
        self.link.touch()

    async def _keep_pace(self, cost: int) -> None:
        """Credit is what the sender goes by: it comes no faster than the pace allows."""
        self._pace.spend(cost)
        while not self._ended.is_set() and (wait_s := self._pace.wait_s()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._ended.wait()

    def pause(self) -> None:
        """Take nothing until resume(); idempotent."""
        self.link.core.downloads.pause(self.job_id)
        self.link.touch()

    def resume(self) -> None:
        """Undo pause()."""
        self.link.core.downloads.resume(self.job_id)
        self.link.touch()

    def give_up(self, error: TransferError) -> None:
        """End the job from this side; idempotent."""
        if not self._ended.is_set():
            self.error = error
            self.link.core.downloads.stop(self.job_id, int(error.code), error.reason)
            self.link.touch()

    def _give_up_file(self, index: int, error: TransferError) -> None:
        self.failures[index] = error
        self.link.core.downloads.give_up_file(self.job_id, index, int(error.code), error.reason)

    # LinkJob -------------------------------------------------------------------------------------------

    def wants_to_send(self) -> bool:
        """Never: a receiver's words go through the core."""
        return False

    def pump(self) -> bool:
        """Nothing to send."""
        return False

    def event_received(self, event: e.CoreEvent) -> None:
        """The sender's side moved."""
        match event:
            case e.PiecesReceived():
                self._pending.append((event.pieces, event.cost))
                self._pending_cost += event.cost
                self._wake.set()
            case e.FileGivenUp():
                self.failures[event.file] = transfer_error(event.code, event.reason, remote=True)
            case e.JobPaused() | e.JobResumed():
                self._on_pause(isinstance(event, e.JobPaused))
            case e.JobEnded():
                self.end_state = event.state
                # By the state, not by the code: a peer may give up with code 0.
                if event.state not in (JobState.COMPLETED, JobState.LOST) and self.error is None:
                    self.error = transfer_error(event.code, event.reason, remote=event.remote)
                self._ended.set()
                self._wake.set()

    def check_stall(self, now: float) -> None:
        """Give up when nothing arrived for the stall timeout; paused jobs and a busy disk may stand still."""
        downloads = self.link.core.downloads
        job = downloads.jobs.get(self.job_id)
        if job is None:
            return
        # A queued job waits for another to end; where none runs, only for ids that the peer never closes.
        is_queued = job.channel is None and downloads.is_streaming
        is_excused = job.paused_here or job.paused_there or self._is_storing or is_queued
        state = (job.received, job.stored, self._confirmed, now if is_excused else 0)
        error = self._stall.check(state, now)
        if error is not None:
            self.give_up(error)
