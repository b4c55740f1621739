"""One sender, eight receivers, each in a process of its own: what the source, memory and one slow disk cost.

    python -m benchmarks broadcast [--size MIB] [--runs N] [--json FILE]

Three rounds take turns, run by run: eight receivers; seven; seven and one whose disk takes 1 MB/s. So the
seven are seen with and without the slow one, on the same machine at the same time. The slow one is cancelled
when the seven have it all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.pairs import MIB, ROOT, machine, median
from benchmarks.share import SlowSink
from benchmarks.transfer import write_random
from benchmarks.wire import Wire, usage
from p2pshare import events as ev
from p2pshare import join
from p2pshare.cli.running import keep_memory
from p2pshare.errors import P2PShareError
from p2pshare.model import OfferedFile
from p2pshare.storage import from_bytes
from signaling.server import SignalingServer

SLOW_RATE: Final = 1e6
"""Bytes a second of the slow disk."""
_ROOM: Final = "benchmark"


@dataclass(frozen=True, slots=True)
class Round:
    """Who takes part."""

    name: str
    fast: int
    slow: int = 0


ROUNDS: Final = (Round("eight", 8), Round("seven", 7), Round("seven and a slow one", 7, 1))


# Each end in its process ---------------------------------------------------------------------------------


async def send(url: str, path: Path, fast: Sequence[str], slow: Sequence[str]) -> None:
    """Send to all; done when the fast ones are."""
    wire = await Wire.open()
    async with join(url, room=_ROOM, name="sender") as session:
        await session.wait_for_peers(*fast, *slow)
        everyone = [*fast, *slow]
        await session.send_files(from_bytes("first", b"words"), to=everyone)  # all are connected
        done: dict[str, float] = {}
        all_done = asyncio.Event()

        def completed(event: ev.UploadCompleted) -> None:
            done[event.peer] = time.perf_counter() - began
            if done.keys() >= set(fast):
                all_done.set()

        session.on(ev.UploadCompleted, completed)
        wire.put(ready=True)
        await wire.get()
        read, cpu, began = _bytes_read(), usage()["cpu_s"], time.perf_counter()
        upload = session.send_files(path, to=everyone)
        await all_done.wait()
        slow_stored = sum(upload.deliveries[name].progress.stored for name in slow)
        wire.put(
            seconds=max(done[name] for name in fast),
            mean_s=sum(done.values()) / len(done),
            bytes_read=_bytes_read() - read,
            cpu_used_s=usage()["cpu_s"] - cpu,
            slow_stored=slow_stored,
            **usage(),
        )
        upload.cancel("the others have it")
        with suppress(P2PShareError):
            await upload
        await wire.get()


async def receive(url: str, name: str, folder: Path, rate: float) -> None:
    """Take what is offered, with a disk that takes ``rate`` bytes a second where that is not 0."""
    wire = await Wire.open()
    SlowSink.rate = rate
    async with join(url, room=_ROOM, name=name) as session:

        async def take(event: ev.FileOffered) -> None:
            def make(files: Sequence[OfferedFile]) -> SlowSink:
                return SlowSink(folder, files, limits=session.limits)

            with suppress(P2PShareError):  # the slow one is cancelled
                await session.download_into(event.offer.files, make)

        session.on(ev.FileOffered, take)
        wire.put(ready=True)
        await wire.get()
        wire.put(**usage())


def _bytes_read() -> int:
    """What this process has read from files so far: what it receives from sockets does not count as read."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


# Who starts them -----------------------------------------------------------------------------------------


class _Process:
    """One end, as who started it sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, *arguments: str) -> _Process:
        command = [sys.executable, "-m", "benchmarks.broadcast", *arguments]
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT))

    async def get(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = await self._process.stdout.readline()
        if not text:
            raise RuntimeError("a process ended early")
        line: dict[str, Any] = json.loads(text)
        return line

    def tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"{}\n")

    async def end(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()


async def measure_round(each: Round, source: Path, folder: Path, timeout_s: float) -> dict[str, Any]:
    """One broadcast; the sender's figures, and the largest peak of a receiver."""
    fast = [f"fast-{number}" for number in range(each.fast)]
    slow = [f"slow-{number}" for number in range(each.slow)]
    processes: list[_Process] = []
    async with SignalingServer("127.0.0.1", 0) as server, asyncio.timeout(timeout_s):
        try:
            with tempfile.TemporaryDirectory(dir=folder) as target:
                for name in [*fast, *slow]:
                    rate = SLOW_RATE if name in slow else 0.0
                    place = Path(target) / name
                    arguments = ("receive", server.url, name, str(place), str(rate))
                    processes.append(await _Process.start(*arguments))
                sender = await _Process.start("send", server.url, str(source), ",".join(fast), ",".join(slow))
                processes.append(sender)
                for process in processes:
                    await process.get()
                sender.tell()
                figures = await sender.get()
                sender.tell()
                for process in processes[:-1]:
                    process.tell()
                peaks = [(await process.get())["peak_mib"] for process in processes[:-1]]
                return {**figures, "receivers_peak_mib": max(peaks)}
        finally:
            for process in processes:
                await process.end()


def summarize(size: int, rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each round, and what the slow one does to the seven."""
    results: dict[str, Any] = {}
    for each in ROUNDS:
        runs = rounds[each.name]
        results[each.name] = {
            "seconds": median(run["seconds"] for run in runs),
            "seconds_runs": [round(run["seconds"], 2) for run in runs],
            "mb_s_together": each.fast * size / 1e6 / median(run["seconds"] for run in runs),
            "times_read": max(run["bytes_read"] for run in runs) / size,
            "cpu_s": median(run["cpu_used_s"] for run in runs),
            "peak_mib": max(run["peak_mib"] for run in runs),
            "receivers_peak_mib": max(run["receivers_peak_mib"] for run in runs),
        }
    with_slow, without = rounds["seven and a slow one"], rounds["seven"]
    results["time of the seven with the slow one, by that without"] = median(
        one["seconds"] / other["seconds"] for one, other in zip(with_slow, without, strict=True)
    )
    return results


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks broadcast", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--size", type=int, default=128, help="MiB of the file (default 128)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each round (default 3)")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(options)
    size = arguments.size * MIB
    rounds: dict[str, list[dict[str, Any]]] = {each.name: [] for each in ROUNDS}
    with tempfile.TemporaryDirectory(prefix="p2pshare-bench-", dir=".") as name:
        folder = Path(name).resolve()
        source = folder / "source.bin"
        write_random(source, size)
        for _ in range(arguments.runs):
            for each in ROUNDS:
                found = asyncio.run(measure_round(each, source, folder, 600))
                rounds[each.name].append(found)
                print(
                    f"{each.name:22} {found['seconds']:6.2f} s   source read {found['bytes_read'] / size:.2f}"
                    f" times   sender's peak {found['peak_mib']:.0f} MiB"
                    f"   slow one has {found['slow_stored'] / 1e6:.1f} MB",
                    flush=True,
                )
    results = {"machine": machine(), "size_mib": arguments.size, **summarize(size, rounds)}
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _one_end(arguments: list[str]) -> None:
    keep_memory()  # as the command does
    if arguments[0] == "send":
        _, url, path, fast, slow = arguments
        asyncio.run(send(url, Path(path), fast.split(","), slow.split(",") if slow else []))
    else:
        _, url, name, folder, rate = arguments
        asyncio.run(receive(url, name, Path(folder), float(rate)))


if __name__ == "__main__":
    _one_end(sys.argv[1:])
