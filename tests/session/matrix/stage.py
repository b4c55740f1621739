"""One cell of the matrix, from the offers to the end, on whatever stage: in memory, or between processes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from p2pshare.model import BLOCK_SIZE, Limits
from tests.session.matrix.cells import Cell, Event, Moment, Outcome
from tests.session.matrix.program import AFTER, BESIDE, MAIN, SIZES, write_files


class Stage(ABC):
    """Alice's and Bob's programs, the server and the cables between them."""

    limits: Limits
    is_exact: bool
    "Whether a link breaks only where the event breaks it, and not because a machine is slow."
    cut_short_s: float
    "Long enough for Bob to count as silent."
    cut_long_s: float
    "Long enough for the connection to be lost."
    server_gone_s: float
    recovery_s: float
    "From when all is well again to the end of both transfers, at most."
    restart_s: float
    "From a program's death to its next life."
    pause_s: float
    "Longer than a transfer may stand still that is not paused."

    def __init__(self, folder: Path, seed: int) -> None:
        self.folders = {"alice": folder / "outbox", "bob": folder / "inbox"}
        self.folders["bob"].mkdir()
        self.contents = write_files(self.folders["alice"], seed)

    @abstractmethod
    async def start(self, side: str, *, later: frozenset[str] = frozenset()) -> None:
        """A new life of a program: it has what the one before left on the disk, and nothing else."""

    @abstractmethod
    async def call(self, side: str, method: str, *arguments: str) -> Any:
        """Call a method of a `Program`, and wait for what it gives."""

    @abstractmethod
    async def arm(self, cell: Cell) -> None:
        """Have the cell's event begin at its moment, seen from Bob: that very moment."""

    @abstractmethod
    async def happened(self) -> None:
        """Wait until the event has begun."""

    @abstractmethod
    async def happen(self, event: Event) -> None:
        """Begin it now."""

    @abstractmethod
    async def heal(self) -> None:
        """Put Bob's cable back."""

    @abstractmethod
    async def start_server(self) -> None:
        """A new signaling server, that knows nobody, at the old address."""

    @abstractmethod
    def sent(self, name: str) -> int:
        """Bytes of a file that Alice gave to connections, in all her lives."""

    @abstractmethod
    def jobs(self, name: str) -> int:
        """How often Bob accepted a file, in all his lives."""


async def play(stage: Stage, cell: Cell) -> None:
    """One cell. Fails where it does not end as documented."""
    is_offered = cell.moment is Moment.OFFERED
    await stage.start("alice")
    await stage.start("bob", later=frozenset({MAIN} if is_offered else ()))
    if not is_offered:
        await stage.arm(cell)
    await stage.call("alice", "send", BESIDE)
    await stage.call("alice", "send", MAIN)
    if is_offered:
        await stage.call("bob", "offered", MAIN)
        if cell.event is Event.PAUSE_BY_RECEIVER:  # there is nothing to pause before it is taken
            await stage.call("bob", "take_all")
        await stage.happen(cell.event)
    else:
        await stage.happened()
    await _go_on(stage, cell)
    if is_offered and cell.end.is_in_place:
        await stage.call("bob", "take_all")
    async with asyncio.timeout(stage.recovery_s):
        await _check_outcomes(stage, cell)
    await stage.call("alice", "send", AFTER)
    assert await stage.call("alice", "sent", AFTER) is Outcome.COMPLETED


async def _go_on(stage: Stage, cell: Cell) -> None:
    """What belongs to an event after its beginning."""
    match cell.event:
        case Event.PAUSE_BY_SENDER | Event.PAUSE_BY_RECEIVER:
            await stage.call("bob", "take_all")
            await _stands_still(stage, cell.moment)
            side = "alice" if cell.event is Event.PAUSE_BY_SENDER else "bob"
            await stage.call(side, "resume", MAIN)
        case Event.KILL_SENDER:
            await asyncio.sleep(stage.restart_s)
            await stage.start("alice")
            await stage.call("alice", "send", BESIDE)
            await stage.call("alice", "send", MAIN)
        case Event.KILL_RECEIVER:
            await asyncio.sleep(stage.restart_s)
            await stage.start("bob")
        case Event.CUT_SHORT | Event.CUT_LONG:
            await asyncio.sleep(stage.cut_short_s if cell.event is Event.CUT_SHORT else stage.cut_long_s)
            await stage.heal()
        case Event.SERVER_BACK:
            await asyncio.sleep(stage.server_gone_s)
            await stage.start_server()


async def _stands_still(stage: Stage, moment: Moment) -> None:
    """The main transfer does, however long, while the other one completes."""
    # What Alice hears of its end comes after PAUSE, on the same channel.
    assert await stage.call("alice", "sent", BESIDE) is Outcome.COMPLETED
    before = stage.sent(MAIN)
    if moment in (Moment.OFFERED, Moment.FIRST_BYTE, Moment.MIDDLE):  # later all of it may be on its way
        assert before < SIZES[MAIN]
    await asyncio.sleep(stage.pause_s)
    assert stage.sent(MAIN) == before


async def _check_outcomes(stage: Stage, cell: Cell) -> None:
    end = cell.end
    assert await stage.call("alice", "sent", MAIN) is end.sender
    assert await stage.call("alice", "sent", BESIDE) is Outcome.COMPLETED
    outcomes = await stage.call("bob", "received", MAIN)
    assert bool(outcomes) is (end.receiver is not Outcome.NOT_BEGUN)
    assert end.receivers.issuperset(outcomes)
    if cell.keeps_the_download:
        assert len(outcomes) == 1, "it is one download for its user, whatever happens below"
    assert set(await stage.call("bob", "received", BESIDE)) == {Outcome.COMPLETED}


def check_files(stage: Stage, cell: Cell) -> None:
    """Whole and in place, or nothing is there, and nothing else; nothing travelled twice without need."""
    inbox = stage.folders["bob"]
    is_in_place = cell.end.is_in_place
    if is_in_place is None:
        is_in_place = (inbox / MAIN).exists()
    expected = {BESIDE, AFTER, *([MAIN] if is_in_place else [])}
    assert {path.name for path in inbox.iterdir()} == expected
    for name in expected:
        assert (inbox / name).read_bytes() == stage.contents[name]
        twice, breaks = stage.sent(name) - SIZES[name], stage.jobs(name) - 1
        if not cell.event.breaks or stage.is_exact:
            assert breaks <= cell.event.breaks, f"{name} was begun {breaks + 1} times"
        assert twice <= breaks * (BLOCK_SIZE + stage.limits.max_window), (
            f"{twice:,} bytes of {name} travelled twice"
        )
