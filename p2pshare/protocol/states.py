"""Which frame is allowed when: the protocol's state tables, all in one place.

The tables do not know which side they are on: both sides of a link, and both ends of a job, move through
the same states by the same frames. Whatever is not in a table is a protocol error of who sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from p2pshare.protocol import frames as f


class LinkState(Enum):
    """Where the control channel is."""

    GREETING = "greeting"
    "Our HELLO is out, the peer's has not arrived."
    AUTHENTICATING = "authenticating"
    "Both HELLOs named a method: nothing but its steps is read."
    OPEN = "open"
    CLOSED = "closed"
    "Either side sent CLOSE, or the connection ended."


class JobState(Enum):
    """Where a job is: one ACCEPT, one stream, one download."""

    REQUESTED = "requested"
    "ACCEPT said that RANGES follow."
    RUNNING = "running"
    COMPLETED = "completed"
    "Every wanted file is confirmed, or was given up by itself."
    RESET = "reset"
    "The uploader gave up."
    STOPPED = "stopped"
    "The downloader gave up."
    LOST = "lost"
    "The link ended under it."

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self not in (JobState.REQUESTED, JobState.RUNNING)


ALWAYS: Final = frozenset({f.Ping, f.Pong, f.Close})
"""Allowed in every state but CLOSED, where everything is dropped."""

LINK: Final[Mapping[LinkState, frozenset[type[f.Frame]]]] = {
    LinkState.GREETING: ALWAYS | {f.Hello},
    LinkState.AUTHENTICATING: ALWAYS | {f.Hello, f.Auth},
    LinkState.OPEN: ALWAYS
    | {
        f.Hello,
        f.OfferFrame,
        f.Files,
        f.Withdraw,
        f.Accept,
        f.RangesFrame,
        f.Decline,
        f.HaveQuery,
        f.Have,
        f.Window,
        f.Pause,
        f.Resume,
        f.Confirm,
        f.Reset,
        f.Stop,
        f.Ended,
        f.Kept,
    },
    LinkState.CLOSED: frozenset(),
}
"""Frames on the control channel. After AUTHENTICATING a late AUTH is as wrong as any."""

STREAM: Final = frozenset({f.Data, f.Finish})
"""Frames on a job stream, from the uploader only."""

JOB: Final[Mapping[tuple[JobState, type[f.Frame]], JobState]] = {
    (JobState.REQUESTED, f.RangesFrame): JobState.REQUESTED,  # RUNNING with the last page
    (JobState.REQUESTED, f.Pause): JobState.REQUESTED,
    (JobState.REQUESTED, f.Resume): JobState.REQUESTED,
    (JobState.REQUESTED, f.Window): JobState.REQUESTED,
    (JobState.REQUESTED, f.Reset): JobState.RESET,
    (JobState.REQUESTED, f.Stop): JobState.STOPPED,
    (JobState.RUNNING, f.Data): JobState.RUNNING,
    (JobState.RUNNING, f.Finish): JobState.RUNNING,
    (JobState.RUNNING, f.Window): JobState.RUNNING,
    (JobState.RUNNING, f.Confirm): JobState.RUNNING,
    (JobState.RUNNING, f.Pause): JobState.RUNNING,
    (JobState.RUNNING, f.Resume): JobState.RUNNING,
    (JobState.RUNNING, f.Reset): JobState.RESET,
    (JobState.RUNNING, f.Stop): JobState.STOPPED,
}
"""Frames of a whole job. RESET and STOP that name one file leave the job where it is.

ENDED is in no row: it follows the job's end, and says what the stream has carried. Any other frame of a job
that is over is dropped (it crossed the end on its way), never an error; its bytes are counted for the
connection's credit all the same.
"""
