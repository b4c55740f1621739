"""What the sending half knows of a message, a stream and a run of TSNs: nothing is kept per packet."""

from __future__ import annotations

import struct
from collections import deque

from p2pshare.rtc.sctp.memory import Pointer
from p2pshare.rtc.sctp.packet import Flag

_DATA_TAIL = struct.Struct("!HHI")
_I_DATA_TAIL = struct.Struct("!HHI")


class SendStream:
    """One outgoing stream: its queue and its numbers."""

    __slots__ = (
        "buffered",
        "held",
        "id",
        "last_tsn",
        "next_mid",
        "next_sequence",
        "next_unordered_mid",
        "queue",
        "resetting",
        "urgent",
    )

    def __init__(self, stream_id: int, urgent: bool) -> None:
        self.id = stream_id
        self.urgent = urgent
        self.queue: deque[Message] = deque()
        self.held: deque[Message] = deque()
        "Messages for the stream's next life: `send()` while a reset is under way."
        self.buffered = 0
        self.next_sequence = 0
        self.next_mid = 0
        self.next_unordered_mid = 0
        self.last_tsn = -1
        "The last TSN that was given to this stream."
        self.resetting = False

    def begin_anew(self) -> None:
        """Number messages from zero, as a reset or a restart wants."""
        self.next_sequence = self.next_mid = self.next_unordered_mid = 0


class Message:
    """A message on its way, from `send()` until its last TSN is acknowledged."""

    __slots__ = (
        "abandoned",
        "begins",
        "ends",
        "expires_at",
        "first_tsn",
        "flags",
        "fragment_size",
        "fragments_numbered",
        "last_tsn",
        "max_retransmits",
        "mid",
        "payload",
        "ppid",
        "resent",
        "sent",
        "sequence",
        "size",
        "source",
        "started",
        "stream",
        "tail",
        "unordered",
    )

    def __init__(
        self,
        stream: SendStream,
        ppid: int,
        payload: bytes,
        unordered: bool,
        max_retransmits: int | None,
        expires_at: float | None,
    ) -> None:
        self.stream = stream
        self.ppid = ppid
        self.payload = payload
        self.size = len(payload)
        self.unordered = unordered
        self.flags = Flag.UNORDERED if unordered else 0
        "The flag that all of its fragments carry."
        self.max_retransmits = max_retransmits
        self.expires_at = expires_at
        self.sent = 0
        "Bytes that were handed out, which is where the next fragment begins."
        self.source: Pointer | None = None
        "Where the payload lies, once it is needed."
        self.started = False
        self.abandoned = False
        self.begins = Flag.BEGINS
        self.ends = Flag.ENDS
        "Flags of the first and the last fragment; 0 in what was taken over in parts."
        self.fragments_numbered = 0
        self.first_tsn = self.last_tsn = -1
        self.resent: dict[int, int] | None = None
        "How often each TSN was sent again, where it is limited."

    @classmethod
    def taken_over(cls, stream: SendStream, ppid: int, payload: bytes, flags: int, sequence: int) -> Message:
        """A fragment of a message that another stack has begun, treated as a message that has left."""
        message = cls(stream, ppid, payload, bool(flags & Flag.UNORDERED), None, None)
        message.started = True
        message.fragment_size = max(len(payload), 1)
        message.begins = flags & Flag.BEGINS
        message.ends = flags & Flag.ENDS
        message.mid = 0
        message.sequence = sequence
        message.tail = _DATA_TAIL.pack(stream.id, sequence, ppid)
        return message

    @property
    def is_limited(self) -> bool:
        """May be given up (RFC 3758)."""
        return self.max_retransmits is not None or self.expires_at is not None

    def start(self, interleaved: bool, fragment_size: int) -> None:
        """Give it its number in the stream: its first fragment is about to leave."""
        stream = self.stream
        self.started = True
        self.fragment_size = fragment_size
        if interleaved:
            if self.unordered:
                self.mid = stream.next_unordered_mid
                stream.next_unordered_mid = (self.mid + 1) & 0xFFFF_FFFF
            else:
                self.mid = stream.next_mid
                stream.next_mid = (self.mid + 1) & 0xFFFF_FFFF
            self.sequence = 0
            self.tail = _I_DATA_TAIL.pack(stream.id, 0, self.mid)
        else:
            self.mid = 0
            if self.unordered:
                self.sequence = 0
            else:
                self.sequence = stream.next_sequence
                stream.next_sequence = (self.sequence + 1) & 0xFFFF
            self.tail = _DATA_TAIL.pack(stream.id, self.sequence, self.ppid)


class Run:
    """Consecutive TSNs that carry consecutive fragments of one message.

    A message is one run, unless messages are interleaved, or the packet size changed within it.
    """

    __slots__ = ("base", "first", "fragment_size", "fsn", "last", "message", "offset", "size")

    def __init__(self, message: Message, first: int, last: int, offset: int, size: int, base: int) -> None:
        self.message = message
        self.first = first
        self.last = last
        self.offset = offset
        "Where in the message it begins."
        self.size = size
        self.fragment_size = message.fragment_size
        self.fsn = message.fragments_numbered
        "Fragment sequence number of its first fragment (RFC 8260 section 2.1)."
        self.base = base
        "Bytes of all runs before this one."

    def fragment(self, tsn: int) -> tuple[int, int, int]:
        """Where in the message the fragment with this TSN begins, its size, and its flags."""
        message = self.message
        start = self.offset + (tsn - self.first) * self.fragment_size
        size = min(self.fragment_size, self.offset + self.size - start)
        flags = message.flags
        if start == 0:
            flags |= message.begins
        if start + size == message.size and tsn == self.last:
            flags |= message.ends
        return start, size, flags
