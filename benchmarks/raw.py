"""One end of bare data channels, as a process of its own; `benchmarks.pairs` starts two of them.

Connections and channels share the bytes evenly. With ``--probe`` a small message with the time in it goes
through a channel of its own every 10 ms, and the receiver says how long they took: one clock serves both, as
both are on this machine. With ``--seconds`` the receiver ends it all that long after the first message, and
says what had come by half of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import random
import statistics
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiortc
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection

from benchmarks import chromium
from benchmarks.wire import Wire, connect, usage
from p2pshare.rtc.datapath import transport, udp
from p2pshare.rtc.sctp.config import CONGESTION_CONTROLS, AssociationConfig

HIGH_WATER = 1 << 20
STACKS = ("stock", "p2pshare", "libwebrtc", "chromium")
PROBE_ID = 100
PROBE_EVERY_S = 0.01
_TIME = struct.Struct("!d")


def new_pc(stack: str) -> RTCPeerConnection:
    """A connection of one of the stacks that are compared; all have aiortc's interface."""
    if stack == "stock":
        return RTCPeerConnection(RTCConfiguration(iceServers=[]))
    name = {"p2pshare": "p2pshare", "libwebrtc": "webrtc.aiortc"}[stack]
    module = importlib.import_module(name)
    configuration = (module if stack == "libwebrtc" else aiortc).RTCConfiguration(iceServers=[])
    pc: RTCPeerConnection = module.RTCPeerConnection(configuration)
    return pc


@dataclass
class End:
    """All channels of this process."""

    channels: list[RTCDataChannel] = field(default_factory=list)
    probe: RTCDataChannel | None = None
    delays_s: list[float] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    received: int = 0
    received_by_half: int = 0
    began: float = 0.0
    cpu_s: float = 0.0

    def begin(self) -> None:
        self.began, self.cpu_s = time.perf_counter(), usage()["cpu_s"]

    def report(self, size: int) -> dict[str, float]:
        now = usage()
        figures = {
            "seconds": time.perf_counter() - self.began,
            "bytes": float(size or self.received),
            "bytes_by_half": float(self.received_by_half),
            "cpu_used_s": now["cpu_s"] - self.cpu_s,
            **now,
        }
        if len(self.delays_s) > 1:
            figures["delay_p50_ms"] = statistics.median(self.delays_s) * 1e3
            figures["delay_p99_ms"] = statistics.quantiles(self.delays_s, n=100)[98] * 1e3
        return figures


async def is_open(channel: RTCDataChannel) -> None:
    if channel.readyState != "open":
        opened = asyncio.Event()
        channel.on("open", opened.set)
        if channel.readyState != "open":
            await opened.wait()


async def fill(channel: RTCDataChannel, message: bytes, size: int) -> None:
    """Send so many bytes, as fast as the channel takes them."""
    room = asyncio.Event()
    channel.bufferedAmountLowThreshold = HIGH_WATER // 4
    channel.on("bufferedamountlow", room.set)
    while size > 0:
        if channel.bufferedAmount > HIGH_WATER:
            room.clear()
            await room.wait()
        channel.send(message if size >= len(message) else message[:size])
        size -= len(message)


async def probe(channel: RTCDataChannel) -> None:
    while True:
        channel.send(_TIME.pack(time.monotonic()))
        await asyncio.sleep(PROBE_EVERY_S)


async def raw(wire: Wire, options: argparse.Namespace) -> None:
    if options.congestion:
        vars(transport)["AssociationConfig"] = partial(AssociationConfig, congestion=options.congestion)
    if options.buffer:
        udp.BUFFER_SIZE = options.buffer
    sends = options.side == "send"
    end = End()
    pcs = [new_pc(options.stack) for _ in range(options.connections)]
    for pc in pcs:
        for number in range(options.channels):
            end.channels.append(pc.createDataChannel("raw", negotiated=True, id=2 * number + 1))
    if options.probe:
        end.probe = pcs[0].createDataChannel("probe", negotiated=True, id=PROBE_ID)
    if not sends:
        _count(end, options.size, options.seconds)
    for pc in pcs:
        await connect(pc, wire, offers=sends)
    for channel in [*end.channels, *([end.probe] if end.probe else [])]:
        await is_open(channel)
    if options.loss:
        for pc in pcs:
            _lose(pc, options.loss)
    wire.put(ready=True)
    await wire.get()
    end.begin()
    dropped = _receive_drops()
    if sends:
        await _send(end, options)
    else:
        await end.done.wait()
    counted = _count_packets(pcs) if options.stack == "p2pshare" else {}
    wire.put(
        receive_drops=_receive_drops() - dropped,
        **counted,
        **end.report(0 if options.seconds else options.size),
    )
    await wire.get()
    for pc in pcs:
        await pc.close()


