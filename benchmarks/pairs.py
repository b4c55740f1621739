"""Two peer processes that measure a transfer between them: start them, introduce them, take their reports."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Run:
    """What two processes reported of one transfer."""

    send: dict[str, float]
    receive: dict[str, float]

    @property
    def rate(self) -> float:
        """10^6 bytes a second, from the start to the sender's knowledge that all is well."""
        return self.send["bytes"] / self.send["seconds"] / 1e6

    @property
    def cpu_per_gb(self) -> tuple[float, float]:
        """CPU seconds a 10^9 bytes at each end."""
        size = self.send["bytes"] / 1e9
        return self.send["cpu_used_s"] / size, self.receive["cpu_used_s"] / size

    @property
    def peak_mib(self) -> tuple[float, float]:
        """Peak resident memory at each end."""
        return self.send["peak_mib"], self.receive["peak_mib"]


Hosts = tuple[Sequence[str], Sequence[str]]
"""What to put before a command so that it runs at the sender's host, and at the receiver's."""
HERE: Hosts = ((), ())


async def run(
    way: str, send: Sequence[str], receive: Sequence[str], timeout_s: float, hosts: Hosts = HERE
) -> Run:
    """One transfer between two new processes of the module ``benchmarks.way``."""

    async def start(host: Sequence[str], side: str, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *host,
            sys.executable,
            "-m",
            f"benchmarks.{way}",
            side,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MIB,
            cwd=ROOT,
        )

    sender = await start(hosts[0], "send", send)
    receiver = await start(hosts[1], "receive", receive)
    try:
        async with asyncio.timeout(timeout_s):
            return await _relay(sender, receiver)
    finally:
        for process in (sender, receiver):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def _relay(sender: asyncio.subprocess.Process, receiver: asyncio.subprocess.Process) -> Run:
    """Pass each line of either process to the other, until both have reported their figures.

    Lines come in pairs: descriptions, "ready", and at last the figures.
    """
    while True:
        sent = await _line(sender)
        if "sdp" in sent:  # an offer: the answer needs it first
            _tell(receiver, sent)
        received = await _line(receiver)
        if "seconds" in sent:
            for process in (sender, receiver):
                _tell(process, {})
                await process.wait()
            return Run(sent, received)
        _tell(sender, received)
        if "sdp" not in sent:
            _tell(receiver, sent)


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    text = await process.stdout.readline()
    if not text:
        raise RuntimeError("a peer process ended early")
    line: dict[str, Any] = json.loads(text)
    return line


def _tell(process: asyncio.subprocess.Process, line: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(line).encode() + b"\n")


def median(figures: Iterable[float]) -> float:
    """The median, which a run that the machine disturbed does not move."""
    return float(statistics.median(figures))


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
