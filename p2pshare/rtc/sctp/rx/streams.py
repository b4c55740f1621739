"""Incoming streams: complete messages wait here for those before them, unless they are unordered."""

from __future__ import annotations

from collections.abc import Callable


class InboundStream:
    """The next number of an ordered stream, and complete messages with later ones."""

    __slots__ = ("next", "waiting")

    def __init__(self) -> None:
        self.next = 0
        self.waiting: dict[int, tuple[int, bytes]] = {}


class InboundStreams:
    """Hands messages to ``deliver(stream_id, ppid, payload)``, each stream's in its order.

    Numbers are 16 bits with DATA (stream sequence numbers) and 32 with I-DATA (message identifiers).
    """

    def __init__(self, deliver: Callable[[int, int, bytes], None], number_mask: int) -> None:
        self._deliver = deliver
        self._mask = number_mask
        self._streams: dict[int, InboundStream] = {}
        self.waiting = 0
        "Messages that wait for others."
        self.held = 0
        "Bytes of them."

    def complete(self, stream_id: int, number: int, ppid: int, payload: bytes) -> None:
        """A message of an ordered stream is complete."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = InboundStream()
        if number == stream.next:
            stream.next = (number + 1) & self._mask
            self._deliver(stream_id, ppid, payload)
            if stream.waiting:
                self._follow(stream_id, stream)
        elif (number - stream.next) & self._mask <= self._mask >> 1 and number not in stream.waiting:
            stream.waiting[number] = (ppid, payload)
            self.waiting += 1
            self.held += len(payload)
        # Else its number was there before: a peer that repeats itself under new TSNs.

    def _follow(self, stream_id: int, stream: InboundStream) -> None:
        while True:
            message = stream.waiting.pop(stream.next, None)
            if message is None:
                return
            stream.next = (stream.next + 1) & self._mask
            self.waiting -= 1
            self.held -= len(message[1])
            self._deliver(stream_id, *message)

    def is_over(self, stream_id: int, number: int) -> bool:
        """Whether this message of an ordered stream was delivered, or skipped."""
        stream = self._streams.get(stream_id)
        return stream is not None and (number - stream.next) & self._mask > self._mask >> 1

    def skip(self, stream_id: int, number: int) -> None:
        """Messages up to this number will not come; those that are here are delivered."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = InboundStream()
        mask = self._mask
        if (number - stream.next) & mask > mask >> 1:
            return  # said before
        span = (number - stream.next) & mask
        early = sorted(
            (waiting for waiting in stream.waiting if (waiting - stream.next) & mask <= span),
            key=lambda waiting: (waiting - stream.next) & mask,
        )
        for waiting in early:
            ppid, payload = stream.waiting.pop(waiting)
            self.waiting -= 1
            self.held -= len(payload)
            self._deliver(stream_id, ppid, payload)
        stream.next = (number + 1) & mask
        self._follow(stream_id, stream)

    def reset(self, stream_ids: tuple[int, ...]) -> None:
        """Streams begin anew; none named means all. What waited on them is gone."""
        for stream_id in stream_ids or tuple(self._streams):
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                self.waiting -= len(stream.waiting)
                self.held -= sum(len(payload) for _, payload in stream.waiting.values())

    def set_next(self, stream_id: int, number: int) -> None:
        """Expect this number next, for a stream that was taken over."""
        self._streams.setdefault(stream_id, InboundStream()).next = number
