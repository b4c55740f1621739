"""Events from the session to the program: callbacks and iterators.

A program's callback never reaches into a transfer: what it raises is logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from p2pshare.events import DownloadProgress, Event, UploadProgress
from p2pshare.session.tasks import TaskSet

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

MAX_PENDING: Final = 250_000
"""Events that an iterator may be behind, progress not counted: room for two offers of 100,000 files."""


class EventsLost(Exception):
    """Whoever iterates the events fell too far behind; iterate faster, or use callbacks."""


class EventStream:
    """The events of one iterator, until it is closed."""

    def __init__(self) -> None:
        self._pending: deque[Event] = deque()
        self._newest: dict[tuple[object, ...], Event] = {}
        self._wake = asyncio.Event()
        self._is_closed = False
        self._is_overrun = False

    def put(self, event: Event) -> None:
        """Queue an event; of progress, only the newest a job and peer is kept."""
        if isinstance(event, UploadProgress | DownloadProgress):
            self._newest[(type(event), event.job_id, event.peer)] = event
        elif len(self._pending) < MAX_PENDING:
            self._pending.append(event)
        else:
            self._is_overrun = True
        self._wake.set()

    def close(self) -> None:
        """No more events come."""
        self._is_closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._pending or self._newest:
                if self._newest:
                    yield self._newest.pop(next(iter(self._newest)))
                else:
                    yield self._pending.popleft()
            if self._is_overrun:
                raise EventsLost(f"more than {MAX_PENDING:,} events behind")
            if self._is_closed:
                return
            self._wake.clear()
            await self._wake.wait()


class Dispatcher:
    """Who wants to hear what."""

    def __init__(self, tasks: TaskSet) -> None:
        self._tasks = tasks
        self._callbacks: list[tuple[type[Event], Callable[[Any], object]]] = []
        self._streams: list[EventStream] = []

    def on(
        self, event_type: type[E], callback: Callable[[E], Awaitable[object] | object]
    ) -> Callable[[], None]:
        """Call back for each event of a type and its subtypes; returns what undoes it."""
        entry = (event_type, callback)
        self._callbacks.append(entry)

        def off() -> None:
            if entry in self._callbacks:
                self._callbacks.remove(entry)

        return off

    async def events(self) -> AsyncIterator[Event]:
        """All events from the first ``anext`` on."""
        stream = EventStream()
        self._streams.append(stream)
        try:
            async for event in stream:
                yield event
        finally:
            self._streams.remove(stream)

    def emit(self, event: Event) -> None:
        """Tell everybody."""
        for stream in self._streams:
            stream.put(event)
        for event_type, callback in list(self._callbacks):
            if isinstance(event, event_type):
                self._call(callback, event)

    def _call(self, callback: Callable[[Any], object], event: Event) -> None:
        try:
            result = callback(event)
        except Exception:  # the program's code: its failure is logged, and stays its own
            logger.exception("a callback for %s failed", type(event).__name__)
            return
        if inspect.iscoroutine(result):
            self._tasks.start(result, f"callback for {type(event).__name__}")

    def close(self) -> None:
        """End all iterators."""
        for stream in self._streams:
            stream.close()
