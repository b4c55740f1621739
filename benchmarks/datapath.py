"""The data path: raw channels and whole files, against stock aiortc, libwebrtc under Python, and the line.

    python -m benchmarks datapath [--runs N] [--only GROUP ...] [--save]

Two network namespaces with a veth pair (MTU 1500) where they may be made, else this host's loopback. The
rows of a group take turns, run by run, so that a noisy machine disturbs all alike; figures are medians.
``--save`` writes benchmarks/results (JSON, a Markdown table, a plot).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import chromium
from benchmarks.network import Offload, emulated_path, two_hosts
from benchmarks.network import Path as NetworkPath
from benchmarks.pairs import MIB, Hosts, Run, machine, median, run
from benchmarks.report import save
from benchmarks.transfer import share, write_random

KIB = 1024
DEFAULT_BUFFER = ("--buffer", "106496")  # of which the kernel makes twice as much
_CONNECT_TRIES = 50
Network = Callable[[], AbstractContextManager[Hosts]]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured."""

    name: str
    send: str = "p2pshare"
    receive: str = "p2pshare"
    size_mib: float = 512
    options: tuple[str, ...] = ()
    network: Network = two_hosts
    path: NetworkPath | None = None
    "An emulated path in place of a network, with other losses in each run."
    seconds: float = 0.0
    "Send for so long rather than a size; the rate of the second half, after slow start, is told as well."
    kind: str = "raw"
    "``raw``: a bare channel; ``share``: file to file, verified and fsynced; ``iperf3``: the line, by TCP."
    timeout_s: float = 300.0


@dataclass
class Figures:
    """What the runs of a row gave."""

    rates: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    "The rates after slow start."
    error: str = ""

    def as_dict(self, row: Row) -> dict[str, Any]:
        if not self.rates:
            return {"error": self.error}
        figures: dict[str, Any] = {
            "mb_s": round(median(self.rates), 2),
            "mb_s_runs": [round(rate, 2) for rate in self.rates],
        }
        if self.later:
            figures["mb_s_after_start"] = round(median(self.later), 2)
            figures["mb_s_after_start_runs"] = [round(rate, 2) for rate in self.later]
        if self.runs:
            send, receive = zip(*(each.cpu_per_gb for each in self.runs), strict=True)
            figures["cpu_s_per_gb"] = [round(median(send), 2), round(median(receive), 2)]
            peaks = [each.peak_mib for each in self.runs]
            figures["peak_mib"] = [round(max(p[0] for p in peaks)), round(max(p[1] for p in peaks))]
            delays = [each.receive["delay_p99_ms"] for each in self.runs if "delay_p99_ms" in each.receive]
            if delays:
                figures["delay_p99_ms"] = round(median(delays), 2)
            for key, end in (("resent_percent", "send"), ("receive_drops", "receive")):
                counts = [getattr(each, end)[key] for each in self.runs if key in getattr(each, end)]
                if any(counts):
                    figures[key] = round(median(counts), 2)
            if "--message" in row.options:
                message = int(row.options[row.options.index("--message") + 1])
                figures["messages_per_s"] = round(median(self.rates) * 1e6 / message)
        return figures


def _message(size: int) -> tuple[str, ...]:
    return ("--message", str(size))


_FOR_S = 8.0
_WITHOUT_LIMIT = 1 << 20  # MiB: the time ends it


