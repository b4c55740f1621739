"""What the matrix in memory stands on: the clock, the disk, and processes that can be killed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from p2pshare.storage.locks import lock
from p2pshare.storage.threads import in_thread
from tests.support.needs import only_on
from tests.support.virtual import DISK_LATENCY_S, Process, Standstill, virtual_time


def test_an_hour_passes_at_once() -> None:
    async def sleep() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(3000)
        return loop.time() - before

    with virtual_time(1) as (run, _):
        assert run(sleep()) == pytest.approx(3000, abs=0.001)


def test_who_waits_for_nothing_is_named() -> None:
    async def wait_in_vain() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Standstill, match="wait_in_vain"), virtual_time(1) as (run, _):
        run(wait_in_vain())


def test_the_disk_takes_virtual_time_and_its_calls_can_be_taken_back() -> None:
    calls: list[str] = []

    async def write() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await in_thread(calls.append, "done")
        dropped = asyncio.ensure_future(in_thread(calls.append, "dropped"))
        await asyncio.sleep(DISK_LATENCY_S / 2)
        dropped.cancel()
        await asyncio.wait([dropped])
        await asyncio.sleep(1)
        return loop.time() - before

    with virtual_time(1) as (run, _):
        assert run(write()) == pytest.approx(1 + 1.5 * DISK_LATENCY_S, abs=0.001)
    assert calls == ["done"]


@only_on("linux")
def test_a_killed_process_holds_no_lock_and_changes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    held, other = os.open(path, os.O_RDWR), os.open(tmp_path.parent, os.O_RDONLY)
    try:
        assert lock(held)
        Process("host", tmp_path).kill()
        os.write(held, b"after!")
        os.fsync(other)
        again = os.open(path, os.O_RDWR)
        assert lock(again)
        os.close(again)
    finally:
        os.close(held)
        os.close(other)
    assert path.read_bytes() == b"before"
