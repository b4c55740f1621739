"""Calls in threads, and what cancelling does to them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from p2pshare.storage.threads import MAX_THREADS, in_thread


async def test_a_call_returns_or_raises_what_it_does() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)


async def test_a_cancelled_caller_waits_for_the_call_and_one_that_waits_for_a_thread_does_not() -> None:
    gate = threading.Event()
    has_run = threading.Event()
    begun = threading.Barrier(MAX_THREADS + 1)

    def hold() -> bool:
        begun.wait(60)
        return gate.wait(60)

    running = [asyncio.create_task(in_thread(hold)) for _ in range(MAX_THREADS)]
    await asyncio.to_thread(begun.wait, 60)
    waiting = asyncio.create_task(in_thread(has_run.set))
    await asyncio.sleep(0)
    waiting.cancel()
    running[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not running[0].done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running[0]
    assert all(await asyncio.gather(*running[1:]))
    assert not has_run.is_set()
