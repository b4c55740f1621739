from __future__ import annotations

import asyncio

import pytest

from signaling.queues import EventQueue


async def drain(queue: EventQueue[int]) -> list[int]:
    items: list[int] = []
    try:
        while True:
            items.append(await queue.get())
    except StopAsyncIteration:
        return items


async def test_items_come_out_in_order_and_then_the_end() -> None:
    queue = EventQueue[int](max_length=10)
    for item in range(3):
        await queue.put(item)
    queue.end(99)
    queue.end(100)
    assert await drain(queue) == [0, 1, 2, 99]
    with pytest.raises(StopAsyncIteration):
        await queue.get()


async def test_put_waits_for_room() -> None:
    queue = EventQueue[int](max_length=2)

    async def fill() -> None:
        for item in range(50):
            await queue.put(item)
        queue.end(50)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fill())
        items = tasks.create_task(drain(queue))
    assert items.result() == list(range(51))


async def test_the_end_fits_into_a_full_queue_and_releases_who_waits() -> None:
    queue = EventQueue[int](max_length=1)
    await queue.put(1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.put(2))
        tasks.create_task(queue.put(3))
        await asyncio.sleep(0)
        queue.end(99)
    assert await drain(queue) == [1, 99]


async def test_every_reader_hears_of_the_end() -> None:
    queue = EventQueue[int](max_length=1)
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(drain(queue)) for _ in range(3)]
        await asyncio.sleep(0)
        queue.end(1)
    assert sorted(reader.result() for reader in readers) == [[], [], [1]]
