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
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

SILENCE_S = 120.0
"Seconds without any event after which the demo gives up."
EMPTY_FOLDER = ""
"In place of a digest."
Event = dict[str, Any]
console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


async def main(path: Path | None) -> int:
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="p2pshare-demo-") as folder:
        source = path
        if source is None:
            source = await asyncio.to_thread(copy_of_standard_library, Path(folder))
        try:
            sent = await asyncio.to_thread(digests, source)
            size = sum(file.stat().st_size for file in files_of(source))
        except OSError as error:
            raise DemoFailed(f"{error.filename!r} cannot be read: {error.strerror}") from error
        console.print(f"sharing {source.name}: {count(sent)}, {decimal(size)}")
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
        received = await asyncio.to_thread(lambda: digests(next(inbox.iterdir(), inbox)))
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
    return [path] if path.is_file() else sorted(each for each in below(path) if each.is_file())


def empty_folders_of(path: Path) -> list[Path]:
    """The folders that hold nothing, this one itself included: as such they are shared."""
    folders = [each for each in (path, *below(path)) if each.is_dir()]
    return sorted(each for each in folders if not any(below(each)))


def below(path: Path) -> Iterator[Path]:
    """The files and folders below a folder."""
    found = (each for each in path.rglob("*") if not each.is_symlink())
    return (each for each in found if each.is_file() or each.is_dir())


def digests(path: Path) -> dict[str, str]:
    """BLAKE3 of each file, by its path below the one that is shared; EMPTY_FOLDER of what holds nothing."""
    found = {str(folder.relative_to(path)): EMPTY_FOLDER for folder in empty_folders_of(path)}
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
        console.print(f"error: of {count(sent)}, {lost:,} did not arrive intact")
        return 1
    renamed = len(sent.keys() - received.keys())
    console.print(f"verified: {count(sent)}, BLAKE3 equal" + f", {renamed:,} renamed" * bool(renamed))
    console.print(f"{decimal(size)} in {seconds:.2f} s: {size / max(seconds, 1e-6) / 1e6:,.1f} MB/s")
    return 0


def count(shared: dict[str, str]) -> str:
    """``10 files and 1 empty folder``, of what digests() found."""
    folders = sum(digest == EMPTY_FOLDER for digest in shared.values())
    files = len(shared) - folders
    told = [f"{files:,} file{'s' * (files != 1)}"] if files or not folders else []
    told += [f"{folders:,} empty folder{'s' * (folders != 1)}"] if folders else []
    return " and ".join(told)


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
            if not line:
                await process.wait()
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
                meter.finish()
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
        self._rest = ""

    def show(self, event: Event) -> None:
        in_place = f"{event['files_done']:,}/{event['files']:,} in place"
        self._bars.update(self._task, completed=event["bytes"], total=event["size"], files=in_place)
        self._rest = f"{event['rate'] / 1e6:,.1f} MB/s, {in_place}"
        quarter = 4 * event["bytes"] // event["size"] if event["size"] else 0
        if self._quarter < quarter < 4:
            self._quarter = quarter
            self._print(25 * quarter)

    def finish(self) -> None:
        """Everything is confirmed: that is 100 %, and not the last byte."""
        self._print(100)

    def _print(self, percent: int) -> None:
        if not console.is_terminal:
            console.print(f"{self.name:8} {percent:3} %, {self._rest}")


def end_on_sigterm() -> None:
    """SIGTERM ends the demo as Ctrl-C does: the processes and the folder go away with it."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def problem_with(path: Path) -> str | None:
    """Why a path cannot be shared."""
    if not path.exists():
        return "is not there"
    if not (path.is_file() or path.is_dir()):
        return "is neither a file nor a folder"
    return None if os.access(path, os.R_OK) else "cannot be read"


def run() -> int:
    path = Path(os.path.abspath(sys.argv[1])) if len(sys.argv) > 1 else None
    if path is not None and (problem := problem_with(path)) is not None:
        console.print(f"error: {str(path)!r} {problem}")
        return 2
    try:
        return asyncio.run(main(path))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except (DemoFailed, OSError) as failed:
        console.print(f"error: {failed}")
        return 1


if __name__ == "__main__":
    sys.exit(run())
