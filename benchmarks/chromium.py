"""Chromium as one end of a bare data channel; `benchmarks.raw --stack chromium` comes here.

One connection with one channel. CPU and memory are those of the browser's processes together.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections import defaultdict
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from benchmarks.wire import Wire

_SCRIPT = Path(__file__).with_suffix(".js")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def is_missing() -> str:
    """What is not installed."""
    if shutil.which("chromium") is None:
        return "chromium is not installed"
    return "" if find_spec("playwright") else "PyPI's playwright is not installed"


async def raw(wire: Wire, options: argparse.Namespace, high_water: int) -> None:
    from tests.support.chromium import new_page, running_browser  # the rest goes without playwright

    script = f"globalThis.raw = new Raw({options.size}, {options.message}, {high_water})"
    sends = options.side == "send"
    async with (
        running_browser() as browser,
        new_page(browser, _SCRIPT.read_text() + script) as page,
    ):

        async def describe() -> None:
            wire.put(**await page.evaluate("raw.describe()"))

        async def take_description() -> None:
            await page.evaluate("description => raw.take_description(description)", await wire.get())

        if sends:
            await describe()
            await take_description()
        else:
            await page.evaluate("raw.count()")
            await take_description()
            await describe()
        await page.evaluate("raw.open.then(() => undefined)")
        wire.put(ready=True)
        await wire.get()
        before = _usage()
        seconds = await page.evaluate("raw.send()" if sends else "raw.receive()")
        after = _usage()
        wire.put(
            seconds=seconds,
            bytes=float(options.size),
            cpu_used_s=after["cpu_s"] - before["cpu_s"],
            **after,
        )
        await wire.get()


def _usage() -> dict[str, float]:
    """As `benchmarks.wire.usage`, of this process's descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            children[int(fields[1])].append(pid)
            ticks[pid] = int(fields[11]) + int(fields[12])
    family: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        born = children[waiting.pop()]
        family += born
        waiting += born
    return {
        "cpu_s": sum(ticks[pid] for pid in family) / _TICKS_PER_S,
        "peak_mib": sum(_peak_mib(pid) for pid in family),
    }


def _peak_mib(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
