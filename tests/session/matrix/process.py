"""Alice, Bob and the signaling server as processes, which a test talks to through pipes, and may kill.

They are forked from one that has imported everything (multiprocessing's fork server): so a life begins in a
hundredth of a second.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, MutableMapping
from ctypes import Array, c_uint64
from dataclasses import dataclass, field
from inspect import isawaitable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from p2pshare.model import Limits
from p2pshare.rtc import Channels
from p2pshare.session.link import Link
from signaling.server import SignalingServer
from tests.session.matrix.cells import Moment
from tests.session.matrix.program import MAIN, SIZES, Program
from tests.session.matrix.tap import Tap
from tests.support.lan import enter

forked: Final = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["pytest", __name__])

PORT: Final = 8765


class SharedCounts(MutableMapping[str, int]):
    """Bytes by file name, in memory that outlives the process that counts."""

    def __init__(self, counts: Array[c_uint64]) -> None:
        self._counts = counts
        self._index = {name: index for index, name in enumerate(SIZES)}

    def __getitem__(self, name: str) -> int:
        return int(self._counts[self._index[name]])

    def __setitem__(self, name: str, count: int) -> None:
        self._counts[self._index[name]] = count

    def __delitem__(self, name: str) -> None:
        raise TypeError("counts stay")

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


class Counts:
    """What is counted of each file."""

    def __init__(self) -> None:
        self.sent = SharedCounts(forked.Array("Q", len(SIZES), lock=False))
        self.jobs = SharedCounts(forked.Array("Q", len(SIZES), lock=False))


@dataclass(frozen=True, slots=True)
class Life:
    """What a program is started with."""

    name: str
    namespace: str
    folder: Path
    limits: Limits
    url: str
    later: frozenset[str] = frozenset()
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    "Of the files that are sent, by name."


class Remote:
    """A program in a process of its own, as the test sees it."""

    def __init__(self, life: Life, counts: Counts) -> None:
        self._calls, theirs = forked.Pipe()
        self._moments, their_moments = forked.Pipe()
        self.process = forked.Process(target=_live, args=(life, theirs, their_moments, counts), daemon=True)
        self.process.start()
        theirs.close()
        their_moments.close()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._calls.fileno(), self._answered)
        asyncio.get_running_loop().add_reader(self._moments.fileno(), self._moment_reached)

    async def call(self, method: str, *arguments: str) -> Any:
        """Call a method of the `Program`, and wait for what it gives."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._calls.send((number, method, arguments))
        return await self._waiting[number]

    async def reached(self) -> None:
        """Wait until the process stands at the moment that it was armed for, or passes the offset."""
        await self._reached

    def go_on(self, method: str = "") -> None:
        """Let it go on; with a method of the program it calls that first."""
        self._moments.send(method)

    def close(self) -> None:
        """SIGKILL: it is gone when this returns."""
        self.process.kill()  # before its pipes are closed: it would end in good order
        self.process.join()
        loop = asyncio.get_running_loop()
        for pipe in (self._calls, self._moments):
            if not pipe.closed:
                loop.remove_reader(pipe.fileno())
                pipe.close()
        for future in self._waiting.values():
            future.cancel()

    def _answered(self) -> None:
        try:
            number, is_good, value = self._calls.recv()
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._calls.fileno())
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(RuntimeError("the process is gone"))
            return
        future = self._waiting.pop(number)
        if future.done():  # the test has failed elsewhere, and waits for nothing any more
            return
        if is_good:
            future.set_result(value)
        else:
            future.set_exception(AssertionError(value))

    def _moment_reached(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._moments.recv()
        except EOFError:
            loop.remove_reader(self._moments.fileno())
        else:
            self._reached.set_result(None)


# In the process --------------------------------------------------------------------------------------------


def _live(life: Life, calls: Connection, moments: Connection, counts: Counts) -> None:
    enter(life.namespace)
    asyncio.run(_Main(life, calls, moments, counts).run())


class _Main:
    """Answers calls until the pipe is closed."""

    def __init__(self, life: Life, calls: Connection, moments: Connection, counts: Counts) -> None:
        self._life = life
        self._calls = calls
        self._moments = moments
        self._tap = Tap(life.sizes, counts.sent, counts.jobs)
        self._has_ended = asyncio.Event()

    async def run(self) -> None:
        life = self._life
        self._program = Program(life.name, life.folder, life.limits, later=life.later)
        self._watch()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            asyncio.get_running_loop().add_reader(self._calls.fileno(), self._called)
            await self._has_ended.wait()
        await self._program.close()

    def _called(self) -> None:
        try:
            number, method, arguments = self._calls.recv()
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._calls.fileno())
            self._has_ended.set()
        else:
            self._tasks.create_task(self._answer(number, method, arguments))

    async def _answer(self, number: int, method: str, arguments: tuple[str, ...]) -> None:
        try:
            value: Any = None
            if method == "join":
                await self._program.join(self._life.url)
            elif method == "arm":
                self._tap.when(MAIN, Moment(arguments[0]), self._stand)
            elif method == "tell_at":
                self._tap.when_at(MAIN, int(arguments[0]), lambda: self._moments.send("passed"))
            else:
                value = getattr(self._program, method)(*arguments)
                if isawaitable(value):
                    value = await value
        except Exception as exc:  # noqa: BLE001  (the test is told, whatever it was)
            self._calls.send((number, False, f"{self._life.name}: {method}{arguments}: {exc!r}"))
        else:
            self._calls.send((number, True, value))

    def _stand(self) -> None:
        """Stand still, with all that happens here, until the test has done what it does at this moment."""
        self._moments.send("reached")
        method = self._moments.recv()
        if method:
            asyncio.get_running_loop().call_soon(getattr(self._program, method), MAIN)

    def _watch(self) -> None:
        """See every frame at the seam to the connection."""
        tap, is_alice = self._tap, self._life.name == "alice"
        send, receive = Channels.send, Link.message_received

        def sends(channels: Channels, channel_id: int, message: bytes) -> None:
            tap.observe(id(channels._listener), message, by_alice=is_alice, arrives=False)
            send(channels, channel_id, message)

        def receives(link: Link, channel_id: int, message: bytes) -> None:
            tap.observe(id(link), message, by_alice=not is_alice, arrives=True)
            receive(link, channel_id, message)

        patch.object(Channels, "send", sends).start()
        patch.object(Link, "message_received", receives).start()


class RemoteServer:
    """A signaling server in a process of its own."""

    def __init__(self, namespace: str, address: str) -> None:
        ours, theirs = forked.Pipe(duplex=False)
        self._ready = ours
        self.process = forked.Process(target=_serve, args=(namespace, address, theirs), daemon=True)
        self.process.start()
        theirs.close()

    async def ready(self) -> None:
        """Wait until it takes connections."""
        await asyncio.to_thread(self._ready.recv)

    def close(self) -> None:
        """SIGKILL: it is gone when this returns."""
        self.process.kill()
        self.process.join()
        self._ready.close()


def _serve(namespace: str, address: str, ready: Connection) -> None:
    enter(namespace)

    async def serve() -> None:
        async with SignalingServer(address, PORT):
            ready.send("ready")
            await asyncio.Event().wait()

    asyncio.run(serve())
