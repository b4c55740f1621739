"""The stage in memory, in virtual time: both programs on one event loop, and all that is between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from p2pshare.model import KIB, Limits
from p2pshare.session import rendezvous
from signaling import client as signaling
from tests.session.matrix.cells import Cell, Event
from tests.session.matrix.program import MAIN, SIZES, Program
from tests.session.matrix.stage import Stage
from tests.session.matrix.tap import Tap
from tests.support.memory_channels import MemoryChannels
from tests.support.memory_network import MemoryNetwork, MemoryPeerConnection
from tests.support.memory_signaling import MemoryServer
from tests.support.virtual import Process


class MemoryStage(Stage):
    """Everything on one event loop; only files are real."""

    limits = Limits(min_window=128 * KIB, max_window=512 * KIB, disk_reserve=0)
    is_exact = True
    recovery_s = 20.0
    cut_short_s = 5.0
    cut_long_s = 60.0
    server_gone_s = 20.0
    restart_s = 2.0
    pause_s = 60.0

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.network = MemoryNetwork()
        self.network.observers.append(self._observe)
        self.server = MemoryServer(self.network, seed)
        self._sent: Counter[str] = Counter()
        self._jobs: Counter[str] = Counter()
        self._tap = Tap(SIZES, self._sent, self._jobs)
        self._processes: dict[str, Process] = {}
        self._programs: dict[str, Program] = {}
        self._has_happened = asyncio.Event()
        self._buried: list[asyncio.Task[None]] = []

    async def start(self, side: str, *, later: frozenset[str] = frozenset()) -> None:
        process = self._processes[side] = Process(side, self.folders[side])
        make = partial(Program, side, self.folders[side], self.limits, later=later)
        self._programs[side] = process.call(make)
        await process.run(self._programs[side].join("ws://server"))

    async def call(self, side: str, method: str, *arguments: str) -> Any:
        return await self._processes[side].run(self._call(side, method, *arguments))

    async def _call(self, side: str, method: str, *arguments: str) -> Any:
        result = getattr(self._programs[side], method)(*arguments)
        return await result if isawaitable(result) else result

    async def arm(self, cell: Cell) -> None:
        self._tap.when(MAIN, cell.moment, partial(self._begin, cell.event))

    async def happened(self) -> None:
        await self._has_happened.wait()

    async def happen(self, event: Event) -> None:
        self._begin(event)

    def _begin(self, event: Event) -> None:
        self._has_happened.set()
        match event:
            case Event.CANCEL_BY_SENDER | Event.PAUSE_BY_SENDER:
                self._soon("alice", event)
            case Event.CANCEL_BY_RECEIVER | Event.PAUSE_BY_RECEIVER:
                self._soon("bob", event)
            case Event.KILL_SENDER:
                self._kill("alice")
            case Event.KILL_RECEIVER:
                self._kill("bob")
            case Event.CUT_SHORT | Event.CUT_LONG:
                self.network.cut("bob")
            case Event.SERVER_GONE | Event.SERVER_BACK:
                self.server.stop()

    def _soon(self, side: str, event: Event) -> None:
        program = self._programs[side]
        is_cancel = event in (Event.CANCEL_BY_SENDER, Event.CANCEL_BY_RECEIVER)
        call = program.cancel if is_cancel else program.pause
        asyncio.get_running_loop().call_soon(call, MAIN, context=self._processes[side].context)

    def _kill(self, side: str) -> None:
        """SIGKILL: whatever the process held is gone, and nobody is told but by its kernel."""
        process = self._processes[side]
        self.network.kill(process)
        self.server.kill(process)
        process.kill()
        close = self._programs[side].close()  # it ends its tasks, in a world that it cannot change any more
        self._buried.append(asyncio.get_running_loop().create_task(close, context=process.context))

    async def heal(self) -> None:
        self.network.heal("bob")

    async def start_server(self) -> None:
        self.server.start()

    def sent(self, name: str) -> int:
        return self._sent[name]

    def jobs(self, name: str) -> int:
        return self._jobs[name]

    async def close(self) -> None:
        """End both programs; nothing went wrong unseen."""
        for side in self._programs:
            await self.call(side, "close")
        for burial in self._buried:
            await burial
        self.server.stop()
        assert not self.network.failures, self.network.failures

    def _observe(self, sender: MemoryPeerConnection, message: bytes, arrives: bool) -> None:
        by_alice = sender.process.host == "alice"
        alices = sender if by_alice else sender.remote
        assert alices is not None
        self._tap.observe(alices.number, message, by_alice=by_alice, arrives=arrives)


@asynccontextmanager
async def memory_stage(folder: Path, seed: int) -> AsyncIterator[MemoryStage]:
    """A stage with a server; nobody is in the room yet."""
    stage = MemoryStage(folder, seed)
    with (
        patch.object(rendezvous, "PeerConnection", MemoryPeerConnection),
        patch.object(rendezvous, "Channels", MemoryChannels),
        patch.object(MemoryPeerConnection, "network", stage.network, create=True),
        patch.object(signaling, "dial", stage.server.dial),
    ):
        stage.server.start()
        try:
            yield stage
        finally:
            await stage.close()
