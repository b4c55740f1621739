"""Two hosts on this machine: network namespaces with a veth pair between them, where they may be made.

A veth pair hands super-packets through without cutting them, which no network card does for nothing. So
`Offload` can be taken away: the kernel then segments and merges in software, as with a plain card.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from benchmarks.pairs import HERE, ROOT, Hosts

MTU = 1500
_EMULATOR = ROOT / "benchmarks" / "emulator.c"


class Offload(Enum):
    """Who cuts a train of packets, and who puts it together again."""

    NONE_NEEDED = "super-packets pass whole"
    SOFTWARE = "the kernel segments and merges in software"
    NO_MERGING = "the kernel segments, nothing merges"


def may_make_namespaces() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def two_hosts(offload: Offload = Offload.NONE_NEEDED, mtu: int = MTU) -> Iterator[Hosts]:
    """A sending and a receiving host; this one twice where namespaces are not allowed."""
    if not may_make_namespaces():
        yield HERE
        return
    cables = [f"p2p{os.getpid() % 100_000}{end}" for end in ("a", "b")]
    with _two_namespaces() as names:
        _ip(
            *("link", "add", cables[0], "netns", names[0], "type", "veth"),
            *("peer", "name", cables[1], "netns", names[1]),
        )
        for number, (name, cable) in enumerate(zip(names, cables, strict=True), 1):
            _ip("-n", name, "addr", "add", f"198.18.0.{number}/24", "dev", cable)
            _ip("-n", name, "link", "set", cable, "mtu", str(mtu), "up")
            _set_offload(name, cable, offload)
        yield _at(names[0]), _at(names[1])


@contextmanager
def _two_namespaces() -> Iterator[list[str]]:
    """The names of two namespaces that have nothing but a loopback; they are gone at the end."""
    names = [f"p2pshare-{os.getpid()}-{end}" for end in ("a", "b")]
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _at(name: str) -> list[str]:
    """What to put before a command that runs in a namespace."""
    return ["ip", "netns", "exec", name]


@dataclass(frozen=True, slots=True)
class Path:
    """A path with a distance, for `emulated_path`."""

    rtt_ms: float
    loss: float = 0.0
    "Share of packets that are lost, each way, each by itself: 0.01 is 1 %."
    rate_mbit: float = 0.0
    "0: no limit."
    queue_bdp: float = 1.0
    "Bytes that the bottleneck's drop-tail queue holds, in bandwidth-delay products; no limit without a rate."
    jitter_ms: float = 0.0
    "A round trip takes up to so much more or less, each packet by itself: they overtake one another."

    def __str__(self) -> str:
        jitter = f" ± {self.jitter_ms:g}" if self.jitter_ms else ""
        rate = f"{self.rate_mbit:g} Mbit/s" if self.rate_mbit else "no limit"
        return f"RTT {self.rtt_ms:g}{jitter} ms, loss {self.loss:.1%}, {rate}"

    @property
    def queue_bytes(self) -> int:
        """The queue in bytes; 0: no limit."""
        product = self.rate_mbit * 1e6 / 8 * self.rtt_ms / 1e3
        return max(int(self.queue_bdp * product), 32 * MTU) if self.rate_mbit else 0


@contextmanager
def emulated_path(path: Path, seed: int = 1) -> Iterator[Hosts]:
    """Two hosts with an emulated link between them (emulator.c, compiled on the spot).

    Raises:
        RuntimeError: There is no C compiler, or namespaces are not allowed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not may_make_namespaces():
        raise RuntimeError("an emulated path needs a C compiler, and root that may make namespaces")
    with tempfile.TemporaryDirectory() as folder, _two_namespaces() as names:
        program = os.path.join(folder, "emulator")
        subprocess.run([compiler, "-O2", "-o", program, str(_EMULATOR)], check=True)
        emulator = None
        try:
            figures = (
                path.rtt_ms * 500,
                path.jitter_ms * 500,
                path.rate_mbit * 1e6,
                path.queue_bytes,
                path.loss * 1e6,
                seed,
            )
            emulator = subprocess.Popen(
                [program, *names, *(str(int(figure)) for figure in figures)], stdout=subprocess.PIPE
            )
            assert emulator.stdout is not None
            if emulator.stdout.readline() != b"ready\n":
                raise RuntimeError("the link emulator did not start")
            for number, name in enumerate(names, 1):
                _ip("-n", name, "addr", "add", f"198.18.1.{number}/24", "dev", "link")
                _ip("-n", name, "link", "set", "dev", "link", "mtu", str(MTU), "txqueuelen", "10000", "up")
            yield _at(names[0]), _at(names[1])
        finally:
            if emulator is not None:
                emulator.kill()
                emulator.wait()


def _set_offload(host: str, cable: str, offload: Offload) -> None:
    if offload is Offload.NONE_NEEDED:
        return
    merging = "on" if offload is Offload.SOFTWARE else "off"
    for feature, value in (
        ("tx-udp-segmentation", "off"),
        ("gro", merging),
        ("rx-udp-gro-forwarding", merging),
    ):
        subprocess.run([*_at(host), "ethtool", "-K", cable, feature, value], check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
