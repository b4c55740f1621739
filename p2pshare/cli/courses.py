"""What bars and lines have in common: how each job at each peer is going, followed event by event."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from p2pshare import events as ev
from p2pshare.cli import words
from p2pshare.cli.display import Display
from p2pshare.cli.moments import Offering
from p2pshare.errors import show
from p2pshare.model import Progress


class State(Enum):
    """Where a course is, as far as a person needs to know."""

    OFFERED = "offered"
    ACTIVE = "active"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"


@dataclass(slots=True, eq=False)
class Course:
    """One job at one peer, from the offer or the start to its outcome."""

    label: str
    "``to 'bob'`` or ``from 'alice'``: safe to print."
    peer: str
    began_at: float
    is_started: bool = False
    is_interrupted: bool = False
    paused_by: set[bool] = field(default_factory=set)
    "True: the other side; False: this one."
    progress: Progress | None = None
    held: int = 0
    "Bytes that were there when it started."
    told_at: float = 0.0
    told_tenth: int = 0
    "When a display last said something of it, and how many tenths had arrived then."

    @property
    def state(self) -> State:
        """The most important of what holds."""
        if self.is_interrupted:
            return State.INTERRUPTED
        if self.paused_by:
            return State.PAUSED
        return State.ACTIVE if self.is_started else State.OFFERED

    @property
    def words(self) -> str:
        """The state in a few words; nothing where it just goes on."""
        match self.state:
            case State.OFFERED:
                return "offered"
            case State.INTERRUPTED:
                return f"waiting for {show(self.peer)} to come back"
            case State.PAUSED:
                return f"paused by {show(self.peer)}" if self.paused_by == {True} else "paused"
        return ""


class Courses(Display):
    """A display for people: a line for what happens, and something that moves for each course."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._courses: dict[tuple[int, str], Course] = {}

    def tell(self, event: ev.Event) -> None:
        """Follow the courses; say the rest in a line."""
        match event:
            case Offering(job_id=job, peer=peer):
                self._offer(job, peer)
            case ev.UploadEvent(job_id=job, peer=peer):
                self._move(event, self._courses.get((job, peer)), f"to {show(peer)}")
            case ev.DownloadEvent(job_id=job, peer=peer):
                self._move(event, self._courses.get((job, peer)), f"from {show(peer)}")
            case _ if (text := words.line(event)) is not None:
                self.note(text)

    def _move(self, event: ev.UploadEvent | ev.DownloadEvent, course: Course | None, label: str) -> None:
        match event:
            case ev.UploadStarted() | ev.DownloadStarted():
                self._start(event, course, label)
            case ev.UploadProgress() | ev.DownloadProgress() if course is not None:
                if course.progress is None:
                    course.held = event.progress.stored
                course.progress = event.progress
                if course.is_started:
                    self.moved(course)
            case ev.UploadPaused(remote=remote) | ev.DownloadPaused(remote=remote) if course is not None:
                course.paused_by.add(remote)
                self._changed(course, f"paused by {show(event.peer)}" if remote else None)
            case ev.UploadResumed(remote=remote) | ev.DownloadResumed(remote=remote) if course is not None:
                course.paused_by.discard(remote)
                self._changed(course, f"resumed by {show(event.peer)}" if remote else None)
            case ev.UploadInterrupted() | ev.DownloadInterrupted() if course is not None:
                course.is_interrupted = True
                course.paused_by.discard(True)  # whoever paused it says so again on the next connection
                self._changed(course, f"the connection was lost, {course.words}")
            case ev.UploadCompleted() | ev.DownloadCompleted() if course is not None:
                self._end(event, course)
                took_s = self._clock() - course.began_at
                self.note(f"{course.label}: done, {words.outcome(course.progress, took_s, course.held)}")
            case ev.UploadFailed() | ev.UploadCancelled() | ev.DownloadFailed() | ev.DownloadCancelled() if (
                course is not None
            ):
                self._end(event, course)

    def _offer(self, job: int, peer: str) -> None:
        course = self._courses.get((job, peer))
        if course is None:
            self.note(f"offering it to {show(peer)}")
            course = self._courses[job, peer] = Course(f"to {show(peer)}", peer, self._clock())
            self.began(course)
        elif course.is_interrupted and not course.is_started:
            course.is_interrupted = False
            self._changed(course, f"{show(peer)} is back, offering it again")

    def _start(self, event: ev.UploadEvent | ev.DownloadEvent, course: Course | None, label: str) -> None:
        now = self._clock()
        if course is None:
            course = self._courses[event.job_id, event.peer] = Course(label, event.peer, now)
            course.is_started = True
            course.told_at = now
            self.began(course)
        elif course.is_interrupted:
            course.is_interrupted = False
            course.is_started = True
            self._changed(course, f"{show(event.peer)} is back, it goes on")
        elif not course.is_started:
            course.is_started = True
            course.began_at = course.told_at = now
            self.began(course)

    def _changed(self, course: Course, what: str | None) -> None:
        if what is not None:
            self.note(f"{course.label}: {what}")
        self.changed(course)

    def _end(self, event: ev.UploadEvent | ev.DownloadEvent, course: Course) -> None:
        del self._courses[event.job_id, event.peer]
        self.ended(course)

    @abstractmethod
    def began(self, course: Course) -> None:
        """It is offered; called again when it starts, and bytes will follow."""

    @abstractmethod
    def moved(self, course: Course) -> None:
        """There is new progress."""

    def changed(self, course: Course) -> None:
        """Its state is another."""

    @abstractmethod
    def ended(self, course: Course) -> None:
        """Nothing more comes of it, whatever the outcome."""
