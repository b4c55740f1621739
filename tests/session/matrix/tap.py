"""A tap on the connections: how many bytes of each file travelled, and the moments of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping

from p2pshare.model import BLOCK_SIZE
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode
from tests.session.matrix.cells import Moment


class Tap:
    """Sees every frame between Alice and Bob, at one end or at both."""

    def __init__(
        self, sizes: Mapping[str, int], sent: MutableMapping[str, int], jobs: MutableMapping[str, int]
    ) -> None:
        """``sizes`` are those of the files whose moments count, by name.

        ``sent`` counts their bytes as Alice sends them, ``jobs`` how often Bob accepts them.
        """
        self._sizes = sizes
        self._sent = sent
        self._jobs_of = jobs
        self._waiting: tuple[str, Moment, Callable[[], None]] | None = None
        self._count: tuple[str, int, Callable[[], None]] | None = None
        self._offers: dict[tuple[int, int], list[str]] = {}  # (connection, offer) -> names
        self._jobs: dict[tuple[int, int], list[str]] = {}

    def when(self, name: str, moment: Moment, call: Callable[[], None]) -> None:
        """Call when a file's transfer comes to this moment for the first time: before anyone else knows."""
        self._waiting = name, moment, call

    def when_at(self, name: str, offset: int, call: Callable[[], None]) -> None:
        """Call when the bytes of a file up to this offset have arrived."""
        self._count = name, offset, call

    def observe(self, connection: int, message: bytes, *, by_alice: bool, arrives: bool) -> None:
        """A frame on a connection, which has a number: it is about to be sent, or has just arrived."""
        frame = decode(message, max_size=len(message))
        match frame:
            case f.OfferFrame() if by_alice:
                self._offers[connection, frame.offer] = [file.path[-1] for file in frame.files]
            case f.Accept() if not by_alice:
                names = self._jobs[connection, frame.job] = self._offers[connection, frame.offer]
                if not arrives:
                    for name in names:
                        self._jobs_of[name] += 1
            case f.Data() | f.Finish() if by_alice:
                names = self._jobs[connection, frame.job]
                if arrives:
                    self._look(names, frame)
                else:
                    for extent in frame.extents:
                        self._sent[names[extent.index]] += len(extent.payload)
            case f.Confirm() if not by_alice and not arrives:
                names = self._jobs[connection, frame.job]
                for first, last in frame.files:
                    for name in names[first : last + 1]:
                        self._reached(name, Moment.CONFIRM_SENT)

    def _look(self, names: list[str], frame: f.Data | f.Finish) -> None:
        for extent in frame.extents:
            name = names[extent.index]
            size = self._sizes.get(name, 0)
            end = extent.offset + len(extent.payload)
            if self._count is not None and self._count[0] == name and end >= self._count[1]:
                call, self._count = self._count[2], None
                call()
            self._reached(name, Moment.FIRST_BYTE)
            if end >= size // 2:
                self._reached(name, Moment.MIDDLE)
            if (size - 1) // BLOCK_SIZE * BLOCK_SIZE < end < size:
                self._reached(name, Moment.LAST_BLOCK)
        if isinstance(frame, f.Finish):
            for file in frame.files:
                self._reached(names[file.index], Moment.BEFORE_CONFIRM)

    def _reached(self, name: str, moment: Moment) -> None:
        if self._waiting is not None and self._waiting[:2] == (name, moment):
            call = self._waiting[2]
            self._waiting = None
            call()
