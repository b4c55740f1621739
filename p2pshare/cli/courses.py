"""What bars and lines have in common: how each job at each peer is going, followed event by event."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from p2pshare import events as ev
from p2pshare.cli import words
from p2pshare.cli.display import Display
from p2pshare.errors import show
from p2pshare.model import Progress


@dataclass(slots=True, eq=False)
class Course:
    """One job at one peer, from its start to its outcome."""

    label: str
    "``to 'bob'`` or ``from 'alice'``: safe to print."
    began_at: float
    progress: Progress | None = None
    told_at: float = 0.0
    told_tenth: int = 0
    "When a display last said something of it, and how many tenths had arrived then."


class Courses(Display):
    """A display for people: a line for what happens, and something that moves for each course."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._courses: dict[tuple[int, str], Course] = {}

    def tell(self, event: ev.Event) -> None:
        """Follow the courses; say the rest in a line."""
        match event:
            case ev.UploadStarted(job_id=job, peer=peer):
                self._begin(job, peer, f"to {show(peer)}")
            case ev.DownloadStarted(job_id=job, peer=peer):
                self._begin(job, peer, f"from {show(peer)}")
            case ev.UploadProgress(job_id=job, peer=peer) | ev.DownloadProgress(job_id=job, peer=peer):
                if course := self._courses.get((job, peer)):
                    course.progress = event.progress
                    self.moved(course)
            case ev.UploadCompleted(job_id=job, peer=peer) | ev.DownloadCompleted(job_id=job, peer=peer):
                if course := self._end(job, peer):
                    took_s = self._clock() - course.began_at
                    self.note(f"{course.label}: done, {words.outcome(course.progress, took_s)}")
            case (
                ev.UploadFailed(job_id=job, peer=peer)
                | ev.UploadCancelled(job_id=job, peer=peer)
                | ev.DownloadFailed(job_id=job, peer=peer)
                | ev.DownloadCancelled(job_id=job, peer=peer)
            ):
                self._end(job, peer)
            case _ if (text := words.line(event)) is not None:
                self.note(text)

    def _begin(self, job: int, peer: str, label: str) -> None:
        if (job, peer) not in self._courses:
            now = self._clock()
            course = self._courses[job, peer] = Course(label, now, told_at=now)
            self.began(course)

    def _end(self, job: int, peer: str) -> Course | None:
        course = self._courses.pop((job, peer), None)
        if course is not None:
            self.ended(course)
        return course

    @abstractmethod
    def began(self, course: Course) -> None:
        """Bytes will follow."""

    @abstractmethod
    def moved(self, course: Course) -> None:
        """There is new progress."""

    @abstractmethod
    def ended(self, course: Course) -> None:
        """Nothing more comes of it, whatever the outcome."""
