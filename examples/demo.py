"""Two peers on this machine share real files, as two people would: ``python examples/demo.py [PATH]``.

A signaling server, a sender and a receiver run as processes of their own; this program watches their events
(``--json``), draws both their bars, and in the end compares every file by a digest of its own. Without PATH
they share Python's standard library. Exits with 0 only if everything arrived intact.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from blake3 import blake3
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

SILENCE_S = 120.0
"Seconds without any event after which the demo gives up."
Event = dict[str, Any]
console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


async def main(path: Path | None) -> int:
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="p2pshare-demo-") as folder:
        source = path
        if source is None:
            source = await asyncio.to_thread(copy_of_standard_library, Path(folder))
        sent = await asyncio.to_thread(digests, source)
        size = sum(file.stat().st_size for file in files_of(source))
        console.print(f"sharing {source.name}: {count(len(sent))}, {decimal(size)}")
        inbox = Path(folder) / "inbox"
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(running("serve", "--host", "127.0.0.1", "--port", "0"))
            url = (await next_line(server)).split()[-1]
            console.print(f"signaling server: {url}")
            room = ("--room", "demo", "--server", url, "--json")
            receiver = await stack.enter_async_context(
                running("receive", *room, "--name", "receiver", "--dir", str(inbox), "--accept", "all")
            )
            await event_of(receiver, "joined")
            sender = await stack.enter_async_context(
                running("send", *room, "--name", "sender", "--to", "receiver", "--", str(source))
            )
            seconds = await watch(sender, receiver)
        received = await asyncio.to_thread(lambda: digests(next(inbox.iterdir())))
    return verdict(sent, received, size, seconds)


def copy_of_standard_library(folder: Path) -> Path:
    """The standard library as a tree of its own, without what was installed or compiled later."""
    library = Path(sysconfig.get_path("stdlib"))
    unwanted = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages", "config-*")
    copy = folder / library.name
    shutil.copytree(library, copy, ignore=unwanted, ignore_dangling_symlinks=True)
    return copy


def files_of(path: Path) -> list[Path]:
    """The file, or all files below the folder; links within are not shared."""
    if path.is_file():
        return [path]
    return sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def digests(path: Path) -> dict[str, str]:
    """BLAKE3 of each file, by its path below the one that is shared."""
    found = {}
    for file in files_of(path):
        hasher = blake3()
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                hasher.update(chunk)
        found[str(file.relative_to(path))] = hasher.hexdigest()
    return found


def verdict(sent: dict[str, str], received: dict[str, str], size: int, seconds: float) -> int:
    """Say whether everything arrived; names that no platform should hold may have changed on the way."""
    lost = sum((Counter(sent.values()) - Counter(received.values())).values())
    if lost or len(sent) != len(received):
        console.print(f"error: of {count(len(sent))}, {lost:,} did not arrive intact")
        return 1
    renamed = len(sent.keys() - received.keys())
    console.print(f"verified: {count(len(sent))}, BLAKE3 equal" + f", {renamed:,} renamed" * bool(renamed))
    console.print(f"{decimal(size)} in {seconds:.2f} s: {size / seconds / 1e6:,.1f} MB/s")
    return 0


def count(files: int) -> str:
    return "1 file" if files == 1 else f"{files:,} files"


# Processes and their events ------------------------------------------------------------------------------


class DemoFailed(Exception):
    """The demo cannot go on; the message is for the person at the terminal."""


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    """A p2pshare command as a process, ended at the end, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "p2pshare", *arguments, stdin=DEVNULL, stdout=PIPE, limit=1 << 28
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def next_line(process: Process) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SILENCE_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise DemoFailed(f"nothing has happened for {SILENCE_S:.0f} s") from None
    if not line:
        raise DemoFailed("a process ended early; it says why above")
    return line.decode()


async def event_of(process: Process, kind: str) -> Event:
    """The next event of a type."""
    while True:
        event: Event = json.loads(await next_line(process))
        if event["type"] == kind:
            return event


async def watch(sender: Process, receiver: Process) -> float:
    """Show how both get on until both have ended well; return the seconds that the transfer took."""
    with new_bars() as bars:
        try:
            async with asyncio.TaskGroup() as tasks:
                taken = tasks.create_task(follow(sender, Meter("sender", bars)))
                tasks.create_task(follow(receiver, Meter("receiver", bars)))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
    return taken.result()


async def follow(process: Process, meter: Meter) -> float:
    """Draw a process's progress until it ends; return the seconds from its first byte to its last file."""
    began = seconds = 0.0
    while True:
        event: Event = json.loads(await next_line(process))
        match event["type"]:
            case "upload_started" | "download_started":
                began = time.monotonic()
            case "upload_progress" | "download_progress":
                meter.show(event)
            case "upload_completed" | "download_completed":
                seconds = time.monotonic() - began
            case "ended" if event["exit_code"] == 0:
                return seconds
            case "ended":
                raise DemoFailed(f"the {meter.name} failed with exit code {event['exit_code']}")


# What is seen of it --------------------------------------------------------------------------------------


def new_bars() -> Progress:
    return Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[files]}"),
        console=console,
        disable=not console.is_terminal,
    )


class Meter:
    """One process's bar; where there is no terminal, a line for each quarter."""

    def __init__(self, name: str, bars: Progress) -> None:
        self.name = name
        self._bars = bars
        self._task: TaskID = bars.add_task(name, total=None, files="")
        self._quarter = 0

    def show(self, event: Event) -> None:
        files = f"{event['files_done']:,}/{count(event['files'])}"
        self._bars.update(self._task, completed=event["bytes"], total=event["size"], files=files)
        quarter = 4 * event["bytes"] // event["size"] if event["size"] else 0
        if not console.is_terminal and quarter > self._quarter:
            self._quarter = quarter
            console.print(f"{self.name:8} {25 * quarter:3} %, {event['rate'] / 1e6:,.1f} MB/s, {files}")


def end_on_sigterm() -> None:
    """SIGTERM ends the demo as Ctrl-C does: the processes and the folder go away with it."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def run() -> int:
    path = Path(os.path.abspath(sys.argv[1])) if len(sys.argv) > 1 else None
    if path is not None and not os.access(path, os.R_OK):
        console.print(f"error: {str(path)!r} {'cannot be read' if path.exists() else 'is not there'}")
        return 2
    try:
        return asyncio.run(main(path))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except DemoFailed as failed:
        console.print(f"error: {failed}")
        return 1


if __name__ == "__main__":
    sys.exit(run())