def _paths() -> list[Row]:
    """Paths of some length. Some are for ours alone, so that three runs of all rows take ten minutes."""
    everything = [
        NetworkPath(rtt_ms=100, loss=0.0, rate_mbit=100),
        NetworkPath(rtt_ms=100, loss=0.001, rate_mbit=100),
        NetworkPath(rtt_ms=100, loss=0.01, rate_mbit=100),
    ]
    ours = [
        NetworkPath(rtt_ms=100, loss=0.03, rate_mbit=100),
        NetworkPath(rtt_ms=200, loss=0.01, rate_mbit=100),
        NetworkPath(rtt_ms=50, loss=0.01, rate_mbit=10),
        NetworkPath(rtt_ms=50, jitter_ms=10, rate_mbit=20),
        NetworkPath(rtt_ms=20, loss=0.01),
    ]

    def row(path: NetworkPath, name: str, stack: str = "p2pshare", **rest: Any) -> Row:
        return Row(f"{path}: {name}", stack, stack, _WITHOUT_LIMIT, path=path, seconds=_FOR_S, **rest)

    rows = []
    for path in everything:
        rows += [
            row(path, "p2pshare"),
            row(path, "p2pshare with CUBIC", options=("--congestion", "cubic")),
            row(path, "stock", "stock"),
            row(path, "TCP CUBIC", kind="iperf3"),
        ]
    return rows + [row(path, "p2pshare") for path in ours]


GROUPS: dict[str, list[Row]] = {
    "lan": [
        Row("p2pshare, 64 KiB messages"),
        Row("stock aiortc, 64 KiB messages", "stock", "stock", 32),
        Row("libwebrtc under Python, 64 KiB messages", "libwebrtc", "libwebrtc", 192),
        Row("p2pshare, file to file", kind="share", size_mib=512),
        Row("iperf3, TCP", kind="iperf3", size_mib=1024),
    ],
    "sizes": [
        *(Row(f"p2pshare, {size} KiB messages", options=_message(size * KIB)) for size in (16, 64, 256)),
        Row("p2pshare, 1 KiB messages", size_mib=64, options=_message(KIB)),
        Row("p2pshare, 100-byte messages", size_mib=9.5367, options=_message(100)),
    ],
    "jobs": [
        *(Row(f"p2pshare, {n} channels", options=("--channels", str(n))) for n in (1, 4, 16)),
        Row("p2pshare, 4 channels and a probe", options=("--channels", "4", "--probe")),
        Row("p2pshare, 16 peers to one", options=("--connections", "16")),
    ],
    "foreign": [
        Row("stock to stock", "stock", "stock", 24),
        Row("p2pshare to stock", "p2pshare", "stock", 24),
        Row("stock to p2pshare", "stock", "p2pshare", 24),
        Row("stock to Chromium", "stock", "chromium", 24),
        Row("p2pshare to Chromium", "p2pshare", "chromium", 96),
        Row("Chromium to stock", "chromium", "stock", 24),
        Row("Chromium to p2pshare", "chromium", "p2pshare", 96),
        Row("Chromium to Chromium", "chromium", "chromium", 96),
    ],
    "offload": [
        Row("super-packets pass whole"),
        *(
            Row(offload.value, network=partial(two_hosts, offload))
            for offload in (Offload.SOFTWARE, Offload.NO_MERGING)
        ),
        Row("1 % of single packets lost", options=("--loss", "0.01")),
    ],
    "buffers": [
        Row("sockets of 4 MiB, if the kernel allows that"),
        Row("sockets of the kernel's default, 212,992 bytes", options=DEFAULT_BUFFER),
        Row(
            "the same, nothing merges", options=DEFAULT_BUFFER, network=partial(two_hosts, Offload.NO_MERGING)
        ),
    ],
    "paths": _paths(),
}


async def _measure(row: Row, hosts: Hosts, folder: Path) -> tuple[float, float, Run | None]:
    """The rate, the rate after slow start (0: not asked for), and what the processes reported."""
    size = int(row.size_mib * MIB)
    if row.kind == "iperf3":
        amount = ("-t", str(row.seconds)) if row.seconds else ("-n", str(size))
        return *await asyncio.to_thread(_iperf3, hosts, amount), None
    if row.kind == "share":
        source = folder / f"source-{size}.bin"
        if not source.exists():
            write_random(source, size)
        result = await share(source, folder, row.timeout_s, hosts=hosts)
        return result.rate, 0.0, result
    options = ["--size", str(size), *row.options]
    if row.seconds:
        options += ["--seconds", str(row.seconds)]
    send, receive = ["--stack", row.send, *options], ["--stack", row.receive, *options]
    result = await run("raw", send, receive, row.timeout_s, hosts)
    if not row.seconds:
        return result.rate, 0.0, result
    received = result.receive["bytes"]
    later = (received - result.receive["bytes_by_half"]) / (row.seconds / 2) / 1e6
    return received / row.seconds / 1e6, later, Run(result.send | {"bytes": received}, result.receive)


