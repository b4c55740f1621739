"""Events from the session to the program: callbacks and iterators.

A program's callback never reaches into a transfer: what it raises is logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Self, TypeVar
from weakref import WeakSet

from p2pshare.events import DownloadProgress, Event, UploadProgress
from p2pshare.session.tasks import TaskSet

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

MAX_PENDING: Final = 250_000
"""Events that an iterator may be behind, progress not counted: room for two offers of 100,000 files."""


class EventsLost(Exception):
    """Whoever iterates the events fell too far behind; iterate faster, or use callbacks."""


_Key = tuple[type[Event], int, str]


class EventStream(AsyncIterator[Event]):
    """The events of one iterator, until it is closed."""

    def __init__(self) -> None:
        self._pending: deque[Event | _Key] = deque()
        "In order; a key stands for the newest progress of a job at a peer."
        self._newest: dict[_Key, Event] = {}
        self._wake = asyncio.Event()
        self._is_closed = False
        self._is_overrun = False

    def put(self, event: Event) -> None:
        """Queue an event; of progress, only the newest a job and peer is kept, in the place of the first."""
        if self._is_closed:
            return
        if isinstance(event, UploadProgress | DownloadProgress):
            key = (type(event), event.job_id, event.peer)
            if key not in self._newest:
                self._pending.append(key)
            self._newest[key] = event
        elif len(self._pending) - len(self._newest) < MAX_PENDING:
            self._pending.append(event)
        else:
            self._is_overrun = True
        self._wake.set()

    def close(self) -> None:
        """No more events come."""
        self._is_closed = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            if self._is_overrun:
                raise EventsLost(f"more than {MAX_PENDING:,} events behind")
            if self._is_closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        event = self._pending.popleft()
        return event if isinstance(event, Event) else self._newest.pop(event)

    async def aclose(self) -> None:
        """Stop listening; what is there already can still be had. Idempotent."""
        self.close()


class Dispatcher:
    """Who wants to hear what."""

    def __init__(self, tasks: TaskSet) -> None:
        self._tasks = tasks
        self._callbacks: list[tuple[type[Event], Callable[[Any], object]]] = []
        self._streams: WeakSet[EventStream] = WeakSet()  # one that nobody holds any more hears nothing
        self._is_closed = False

    def on(
        self, event_type: type[E], callback: Callable[[E], Awaitable[object] | object]
    ) -> Callable[[], None]:
        """Call back for each event of a type and its subtypes; returns what undoes it."""
        if not issubclass(event_type, Event):
            raise TypeError(f"{event_type!r} is no type of event: an error is a field of one")
        entry = (event_type, callback)
        self._callbacks.append(entry)

        def off() -> None:
            if entry in self._callbacks:
                self._callbacks.remove(entry)

        return off

    def events(self) -> EventStream:
        """All events from now on; none once this is closed."""
        stream = EventStream()
        if self._is_closed:
            stream.close()
        self._streams.add(stream)
        return stream

    def emit(self, event: Event) -> bool:
        """Tell everybody; returns whether a callback took it."""
        for stream in list(self._streams):
            stream.put(event)
        callbacks = [callback for event_type, callback in self._callbacks if isinstance(event, event_type)]
        for callback in callbacks:
            self._call(callback, event)
        return bool(callbacks)

    def _call(self, callback: Callable[[Any], object], event: Event) -> None:
        try:
            result = callback(event)
        except (Exception, asyncio.CancelledError):  # the program's code: its failure is logged, and its own
            logger.exception("a callback for %s failed", type(event).__name__)
            return
        if inspect.iscoroutine(result):
            self._tasks.start(result, f"callback for {type(event).__name__}")

    def close(self) -> None:
        """End all iterators."""
        self._is_closed = True
        for stream in list(self._streams):
            stream.close()
