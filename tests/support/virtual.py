"""A clock that jumps: an event loop in which minutes pass in milliseconds, and processes that can be killed.

``with virtual_time(seed) as (run, disk)``: ``run`` runs a coroutine on a loop whose clock all but stands
while anything can run, and jumps to the next timer when nothing can. What p2pshare would do in threads
happens on the loop itself, a little later: so a test is the same each time it runs. Where nothing will ever
happen again it fails at once, and says who waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import random
import secrets
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar
from unittest.mock import patch

from p2pshare.storage import threads

P = ParamSpec("P")
T = TypeVar("T")

DISK_LATENCY_S: Final = 0.002
"Virtual seconds from a call for the disk to its end."
_BEGIN_S: Final = 1000.0
_LONGEST_S: Final = 3600.0
"Nothing that is tested here takes longer: timers that go on for ever would never let the test fail."
_TURN_S: Final = 1e-7
"What a turn of the loop takes: a timer that is early by a rounding error is not set again for ever."


class Standstill(Exception):
    """Nothing will happen any more, or nothing that matters: the test waits in vain."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock all but stands while anything can run, and then jumps."""

    def __init__(self) -> None:
        self._now = _BEGIN_S
        super().__init__(_JumpingSelector(self._pass))

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self._now

    def _pass(self, is_idle: bool, timeout: float | None) -> None:
        self._now += _TURN_S
        if not is_idle:
            return
        self._now += timeout or 0.0
        if timeout is None or self._now > _BEGIN_S + _LONGEST_S:
            raise Standstill("nothing happens any more; who waits:\n" + "\n".join(_stacks(self)))


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: where nothing is ready, time passes."""

    def __init__(self, pass_time: Callable[[bool, float | None], None]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self._pass_time(not ready and timeout != 0, timeout)
        return ready


def _stacks(loop: asyncio.AbstractEventLoop) -> list[str]:
    stacks = []
    for task in asyncio.all_tasks(loop):
        out = io.StringIO()
        task.print_stack(file=out)
        stacks.append(out.getvalue())
    return stacks


class VirtualDisk:
    """In place of storage's threads: each call runs whole, on the loop, a little later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.latency_s = DISK_LATENCY_S
        self._loop = loop

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As an executor does; the call can be taken back until it begins."""
        job: Future[T] = Future()

        def work() -> None:
            if not job.set_running_or_notify_cancel():
                return
            try:
                result = call(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001  (as an executor does: it is the caller's)
                job.set_exception(exc)
            else:
                job.set_result(result)

        self._loop.call_later(self.latency_s, work)
        return job


@contextmanager
def virtual_time(seed: int) -> Iterator[tuple[Callable[[Coroutine[Any, Any, T]], T], VirtualDisk]]:
    """What runs a coroutine in virtual time, and its disk. Whatever is drawn by lot follows from the seed."""
    lots = random.Random(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        disk = VirtualDisk(runner.get_loop())
        with (
            patch.object(time, "monotonic", runner.get_loop().time),
            patch.object(threads, "_pool", disk),
            patch.object(secrets, "token_bytes", lots.randbytes),
            patch.object(secrets, "token_hex", lambda size: lots.randbytes(size).hex()),
            patch.object(random, "random", lots.random),
        ):
            yield runner.run, disk


_current: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class Process:
    """A program of its own, as far as the loop knows: its tasks and callbacks know to whom they belong."""

    def __init__(self, host: str, folder: Path) -> None:
        """``host`` is where it runs, by name; ``folder`` is what it alone has files open in."""
        self.host = host
        self.folder = folder
        self.is_dead = False
        self.context = contextvars.copy_context()
        self.context.run(_current.set, self)

    def __repr__(self) -> str:
        return f"<Process on {self.host}{', dead' if self.is_dead else ''}>"

    @staticmethod
    def current() -> Process:
        """Whose code is running."""
        return _current.get()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something as this process."""
        return await asyncio.get_running_loop().create_task(coroutine, context=self.context)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something as this process, from wherever."""
        return self.context.copy().run(function, *args, **kwargs)

    def kill(self) -> None:
        """From now on it changes nothing in the world; whoever holds its network ends must cut them as well.

        Its open files become /dev/null: locks are gone, as with a process, what its code still does to end
        itself reaches no file, and each descriptor may be closed by whoever has it.
        """
        self.is_dead = True
        null = os.open(os.devnull, os.O_RDWR)
        for fd in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):  # the listing's own is gone by now
                if Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(self.folder):
                    os.dup2(null, fd, inheritable=False)
        os.close(null)
