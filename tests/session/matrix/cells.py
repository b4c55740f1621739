"""What may happen to a transfer, when, and how it ends at both ends: the table that every harness checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Final


class Event(Enum):
    """What happens to a transfer from Alice to Bob, while another one runs beside it."""

    CANCEL_BY_SENDER = "cancelled by its sender"
    CANCEL_BY_RECEIVER = "cancelled by its receiver"
    PAUSE_BY_SENDER = "paused by its sender, then resumed"
    PAUSE_BY_RECEIVER = "paused by its receiver, then resumed"
    KILL_SENDER = "its sender is killed and started again"
    KILL_RECEIVER = "its receiver is killed and started again"
    CUT_SHORT = "the cable is out for 5 s"
    CUT_LONG = "the cable is out for 60 s"
    SERVER_GONE = "the signaling server is gone"
    SERVER_BACK = "the signaling server is gone for 20 s"

    @property
    def breaks(self) -> bool:
        """Whether bytes that are on their way may be lost, and travel again."""
        return self in (Event.KILL_SENDER, Event.KILL_RECEIVER, Event.CUT_SHORT, Event.CUT_LONG)


class Moment(Enum):
    """When it happens."""

    OFFERED = "when it is offered"
    FIRST_BYTE = "at its first byte"
    MIDDLE = "in its middle"
    LAST_BLOCK = "in its last block"
    BEFORE_CONFIRM = "when all bytes are there, before CONFIRM"
    CONFIRM_SENT = "when CONFIRM is on its way"


class Outcome(Enum):
    """How a transfer ends, as one side sees it."""

    COMPLETED = "completed"
    CANCELLED = "cancelled by us"
    CANCELLED_BY_PEER = "cancelled by the peer"
    DECLINED = "declined by the peer"
    NOT_BEGUN = "never begun here"


@dataclass(frozen=True, slots=True)
class End:
    """How a transfer ends at both sides. The file is whole and in place, or nothing of it is there."""

    sender: Outcome
    receiver: Outcome
    is_in_place: bool | None
    "None: all bytes were on their way, and the disk may have been quicker than the news."

    @property
    def receivers(self) -> frozenset[Outcome]:
        """What the receiver may say. A cancel that crosses the last CONFIRM comes too late for it."""
        is_crossing = self.is_in_place is None and self.receiver is Outcome.CANCELLED_BY_PEER
        return frozenset({self.receiver, Outcome.COMPLETED} if is_crossing else {self.receiver})


_DONE: Final = End(Outcome.COMPLETED, Outcome.COMPLETED, True)
_BY_SENDER: Final = End(Outcome.CANCELLED, Outcome.CANCELLED_BY_PEER, False)
_BY_RECEIVER: Final = End(Outcome.CANCELLED_BY_PEER, Outcome.CANCELLED, False)

_CANCELLED: Final[Mapping[Event, Mapping[Moment, End]]] = {
    Event.CANCEL_BY_SENDER: {
        Moment.OFFERED: End(Outcome.CANCELLED, Outcome.NOT_BEGUN, False),
        Moment.FIRST_BYTE: _BY_SENDER,
        Moment.MIDDLE: _BY_SENDER,
        Moment.LAST_BLOCK: End(Outcome.CANCELLED, Outcome.CANCELLED_BY_PEER, None),
        Moment.BEFORE_CONFIRM: End(Outcome.CANCELLED, Outcome.CANCELLED_BY_PEER, None),
        # It came too late: each side tells its own user what it knows (PROTOCOL.md, States).
        Moment.CONFIRM_SENT: End(Outcome.CANCELLED, Outcome.COMPLETED, True),
    },
    Event.CANCEL_BY_RECEIVER: {
        Moment.OFFERED: End(Outcome.DECLINED, Outcome.NOT_BEGUN, False),
        Moment.FIRST_BYTE: _BY_RECEIVER,
        Moment.MIDDLE: _BY_RECEIVER,
        Moment.LAST_BLOCK: _BY_RECEIVER,
        Moment.BEFORE_CONFIRM: End(Outcome.CANCELLED_BY_PEER, Outcome.CANCELLED, None),
        Moment.CONFIRM_SENT: _DONE,  # what is done cannot be cancelled
    },
}


def end_of(event: Event, moment: Moment) -> End:
    """The documented end: what is not cancelled completes, whatever happens to it."""
    return _CANCELLED[event][moment] if event in _CANCELLED else _DONE


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of the matrix."""

    event: Event
    moment: Moment

    def __str__(self) -> str:
        return f"{self.event.name.lower()}-{self.moment.name.lower()}"

    @property
    def end(self) -> End:
        """How it has to end."""
        return end_of(self.event, self.moment)

    @property
    def keeps_the_download(self) -> bool:
        """Whether Bob's program began one download, and has it in the end, whatever happened below it."""
        if self.event is Event.KILL_SENDER:  # later all is on its way, and what is complete is offered anew
            return self.moment in (Moment.FIRST_BYTE, Moment.MIDDLE)
        return self.event is not Event.KILL_RECEIVER and self.moment is not Moment.OFFERED


CELLS: Final = tuple(Cell(event, moment) for event, moment in product(Event, Moment))
