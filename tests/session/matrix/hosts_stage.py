"""The stage between hosts: processes in network namespaces, killed by SIGKILL, with cables that are cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from p2pshare.model import KIB, Limits
from tests.session.matrix.cells import Cell, Event
from tests.session.matrix.process import PORT, Counts, Life, Remote, RemoteServer
from tests.session.matrix.program import MAIN
from tests.session.matrix.stage import Stage
from tests.support.lan import Lan, lan

_LIMITS: Final = Limits(min_window=128 * KIB, max_window=512 * KIB, disk_reserve=0)
_HASTY: Final = replace(_LIMITS, silence_timeout_s=0.5, lost_timeout_s=3.0)
"A tenth of the usual times, where something breaks: a minute is six seconds."


class HostsStage(Stage):
    """Two hosts on a switch that the signaling server runs on."""

    is_exact = False
    recovery_s = 100.0
    cut_short_s = 0.5
    cut_long_s = 6.0
    server_gone_s = 2.0
    restart_s = 0.2
    pause_s = 1.0

    def __init__(self, folder: Path, seed: int, network: Lan, event: Event) -> None:
        super().__init__(folder, seed)
        self.limits = _HASTY if event.breaks else _LIMITS
        self._lan = network
        self._counts = Counts()
        self._remotes: dict[str, Remote] = {}
        self._server: RemoteServer | None = None
        self._event: Event | None = None

    async def start(self, side: str, *, later: frozenset[str] = frozenset()) -> None:
        life = Life(
            side,
            self._lan.hosts[side],
            self.folders[side],
            self.limits,
            f"http://{self._lan.server_address}:{PORT}",
            later,
        )
        self._remotes[side] = Remote(life, self._counts)
        await self.call(side, "join")

    async def call(self, side: str, method: str, *arguments: str) -> Any:
        return await self._remotes[side].call(method, *arguments)

    async def arm(self, cell: Cell) -> None:
        self._event = cell.event
        await self.call("bob", "arm", cell.moment.value)

    async def happened(self) -> None:
        assert self._event is not None
        bob = self._remotes["bob"]
        await bob.reached()
        match self._event:
            case Event.CANCEL_BY_RECEIVER:
                bob.go_on("cancel")
            case Event.PAUSE_BY_RECEIVER:
                bob.go_on("pause")
            case event:
                await self.happen(event)
                if event is not Event.KILL_RECEIVER:
                    bob.go_on()

    async def happen(self, event: Event) -> None:
        match event:
            case Event.CANCEL_BY_SENDER:
                await self.call("alice", "cancel", MAIN)
            case Event.CANCEL_BY_RECEIVER:
                await self.call("bob", "cancel", MAIN)
            case Event.PAUSE_BY_SENDER:
                await self.call("alice", "pause", MAIN)
            case Event.PAUSE_BY_RECEIVER:
                await self.call("bob", "pause", MAIN)
            case Event.KILL_SENDER:
                self._remotes["alice"].close()
            case Event.KILL_RECEIVER:
                self._remotes["bob"].close()
            case Event.CUT_SHORT | Event.CUT_LONG:
                self._lan.cut("bob")
            case Event.SERVER_GONE | Event.SERVER_BACK:
                self.stop_server()

    async def heal(self) -> None:
        self._lan.heal("bob")

    async def start_server(self) -> None:
        self._server = RemoteServer(self._lan.switch, self._lan.server_address)
        await self._server.ready()

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.close()

    def sent(self, name: str) -> int:
        return self._counts.sent[name]

    def jobs(self, name: str) -> int:
        return self._counts.jobs[name]

    def close(self) -> None:
        """Nothing is left of any of them."""
        for remote in self._remotes.values():
            remote.close()
        self.stop_server()


@asynccontextmanager
async def hosts_stage(folder: Path, seed: int, event: Event) -> AsyncIterator[HostsStage]:
    """A stage with a server; nobody is in the room yet."""
    with lan("alice", "bob") as network:
        stage = HostsStage(folder, seed, network, event)
        try:
            await stage.start_server()
            yield stage
        finally:
            stage.close()
