"""Whatever breaks, however often and in whatever order: once it holds, everything arrives, once.

In memory, in virtual time. ``MATRIX_SEEDS=1000`` tries so many courses of events instead of the usual few.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Final

import pytest

from p2pshare.errors import SignalingFailed, UploadError
from p2pshare.model import BLOCK_SIZE, KIB, ErrorCode
from tests.session.matrix.cells import Event, Outcome
from tests.session.matrix.memory_stage import MemoryStage, memory_stage
from tests.session.matrix.program import BESIDE, MAIN, SIZES
from tests.support.leaks import watched
from tests.support.needs import only_on
from tests.support.virtual import virtual_time

pytestmark = only_on("linux")  # a process's open files are found in /proc

ALBUM: Final = "album"
"A folder of many files: of some a block or more, of most less, of one nothing."
SENT: Final = (MAIN, BESIDE, ALBUM)
_SOON_S: Final = (0.02, 0.1, 0.3, 1.0, 4.0, 12.0)
_OUTAGES_S: Final = (0.0, 0.5, 3.0, 6.0, 20.0, 45.0)


@pytest.mark.parametrize("seed", range(int(os.environ.get("MATRIX_SEEDS", "20"))))
def test_everything_arrives_once_all_is_well_again(seed: int, tmp_path: Path) -> None:
    with virtual_time(seed) as (run, disk):
        disk.latency_s = random.Random(seed).choice((0.0005, 0.005, 0.05))
        run(_run(seed, tmp_path))


async def _run(seed: int, folder: Path) -> None:
    lots = random.Random(seed)
    async with watched(), memory_stage(folder, seed) as stage:
        stage.network.delay_s = lots.choice((0.0005, 0.005, 0.05))
        album = _write_album(stage.folders["alice"] / ALBUM, lots)
        await stage.start("alice")
        await stage.start("bob")
        await _send_all(stage)
        async with asyncio.TaskGroup() as troubles:
            troubles.create_task(_kill_now_and_then(stage, lots))
            troubles.create_task(_cut_now_and_then(stage, lots))
        for name in SENT:
            await _has_arrived(stage, name)
            assert set(await stage.call("bob", "received", name)) <= {Outcome.COMPLETED}
    inbox = stage.folders["bob"]
    there = {path.relative_to(inbox).as_posix() for path in inbox.rglob("*") if path.is_file()}
    assert there == {MAIN, BESIDE, *album}
    for name, content in {MAIN: stage.contents[MAIN], BESIDE: stage.contents[BESIDE], **album}.items():
        assert (inbox / name).read_bytes() == content
    for name in (MAIN, BESIDE):
        most = (stage.jobs(name) - 1) * (BLOCK_SIZE + stage.limits.max_window)
        assert stage.sent(name) - SIZES[name] <= most


async def _send_all(stage: MemoryStage) -> None:
    for name in SENT:
        await stage.call("alice", "send", name)


async def _has_arrived(stage: MemoryStage, name: str) -> None:
    """Sent again where Bob was out of reach when Alice was started: a first connection is tried for 20 s."""
    for _ in range(4):
        try:
            assert await stage.call("alice", "sent", name) is Outcome.COMPLETED
        except UploadError as error:
            assert error.failures["bob"].code in (ErrorCode.SHARING_NOT_AVAILABLE, ErrorCode.SIGNALING_FAILED)
            await asyncio.sleep(5.0)
            await stage.call("alice", "send", name)
        else:
            return
    raise AssertionError(f"{name} never arrived")


async def _kill_now_and_then(stage: MemoryStage, lots: random.Random) -> None:
    for _ in range(lots.randrange(4)):
        await _sleep(lots, _SOON_S)
        if lots.random() < 0.5:
            await stage.happen(Event.KILL_SENDER)
            await _sleep(lots, _OUTAGES_S)
            await _start(stage, "alice")
            await _send_all(stage)
        else:
            await stage.happen(Event.KILL_RECEIVER)
            await _sleep(lots, _OUTAGES_S)
            await _start(stage, "bob")


async def _start(stage: MemoryStage, side: str) -> None:
    """As a person does it who sees that the server is out of reach."""
    while True:
        try:
            await stage.start(side)
        except SignalingFailed:
            await asyncio.sleep(1.0)
        else:
            return


async def _cut_now_and_then(stage: MemoryStage, lots: random.Random) -> None:
    for _ in range(lots.randrange(4)):
        await _sleep(lots, _SOON_S)
        if lots.random() < 0.6:
            side = lots.choice(("alice", "bob"))
            stage.network.cut(side)
            await _sleep(lots, _OUTAGES_S)
            stage.network.heal(side)
        else:
            stage.server.stop()
            await _sleep(lots, _OUTAGES_S)
            stage.server.start()


async def _sleep(lots: random.Random, times_s: tuple[float, ...]) -> None:
    await asyncio.sleep(lots.random() * lots.choice(times_s))


def _write_album(folder: Path, lots: random.Random) -> dict[str, bytes]:
    folder.mkdir()
    sizes = (0, 1, 5 * KIB, 90 * KIB, BLOCK_SIZE, BLOCK_SIZE + 1, 300 * KIB, 3 * BLOCK_SIZE // 2, *[7] * 30)
    contents = {f"{ALBUM}/{number:02}.bin": lots.randbytes(size) for number, size in enumerate(sizes)}
    for name, content in contents.items():
        (folder.parent / name).write_bytes(content)
    return contents
