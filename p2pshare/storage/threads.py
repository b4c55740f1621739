"""Everything that may wait for a disk runs in these threads, never on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS: Final = 16
"""Jobs that can wait for a disk at once; asyncio's own pool has 6 threads on two cores, and other work."""

_pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="p2pshare-storage")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call in a thread.

    When the caller is cancelled, the call is taken back if it has not begun; else the cancellation waits
    until it has returned. So whoever closes a file never does it under a call that is still at it.
    """
    return await in_thread_until(Event(), call, *args, **kwargs)


async def in_thread_until(stop: Event, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for a call that may take minutes: when the caller is cancelled, ``stop`` asks it to end."""
    job = _pool.submit(call, *args, **kwargs)
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        if not job.cancel():
            await _ended(future)
        raise


async def _ended(future: asyncio.Future[T]) -> None:
    """Wait to the end, however often the caller is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # seen: nobody is left to take it
