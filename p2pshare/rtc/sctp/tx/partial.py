"""Messages of limited reliability (RFC 3758): when one is given up, and how the peer is told.

The peer is told by FORWARD-TSN, or I-FORWARD-TSN where messages are interleaved (RFC 8260 section 2.3), again
and again until its cumulative TSN has passed what was given up.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from operator import attrgetter
from typing import NamedTuple

from p2pshare.rtc.sctp.packet import WRAP, ForwardTsn, IForwardTsn
from p2pshare.rtc.sctp.tx.message import Message
from p2pshare.rtc.sctp.tx.outstanding import Outstanding
from p2pshare.rtc.sctp.tx.send_queue import SendQueue

_STREAMS_AT_MOST = 128
_last_tsn = attrgetter("last_tsn")


class Skip(NamedTuple):
    """A message that was given up."""

    first_tsn: int
    "Its first TSN that is given up: a peer that is told to go beyond it must be told of the message as well."
    last_tsn: int
    stream_id: int
    unordered: bool
    number: int
    "Its stream sequence number, or with I-DATA its message identifier."


class Abandonment:
    """Gives messages up and keeps what has to be said about it."""

    def __init__(self, queue: SendQueue, outstanding: Outstanding) -> None:
        self._queue = queue
        self._outstanding = outstanding
        self.abandoned: list[tuple[Message, int]] = []
        "Messages, and their bytes that never left; the caller takes and clears them."
        self._skips: list[Skip] = []
        "What the peer may not know of yet, in the order of last TSNs."

    def judge(self, first: int, last: int, now: float) -> None:
        """These TSNs are lost: give up what may not, or need not, be sent again."""
        for run in self._outstanding.runs_between(first, last):
            message = run.message
            if not message.is_limited or message.abandoned:
                continue
            if message.expires_at is not None and message.expires_at <= now:
                self.abandon(message)
            elif message.max_retransmits is not None:
                counts = message.resent = message.resent or {}
                for tsn in range(max(first, run.first), min(last, run.last) + 1):
                    counts[tsn] = counts.get(tsn, 0) + 1
                    if counts[tsn] > message.max_retransmits:
                        self.abandon(message)
                        break

    def abandon(self, message: Message, is_queued: bool = True) -> None:
        """Give up a message that has begun: all that is outstanding of it, and what has not left yet.

        A message that is cut off gets one TSN more, which is never sent: the peer must be told to skip the
        message even if all fragments that did leave have arrived.
        """
        outstanding = self._outstanding
        message.abandoned = True
        unsent = message.size - message.sent
        if unsent:
            if is_queued:
                self._queue.discard(message)
            outstanding.append(message, 1, 0)
        begin = max(message.first_tsn, outstanding.cumulative + 1)
        last = first = message.last_tsn
        for run in outstanding.runs_between(begin, last):
            if run.message is message:
                for start, _ in outstanding.sacked.holes(max(run.first, begin), run.last)[:1]:
                    first = min(first, start)
                outstanding.abandon(run.first, run.last)
        skip = Skip(first, last, message.stream.id, message.unordered, message.mid or message.sequence)
        insort(self._skips, skip, key=_last_tsn)
        self.abandoned.append((message, unsent))

    def chunk(self, interleaved: bool) -> bytes | None:
        """What tells the peer to skip; None when it need not skip anything."""
        outstanding = self._outstanding
        if not self._skips and not outstanding.abandoned:
            return None
        cumulative = outstanding.cumulative
        del self._skips[: bisect_right(self._skips, cumulative, key=_last_tsn)]
        point = outstanding.skippable()
        if point == cumulative:
            return None
        # Of each stream the last message that begins up to that point: those before it are skipped with it.
        half = 0x8000_0000 if interleaved else 0x8000
        numbers: dict[tuple[int, bool], int] = {}
        for skip in self._skips:
            if skip.first_tsn > point or len(numbers) == _STREAMS_AT_MOST:
                continue
            stream = skip.stream_id, skip.unordered
            if (skip.number - numbers.get(stream, skip.number)) & (2 * half - 1) < half:
                numbers[stream] = skip.number
        due = [(*stream, number) for stream, number in numbers.items()]
        if interleaved:
            return IForwardTsn(point & WRAP, tuple(due)).encode()
        ordered = tuple((stream, number) for stream, unordered, number in due if not unordered)
        return ForwardTsn(point & WRAP, ordered).encode()

    def stream_reset(self, stream_id: int) -> None:
        """The stream's numbers begin anew: what was skipped belongs to its last life."""
        self._skips = [skip for skip in self._skips if skip.stream_id != stream_id]
