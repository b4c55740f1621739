"""The key that pauses everything of a command, and has it go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.keyboard import Keyboard
from p2pshare.session import Session
from p2pshare.session.handles import Handle

PAUSE: Final = "p"


class Pausing:
    """Pauses all jobs of a session, those to come too, until they are resumed."""

    def __init__(self, session: Session, display: Display) -> None:
        self._session = session
        self._display = display
        self._is_paused = False
        session.on(ev.UploadStarted, self._started)
        session.on(ev.DownloadStarted, self._started)

    def key(self, key: str) -> None:
        """A key was pressed."""
        if key.lower() == PAUSE:
            self.toggle()

    def toggle(self) -> None:
        """Pause, or go on."""
        self._is_paused = not self._is_paused
        self._display.note("paused (p goes on)" if self._is_paused else "going on")
        for job in self._jobs:
            if self._is_paused:
                job.pause()
            else:
                job.resume()

    @property
    def _jobs(self) -> list[Handle[object]]:
        jobs: list[Handle[object]] = list(self._session.downloads.values())
        for upload in self._session.uploads.values():
            job: Handle[object] = upload  # type: ignore[assignment]  # Handle is invariant, it is only paused here
            jobs.append(job)
        return jobs

    def _started(self, event: ev.UploadStarted | ev.DownloadStarted) -> None:
        if not self._is_paused:
            return
        upload = self._session.uploads.get(event.job_id)
        if upload is not None and upload.is_paused:  # it was so before this recipient came
            self._display.tell(ev.UploadPaused(event.job_id, event.peer, remote=False))
        for job in self._jobs:
            if job.id == event.job_id:
                job.pause()


@contextlib.contextmanager
def keys(session: Session, display: Display, *, is_wanted: bool = True) -> Iterator[Keyboard]:
    """Keys for what runs in a session, where there is a terminal and standard input is not what is sent."""
    keyboard = Keyboard(Pausing(session, display).key)
    try:
        if is_wanted:
            keyboard.start()
        if keyboard.is_on:
            display.note("keys: p pauses and resumes, Ctrl-C cancels")
        yield keyboard
    finally:
        keyboard.stop()
