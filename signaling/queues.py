"""A queue of events with a bound, and an end that always fits."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class EventQueue(Generic[T]):
    """First in, first out, in one event loop."""

    def __init__(self, *, max_length: int) -> None:
        """Make an empty queue; `put` waits while `max_length` items, at least 1, are in it."""
        self._max_length = max_length
        self._items: deque[T] = deque()
        self._is_ended = False
        self._changed = asyncio.Event()

    async def put(self, item: T) -> None:
        """Append an item, when there is room for it. After the end it is dropped."""
        while len(self._items) >= self._max_length and not self._is_ended:
            await self._changed.wait()
        if not self._is_ended:
            self._append(item)

    def end(self, item: T) -> None:
        """Append the last item, at once, past the bound. Later ends are ignored."""
        if not self._is_ended:
            self._is_ended = True
            self._append(item)

    async def get(self) -> T:
        """Take the first item, when there is one.

        Raises:
            StopAsyncIteration: If the last item was taken.
        """
        while not self._items:
            if self._is_ended:
                raise StopAsyncIteration
            await self._changed.wait()
        item = self._items.popleft()
        self._wake()
        return item

    def _append(self, item: T) -> None:
        self._items.append(item)
        self._wake()

    def _wake(self) -> None:
        # Whoever waits holds the old event; a new one is for those who come to wait after this.
        self._changed.set()
        self._changed = asyncio.Event()