def _lose(pc: RTCPeerConnection, share: float) -> None:
    """Drop received packets at random, each by itself: a loss in the kernel would take whole trains."""
    association = vars(pc.sctp)["_association"]
    take = association.receive_packets

    def receive_packets(read: Callable[[], int], now: float) -> int:
        def read_on() -> int:
            while (size := read()) > 0 and random.random() < share:
                pass
            return size

        taken: int = take(read_on, now)
        return taken

    association.receive_packets = receive_packets


def _receive_drops() -> float:
    """Receives for which a socket of this host had no room: whole merged trains, or packets."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return float(dict(zip(names, values, strict=True))["RcvbufErrors"])


def _count_packets(pcs: list[RTCPeerConnection]) -> dict[str, float]:
    """Packets of data that went out, the share of them that went again, and SACKs that came back."""
    counters = [vars(pc.sctp)["_association"].stats() for pc in pcs]
    sent = sum(each.packets_sent for each in counters)
    return {
        "packets": float(sent),
        "resent_percent": 100 * sum(each.packets_retransmitted for each in counters) / max(sent, 1),
        "sacks": float(sum(each.sacks_received for each in counters)),
    }


def _count(end: End, size: int, seconds: float) -> None:
    def finish() -> None:
        end.channels[0].send(b"done")
        end.done.set()

    def half() -> None:
        end.received_by_half = end.received

    def received(message: bytes) -> None:
        if seconds and not end.received:
            loop = asyncio.get_running_loop()
            end.begin()
            loop.call_later(seconds / 2, half)
            loop.call_later(seconds, finish)
        if not end.done.is_set():
            end.received += len(message)
        if not seconds and end.received >= size and not end.done.is_set():
            finish()

    for channel in end.channels:
        channel.on("message", received)
    if end.probe is not None:
        end.probe.on("message", lambda sent: end.delays_s.append(time.monotonic() - _TIME.unpack(sent)[0]))


async def _send(end: End, options: argparse.Namespace) -> None:
    end.channels[0].on("message", lambda _: end.done.set())
    message = (bytes(range(256)) * (options.message // 256 + 1))[: options.message]
    share, rest = divmod(options.size, len(end.channels))
    probing = asyncio.ensure_future(probe(end.probe)) if end.probe is not None else None
    async with asyncio.TaskGroup() as tasks:
        filling = [
            tasks.create_task(fill(channel, message, share + (rest if number == 0 else 0)))
            for number, channel in enumerate(end.channels)
        ]
        if options.seconds:
            await end.done.wait()
            for task in filling:
                task.cancel()
    await end.done.wait()
    if probing is not None:
        probing.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["send", "receive"])
    parser.add_argument("--stack", choices=STACKS, default="stock")
    parser.add_argument("--size", type=int, required=True, help="bytes in all")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; ``--size`` is a limit")
    parser.add_argument("--congestion", choices=CONGESTION_CONTROLS, help="p2pshare only")
    parser.add_argument("--message", type=int, default=65_536, help="bytes of a message")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--channels", type=int, default=1, help="of each connection")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument(
        "--loss", type=float, default=0.0, help="share of received packets to drop; p2pshare only"
    )
    parser.add_argument(
        "--buffer", type=int, default=0, help="bytes asked for each socket buffer; p2pshare only"
    )
    options = parser.parse_args()

    async def run() -> None:
        wire = await Wire.open()
        if options.stack == "chromium":
            await chromium.raw(wire, options, HIGH_WATER)
        else:
            await raw(wire, options)

    asyncio.run(run())


if __name__ == "__main__":
    main()
