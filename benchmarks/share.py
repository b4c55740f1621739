"""One end of a shared file, as a process of its own; `benchmarks.pairs` starts two of them."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from aiortc import RTCConfiguration, RTCPeerConnection

from benchmarks.wire import Wire, connect, usage
from p2pshare.cli.running import keep_memory
from p2pshare.events import FileOffered
from p2pshare.model import OfferedFile, Piece
from p2pshare.session import Session
from p2pshare.storage import FolderSink, Stored


class SlowSink(FolderSink):
    """A folder on a disk that takes ``rate`` bytes a second."""

    rate = 0.0

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        report = await super().store(pieces)
        if self.rate:
            await asyncio.sleep(report.stored / self.rate)
        return report


async def share(wire: Wire, path: Path, *, sends: bool, rate: float, accelerate: bool) -> None:
    """p2pshare: file to file, digest checked and fsynced."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    async with Session(accelerate=accelerate) as session:
        link = session.attach(pc, peer="other")
        offered: asyncio.Future[FileOffered] = asyncio.get_running_loop().create_future()
        session.on(FileOffered, offered.set_result)
        await connect(pc, wire, offers=sends)
        await link.ready()
        if sends:
            began, cpu = time.perf_counter(), usage()["cpu_s"]
            result = await session.send_files(path, to="other")
            assert not result.failures
            stored = sum(delivery.progress.stored for delivery in result.deliveries.values())
        else:
            offer = (await offered).offer
            began, cpu = time.perf_counter(), usage()["cpu_s"]
            SlowSink.rate = rate

            def make(files: Sequence[OfferedFile]) -> SlowSink:
                return SlowSink(path, files, limits=session.limits)

            download = session.download_into(offer.files, make)
            await download
            stored = download.progress.stored
        seconds = time.perf_counter() - began
        used = usage()["cpu_s"] - cpu
        wire.put(seconds=seconds, bytes=stored, cpu_used_s=used, **usage())
        await wire.get()  # both have their outcome
    await pc.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["send", "receive"])
    parser.add_argument("--path", type=Path, required=True, help="what to send, or the folder to save to")
    parser.add_argument("--rate", type=float, default=0.0, help="bytes a second of the receiver's disk")
    parser.add_argument("--stock", action="store_true", help="over aiortc's own data path")
    arguments = parser.parse_args()

    keep_memory()  # as the command does

    async def run() -> None:
        sends = arguments.side == "send"
        await share(
            await Wire.open(),
            arguments.path,
            sends=sends,
            rate=arguments.rate,
            accelerate=not arguments.stock,
        )

    asyncio.run(run())


if __name__ == "__main__":
    main()