def _iperf3(hosts: Hosts, amount: tuple[str, str]) -> tuple[float, float]:
    """TCP CUBIC's rate as its receiver counts it, and that of the second half of the seconds."""
    subnet = 1 if _has_link(hosts[1]) else 0
    address = f"198.18.{subnet}.2" if hosts[1] else "127.0.0.1"
    server = subprocess.Popen([*hosts[1], "iperf3", "-s", "-1", "-J"], stdout=subprocess.PIPE)
    try:
        command = [*hosts[0], "iperf3", "-c", address, *amount, "-C", "cubic", "-J"]
        for attempt in range(_CONNECT_TRIES, 0, -1):  # it does not say in JSON when it listens
            client = subprocess.run(command, capture_output=True, check=False, timeout=300)
            if client.returncode == 0:
                break
            if attempt == 1:
                raise RuntimeError(json.loads(client.stdout).get("error", "iperf3 failed"))
            time.sleep(0.1)
        result = json.loads(server.communicate(timeout=30)[0])
        rates = [float(each["sum"]["bits_per_second"]) / 8e6 for each in result["intervals"]]
        later = rates[len(rates) // 2 :]
        return float(result["end"]["sum_received"]["bits_per_second"]) / 8e6, sum(later) / len(later)
    finally:
        server.kill()
        server.wait()


def _has_link(host: object) -> bool:
    command = [*host, "ip", "link", "show", "dev", "link"]  # type: ignore[misc]  # a command's prefix
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _is_missing(row: Row) -> str:
    if "libwebrtc" in (row.send, row.receive) and importlib.util.find_spec("webrtc") is None:
        return "PyPI's wrtc is not installed"
    if "chromium" in (row.send, row.receive) and (missing := chromium.is_missing()):
        return missing
    if row.kind == "iperf3" and shutil.which("iperf3") is None:
        return "iperf3 is not installed"
    return ""


def measure_group(name: str, runs: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Run the rows of a group in turns, and print what they gave."""
    figures = {row.name: Figures() for row in GROUPS[name]}
    print(f"-- {name}", flush=True)
    for seed in range(1, runs + 1):
        for row in GROUPS[name]:
            found = figures[row.name]
            found.error = found.error or _is_missing(row)
            if found.error:
                continue
            try:
                with ExitStack() as stack:
                    network = row.network() if row.path is None else emulated_path(row.path, seed)
                    hosts = stack.enter_context(network)
                    rate, later, result = asyncio.run(_measure(row, hosts, folder))
            except (RuntimeError, TimeoutError, subprocess.SubprocessError) as exc:
                found.error = str(exc) or type(exc).__name__
                continue
            found.rates.append(rate)
            if later:
                found.later.append(later)
            if result is not None:
                found.runs.append(result)
    results = {row.name: figures[row.name].as_dict(row) for row in GROUPS[name]}
    for key, value in results.items():
        print(f"{key:60} {json.dumps(value)}", flush=True)
    return results


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks datapath", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each row (default 5)")
    parser.add_argument("--only", choices=GROUPS, nargs="*", default=list(GROUPS))
    parser.add_argument("--save", action="store_true", help="write benchmarks/results")
    arguments = parser.parse_args(options)
    results: dict[str, Any] = {"machine": machine(), "groups": {}}
    with tempfile.TemporaryDirectory(prefix="p2pshare-bench-", dir=".") as folder:
        for name in arguments.only:
            rows = measure_group(name, arguments.runs, Path(folder).resolve())
            results["groups"][name] = {"runs": arguments.runs, "rows": rows}
    if arguments.save:
        save(results)
