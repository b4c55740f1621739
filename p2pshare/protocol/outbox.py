"""What a core wants done, in order: channels to open and close, messages to send, events to tell.

The one place through which both sides of a link (uploads, downloads) speak, so that what one says before
the other also leaves before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from p2pshare.errors import RemoteProtocolError
from p2pshare.model import Limits
from p2pshare.protocol.codec import encode
from p2pshare.protocol.events import CoreEvent
from p2pshare.protocol.frames import Frame

CONTROL_CHANNEL: Final = 240
FIRST_STREAM: Final = 241
LAST_STREAM: Final = 255
DEFAULT_MAX_FRAME: Final = 65_536
"""Bytes of a message where the peer's maximum is unknown (RFC 8841 section 6.1)."""


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """Create the negotiated channel with this id."""

    channel: int


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a message on an open channel."""

    channel: int
    message: bytes


@dataclass(frozen=True, slots=True)
class CloseChannel:
    """Close this channel, then report channel_closed()."""

    channel: int


Action = OpenChannel | SendMessage | CloseChannel


@dataclass(frozen=True, slots=True)
class _Backlog:
    frames: Iterator[Frame]
    is_wanted: Callable[[], bool]


class Outbox:
    """The queue of actions and events of one core."""

    def __init__(self, limits: Limits, max_received: int = DEFAULT_MAX_FRAME) -> None:
        self.limits = limits
        self.max_received = max_received
        "Bytes of the largest frame that this side takes."
        self.max_frame = DEFAULT_MAX_FRAME
        "Bytes of the largest frame that the peer takes."
        self.parity = 0
        "Of our ids: 0 even, 1 odd; known after HELLO."
        self._actions: deque[Action] = deque()
        self._events: deque[CoreEvent] = deque()
        self._backlogs: deque[_Backlog] = deque()
        self._is_finished = False
        self.is_clogged = False
        "Whether the peer lets the control channel fill up; the shell says so before each frame of it."

    def control(self, frame: Frame) -> None:
        """Send a frame on the control channel."""
        if not self._is_finished:
            self._actions.append(SendMessage(CONTROL_CHANNEL, encode(frame)))

    def answer(self, frame: Frame) -> None:
        """Send what the peer's frame demands at once.

        Raises:
            RemoteProtocolError: It does not take what it is answered: we would keep more and more of it.
        """
        if self.is_clogged:
            raise RemoteProtocolError(
                f"the peer asks on and does not take the answers, the next one {frame.WORD}"
            )
        self.control(frame)

    def pages(self, frames: Iterator[Frame], is_wanted: Callable[[], bool]) -> None:
        """Send the first frame now, the rest one at a time as the control channel has room."""
        if self._is_finished:
            return
        self.control(next(frames))
        self._backlogs.append(_Backlog(frames, is_wanted))

    def act(self, action: Action) -> None:
        """Queue an action."""
        self._actions.append(action)

    def tell(self, event: CoreEvent) -> None:
        """Queue an event."""
        self._events.append(event)

    def send_page(self) -> bool:
        """Put one page of a long list on the control channel; False when there is none left."""
        while self._backlogs:
            backlog = self._backlogs.popleft()
            frame = next(backlog.frames, None) if backlog.is_wanted() else None
            if frame is not None:
                self.control(frame)
                self._backlogs.append(backlog)
                return True
        return False

    def take_actions(self) -> list[Action]:
        """What to do now, in order."""
        actions = list(self._actions)
        self._actions.clear()
        return actions

    def take_events(self) -> list[CoreEvent]:
        """What happened, in order."""
        events = list(self._events)
        self._events.clear()
        return events

    def finish(self, last: Frame | None) -> None:
        """Forget what was to be sent, say one last thing, and nothing after it.

        Events stay, and so do channels to open and close: one that the peer has made must be made here, or
        the peer's end closes for ever.
        """
        kept = [action for action in self._actions if not isinstance(action, SendMessage)]
        self._actions = deque(kept)
        self._backlogs.clear()
        if last is not None:
            self.control(last)
        self._is_finished = True
