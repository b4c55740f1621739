"""Which message goes next: streams take turns, urgent ones go first.

Without I-DATA a message that has begun is finished first (its TSNs must follow one another, RFC 9260 section
6.9), so a turn is a message; with it a turn is what one train holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from p2pshare.rtc.sctp.tx.message import Message, SendStream


class SendQueue:
    """The queues of all streams, and the order in which they are served."""

    def __init__(self, urgent_streams: frozenset[int], open_bytes_limit: int) -> None:
        self.interleaved = False
        self.open_bytes_limit = open_bytes_limit
        "Interleaved messages that have begun hold the peer's memory: no further one begins beyond this."
        self.streams: dict[int, SendStream] = {}
        self.queued = 0
        "Bytes that have not left, all streams."
        self.has_limited = False
        "Some message of limited reliability was queued."
        self._urgent_streams = urgent_streams
        self._ready: deque[SendStream] = deque()
        self._ready_urgent: deque[SendStream] = deque()
        self._current: SendStream | None = None
        "The stream whose message has to be finished first."
        self._open: dict[SendStream, None] = {}
        self._open_bytes = 0
        self.expired: list[Message] = []
        "Messages whose time was over before their turn came; the caller takes and clears them."
        self.on_cut: Callable[[Message], None] = self.expired.append
        "Takes a message whose time was over when a part of it had left, before another one is given."

    def stream(self, stream_id: int) -> SendStream:
        """The stream with this id, made at its first use."""
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self.streams[stream_id] = SendStream(stream_id, stream_id in self._urgent_streams)
        return stream

    def append(self, message: Message) -> None:
        """Queue a message."""
        stream = message.stream
        stream.buffered += message.size
        if message.is_limited:
            self.has_limited = True
        if stream.resetting:
            stream.held.append(message)
            return
        self.queued += message.size
        if not stream.queue:
            (self._ready_urgent if stream.urgent else self._ready).append(stream)
        stream.queue.append(message)

    def peek(self, now: float) -> Message | None:
        """The message whose fragments go next."""
        while True:
            stream = self._current or self._next_stream()
            if stream is None:
                return None
            message = stream.queue[0]
            if message.expires_at is None or message.expires_at > now:
                return message
            self.discard(message)
            if message.sent:
                self.on_cut(message)
            else:
                self.expired.append(message)

    def _next_stream(self) -> SendStream | None:
        ready = self._ready_urgent or self._ready
        if not ready:
            return None
        stream = ready[0]
        is_full = self._open and self._open_bytes + stream.queue[0].size > self.open_bytes_limit
        if is_full and not stream.urgent and stream not in self._open:
            return next(iter(self._open))
        return stream

    def took(self, message: Message, size: int) -> None:
        """So many bytes of the message, the one that `peek()` gave, have left."""
        stream = message.stream
        stream.buffered -= size
        self.queued -= size
        was_begun = message.sent
        message.sent += size
        if message.sent == message.size:
            if was_begun:
                self._close(message)
            self._finish(stream)
        elif self.interleaved:
            if not was_begun:
                self._open[stream] = None
                self._open_bytes += message.size
            if len(self._ready) > 1 or len(self._ready_urgent) > 1:
                self._rotate(stream)
        else:
            self._current = stream

    def discard(self, message: Message) -> None:
        """Take out a message, the first of its stream, that shall not be sent (any further)."""
        stream = message.stream
        unsent = message.size - message.sent
        stream.buffered -= unsent
        self.queued -= unsent
        if message.sent:
            self._close(message)
        self._finish(stream)

    def _close(self, message: Message) -> None:
        if message.stream in self._open:
            del self._open[message.stream]
            self._open_bytes -= message.size

    def _finish(self, stream: SendStream) -> None:
        self._current = None
        stream.queue.popleft()
        self._rotate(stream)

    def _rotate(self, stream: SendStream) -> None:
        ready = self._ready_urgent if stream.urgent else self._ready
        if stream.queue:
            if len(ready) > 1:
                if ready[0] is stream:
                    ready.rotate(-1)
                if stream in self._open:  # the next of those that have begun
                    self._open[stream] = self._open.pop(stream)
        elif ready[0] is stream:
            ready.popleft()
        else:
            ready.remove(stream)

    def release(self, stream: SendStream) -> None:
        """The stream's reset is over: messages that waited for it may go."""
        stream.resetting = False
        held, stream.held = stream.held, deque()
        for message in held:
            stream.buffered -= message.size
            self.append(message)

    def restart(self) -> list[Message]:
        """Number all streams from zero; returns messages of which a part had left: they are taken out."""
        cut: list[Message] = []
        for stream in list(self.streams.values()):
            stream.begin_anew()
            stream.last_tsn = -1
            if stream.queue and stream.queue[0].sent:
                cut.append(stream.queue[0])
                self.discard(stream.queue[0])
            if stream.resetting:
                self.release(stream)
        return cut
