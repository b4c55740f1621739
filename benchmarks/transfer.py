"""File to file against a bare data channel, many small files, and memory with a slow disk.

    python -m benchmarks transfer [--size MIB] [--runs N] [--large] [--json FILE]

Every comparison is made side by side, in interleaved runs, between two processes on this host; figures are
medians. ``--large`` adds the 4 GiB file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pairs import HERE, MIB, Hosts, Run, machine, median, run


async def share(path: Path, target: Path, timeout_s: float, rate: float = 0.0, hosts: Hosts = HERE) -> Run:
    """File to file; what arrived is removed again."""
    with tempfile.TemporaryDirectory(dir=target) as folder:
        receive = ["--path", folder, "--rate", str(rate)]
        return await run("share", ["--path", str(path)], receive, timeout_s, hosts)


def write_random(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


async def measure(size_mib: int, count: int, folder: Path, *, large: bool) -> dict[str, Any]:
    results: dict[str, Any] = {"machine": machine()}
    source = folder / "source.bin"
    write_random(source, size_mib * MIB)
    raw_runs: list[Run] = []
    share_runs: list[Run] = []
    size = ["--size", str(size_mib * MIB)]
    for _ in range(count):
        raw_runs.append(await run("raw", size, size, 600))
        share_runs.append(await share(source, folder, 600))
        print(f"raw {raw_runs[-1].rate:6.1f} MB/s   file to file {share_runs[-1].rate:6.1f} MB/s", flush=True)
    raw_rate, share_rate = (
        median([each.rate for each in raw_runs]),
        median([each.rate for each in share_runs]),
    )
    results["file to file"] = {
        "size_mib": size_mib,
        "raw_mb_s": raw_rate,
        "share_mb_s": share_rate,
        "ratio": share_rate / raw_rate,
        "raw_cpu_s_per_gb": raw_runs[-1].cpu_per_gb,
        "share_cpu_s_per_gb": share_runs[-1].cpu_per_gb,
        "peak_mib": share_runs[-1].peak_mib,
    }
    print(f"file to file {share_rate:.1f} MB/s, bare channel {raw_rate:.1f}: {share_rate / raw_rate:.2f}")

    small = folder / "small"
    small.mkdir()
    for number in range(10_000):
        (small / f"{number:05}").write_bytes(number.to_bytes(4, "big") * 256)
    rates = []
    for _ in range(count):
        each = await share(small, folder, 600)
        rates.append(10_000 / each.send["seconds"])
    results["small files"] = {"files": 10_000, "bytes_each": 1024, "files_per_s": median(rates)}
    print(f"10,000 files of 1 KiB: {median(rates):,.0f} files a second")

    slow_mib = 64
    slow = folder / "slow.bin"
    write_random(slow, slow_mib * MIB)
    each = await share(slow, folder, 600, rate=1e6)
    results["disk of 1 MB/s"] = {"size_mib": slow_mib, "mb_s": each.rate, "peak_mib": each.peak_mib}
    print(f"a disk of 1 MB/s: {each.rate:.2f} MB/s, peak {each.peak_mib[0]:.0f} / {each.peak_mib[1]:.0f} MiB")

    if large:
        write_random(source, 4096 * MIB)
        each = await share(source, folder, 3600)
        results["4 GiB"] = {"mb_s": each.rate, "peak_mib": each.peak_mib}
        print(f"4 GiB: {each.rate:.1f} MB/s, peak {each.peak_mib[0]:.0f} / {each.peak_mib[1]:.0f} MiB")
    return results


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks transfer", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--size", type=int, default=256, help="MiB of the file (default 256)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--large", action="store_true", help="send a 4 GiB file as well")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(options)
    with tempfile.TemporaryDirectory(prefix="p2pshare-bench-", dir=".") as folder:
        results = asyncio.run(measure(arguments.size, arguments.runs, Path(folder), large=arguments.large))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
