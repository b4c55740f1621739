"""Keeps the status file of this process: written anew as its jobs move, at most once a second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from p2pshare import events as ev
from p2pshare.cli.status import SUFFIX, Fields, replace, start_of, status_folder
from p2pshare.model import Progress
from p2pshare.session import Session

INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """What does not change about a command."""

    command: str
    server: str
    room: str
    name: str


@contextlib.asynccontextmanager
async def status_file(session: Session, running: Running) -> AsyncIterator[None]:
    """Keep this process's file while the block runs; where there is no safe place for one, do nothing."""
    folder = status_folder(make=True)
    if folder is None:
        yield
        return
    writer = _Writer(session, running, folder / f"{os.getpid()}{SUFFIX}")
    writing = asyncio.create_task(writer.run(), name="status file")
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait([writing])
        with contextlib.suppress(OSError):
            os.unlink(writer.path)


class _Writer:
    """Writes the file."""

    def __init__(self, session: Session, running: Running, path: Path) -> None:
        self.path = path
        self._session = session
        self._running = running
        self._began_at = time.time()
        self._paused_there: set[tuple[int, str]] = set()
        self._changed = asyncio.Event()
        self._changed.set()
        session.on(ev.UploadEvent, self._happened)
        session.on(ev.DownloadEvent, self._happened)
        session.on(ev.PeerReady, lambda _: self._changed.set())

    async def run(self) -> None:
        """Write at the start and after each change."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            jobs = list(self._jobs())
            with contextlib.suppress(
                OSError
            ):  # the folder is gone, or full: nobody sees us, and all else goes on
                # Quick, in memory where runtime folders are kept; a thread would be heard of after the end.
                replace(self.path, self._fields(jobs))
            await asyncio.sleep(INTERVAL_S)

    def _fields(self, jobs: list[Fields]) -> Fields:
        process = {"pid": os.getpid(), "started": start_of(os.getpid()), "since": self._began_at}
        return {**process, **asdict(self._running), "jobs": jobs}

    def _happened(self, event: ev.UploadEvent | ev.DownloadEvent) -> None:
        at = event.job_id, event.peer
        match event:
            case ev.UploadPaused(remote=True) | ev.DownloadPaused(remote=True):
                self._paused_there.add(at)
            case ev.UploadProgress() | ev.DownloadProgress() | ev.UploadPaused() | ev.DownloadPaused():
                pass
            case _:  # resumed, lost, started anew, or over
                self._paused_there.discard(at)
        self._changed.set()

    def _jobs(self) -> Iterator[Fields]:
        for upload in self._session.uploads.values():
            for peer, delivery in upload.deliveries.items():
                state = delivery.state.value
                if state == "active" and (delivery.is_paused or (upload.id, peer) in self._paused_there):
                    state = "paused"
                yield _job(upload.id, "to", peer, state, delivery.progress)
        for download in self._session.downloads.values():
            state = "active"
            if download.is_interrupted:
                state = "interrupted"
            elif download.is_paused or (download.id, download.peer) in self._paused_there:
                state = "paused"
            yield _job(download.id, "from", download.peer, state, download.progress)


def _job(number: int, direction: str, peer: str, state: str, progress: Progress) -> Fields:
    return {
        "job": number,
        "direction": direction,
        "peer": peer,
        "state": state,
        "bytes": progress.stored,
        "size": progress.size,
        "rate": round(progress.rate),
        "seconds_left": progress.seconds_left,
        "files_done": progress.files_done,
        "files": progress.files,
    }
