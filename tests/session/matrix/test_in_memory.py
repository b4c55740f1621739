"""Every cell of the matrix in memory, in virtual time: what happens to a transfer, when, and how it ends."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from tests.session.matrix.cells import CELLS, Cell, Event, Moment
from tests.session.matrix.memory_stage import memory_stage
from tests.session.matrix.stage import check_files, play
from tests.support.leaks import watched
from tests.support.needs import only_on
from tests.support.virtual import virtual_time

pytestmark = only_on("linux")  # a process's open files are found in /proc


KILLS = [cell for cell in CELLS if cell.event in (Event.KILL_SENDER, Event.KILL_RECEIVER)]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_transfer_ends_as_documented(cell: Cell, tmp_path: Path) -> None:
    _play(cell, tmp_path)


@pytest.mark.parametrize("restart_s", [0.0, 40.0], ids=["before it is missed", "after it was given up"])
@pytest.mark.parametrize("cell", KILLS, ids=str)
def test_a_program_may_be_started_again_whenever(cell: Cell, restart_s: float, tmp_path: Path) -> None:
    _play(cell, tmp_path, restart_s)


def _play(cell: Cell, folder: Path, restart_s: float | None = None) -> None:
    seed = zlib.crc32(str(cell).encode())
    with virtual_time(seed) as (run, disk):
        if cell.moment in (Moment.BEFORE_CONFIRM, Moment.CONFIRM_SENT):
            disk.latency_s = 0.05  # slower than the network: what one side says comes before the disk is done
        run(_run(cell, folder, seed, restart_s))


async def _run(cell: Cell, folder: Path, seed: int, restart_s: float | None) -> None:
    async with watched(), memory_stage(folder, seed) as stage:
        if restart_s is not None:
            stage.restart_s = restart_s
        await play(stage, cell)
    check_files(stage, cell)
