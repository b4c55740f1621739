"""Every cell of the matrix between real processes on hosts of their own, twelve at a time."""

from __future__ import annotations

import asyncio
import zlib
from pathlib import Path

import pytest

from tests.session.matrix.cells import CELLS, Cell, Event
from tests.session.matrix.hosts_stage import hosts_stage
from tests.session.matrix.stage import check_files, play
from tests.support.needs import needs_command, needs_namespaces

pytestmark = [needs_command("ip"), needs_namespaces()]


GROUPS = {
    "cancelled": (Event.CANCEL_BY_SENDER, Event.CANCEL_BY_RECEIVER),
    "paused": (Event.PAUSE_BY_SENDER, Event.PAUSE_BY_RECEIVER),
    "killed": (Event.KILL_SENDER, Event.KILL_RECEIVER),
    "cut": (Event.CUT_SHORT, Event.CUT_LONG),
    "without a server": (Event.SERVER_GONE, Event.SERVER_BACK),
}


@pytest.mark.parametrize("group", GROUPS)
async def test_a_transfer_ends_as_documented(group: str, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as cells:
        for cell in CELLS:
            if cell.event in GROUPS[group]:
                folder = tmp_path / str(cell)
                folder.mkdir()
                cells.create_task(_run(cell, folder), name=str(cell))


def test_every_event_is_in_a_group() -> None:
    assert {event for group in GROUPS.values() for event in group} == set(Event)


async def _run(cell: Cell, folder: Path) -> None:
    seed = zlib.crc32(str(cell).encode())
    try:
        async with hosts_stage(folder, seed, cell.event) as stage:
            await play(stage, cell)
            for side in ("alice", "bob"):
                await stage.call(side, "close")
        check_files(stage, cell)
    except Exception as exc:
        exc.add_note(f"in the cell {cell}")
        raise
