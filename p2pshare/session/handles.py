"""What a job looks like to the program: awaited for its outcome, iterated for its progress."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Final, Generic, TypeVar

from p2pshare.errors import TransferCancelled
from p2pshare.model import Progress

T = TypeVar("T")

PROGRESS_INTERVAL_S: Final = 0.1
"""Least time between two reports of progress."""
_RATE_OVER_S: Final = 3.0


class ProgressMeter:
    """Adds up what was stored, and knows how fast it has been going."""

    def __init__(self, size: int | None, files: int, clock: Callable[[], float] | None = None) -> None:
        self.size = size
        self.files = files
        self.stored = 0
        self.files_done = 0
        self._clock = clock or asyncio.get_running_loop().time
        self._marks: deque[tuple[float, int]] = deque([(self._clock(), 0)])
        self._reported_at = float("-inf")

    def add(self, stored: int, files_done: int = 0) -> None:
        """Count more bytes and files."""
        self.stored += stored
        self.files_done += files_done
        now = self._clock()
        if now - self._marks[-1][0] >= PROGRESS_INTERVAL_S:
            self._marks.append((now, self.stored))
        while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_OVER_S:
            self._marks.popleft()

    def hold(self, stored: int, files_done: int = 0) -> None:
        """Count what was there from the start: it is progress, but no speed."""
        self.restart(self.size, self.files, self.stored + stored, self.files_done + files_done)

    def restart(self, size: int | None, files: int, stored: int, files_done: int) -> None:
        """Begin anew with so much done, as after a lost connection."""
        self.size, self.files = size, files
        self.stored, self.files_done = stored, files_done
        self._marks = deque([(self._clock(), stored)])

    def is_due(self) -> bool:
        """Whether it is time for another report; asking takes the turn."""
        now = self._clock()
        if now - self._reported_at < PROGRESS_INTERVAL_S:
            return False
        self._reported_at = now
        return True

    @property
    def progress(self) -> Progress:
        """The state of things now."""
        began_at, began_with = self._marks[0]
        elapsed = self._clock() - began_at
        rate = (self.stored - began_with) / elapsed if elapsed > 0 else 0.0
        return Progress(self.stored, self.size, self.files_done, self.files, rate)


class Handle(ABC, Generic[T]):
    """A job that runs: `Upload` or `Download`.

    ``await handle`` gives the result or raises the job's error; cancelling the task that awaits cancels the
    job. ``async for progress in handle`` gives the newest `Progress` until the job ends, never a backlog.
    An error that nobody awaited, and that no callback was told, is logged when the handle is dropped, as for
    an asyncio.Future; our own cancel() is none.
    """

    def __init__(self, job_id: int) -> None:
        self.id = job_id
        "The job's number in its session."
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[T] = loop.create_future()
        self._tick: asyncio.Future[None] = loop.create_future()

    @property
    def done(self) -> bool:
        """Whether the job has its outcome."""
        return self._outcome.done()

    @property
    @abstractmethod
    def progress(self) -> Progress:
        """How far the job is."""

    @abstractmethod
    def cancel(self, reason: str = "") -> None:
        """End the job as cancelled; idempotent, no effect once it is done."""

    @abstractmethod
    def pause(self) -> None:
        """Move nothing for now; idempotent. A paused job holds no buffers, and does not stall out."""

    @abstractmethod
    def resume(self) -> None:
        """Undo pause(): each side resumes what it has paused."""

    async def wait(self) -> None:
        """Wait until the job is done, whatever its outcome. Only watches: cancelling this cancels no job."""
        await asyncio.wait([self._outcome])

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        try:
            return await asyncio.shield(self._outcome)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def __aiter__(self) -> AsyncIterator[Progress]:
        shown: Progress | None = None
        while True:
            progress = self.progress
            if progress != shown:
                shown = progress
                yield progress
            if self._outcome.done():
                return
            waiting: list[asyncio.Future[Any]] = [self._tick, self._outcome]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def _progressed(self) -> None:
        """Wake who iterates."""
        if not self._tick.done():
            self._tick.set_result(None)
        self._tick = asyncio.get_running_loop().create_future()

    def _succeed(self, result: T) -> None:
        if not self._outcome.done():
            self._outcome.set_result(result)

    def _fail(self, error: Exception) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)
            if isinstance(error, TransferCancelled) and not error.remote:
                self._outcome.exception()  # whoever cancelled knows

    def _was_told(self) -> None:
        """A callback of the program has heard of the outcome: it is no secret that nobody awaited."""
        if self._outcome.done() and not self._outcome.cancelled():
            self._outcome.exception()
