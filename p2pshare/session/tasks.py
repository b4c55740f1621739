"""Tasks that belong to an object: none outlives it, and no failure of one is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class TaskSet:
    """Tasks with one owner, for an owner that is no ``async with`` block: a `Session` begins with a call."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any] | None:
        """Run a coroutine as a task of this set; after close() it is dropped, and None returned."""
        if self._is_closed:
            coroutine.close()
            return None
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s failed", task.get_name(), exc_info=task.exception())

    async def settle(self, name: str) -> None:
        """Wait until all tasks of this name have ended."""
        while named := [task for task in self._tasks if task.get_name() == name]:
            await asyncio.wait(named)

    async def close(self) -> None:
        """Cancel every task and wait until all have ended; idempotent. Never cancels the caller."""
        self._is_closed = True
        current = asyncio.current_task()
        while others := [task for task in self._tasks if task is not current]:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
