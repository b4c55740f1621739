"""A core of the share protocol whose peer says anything, on any channel, at any moment.

The input is a list of steps: frames of a real conversation, damaged ones, and frames that are well formed
and make no sense; the side under attack offers, accepts, stores and gives up in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fuzz.frames import conversation
from fuzz.target import Choices, Target, framed
from p2pshare.errors import DownloadNotAvailable, LocalProtocolError
from p2pshare.model import BLOCK_SIZE, Extent, FileEnd, HeldBlocks, OfferedFile
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import encode
from p2pshare.protocol.outbox import CONTROL_CHANNEL
from p2pshare.protocol.states import LinkState
from tests.protocol.pair import CorePair, Peer, limits

MAX_FRAME = 16_384
WORK_S = 10.0
"Seconds of processor time for one step: far more than any takes, less than one that does not end."
_LIMITS = limits(
    min_window=65_536, max_window=200_000, memory_budget=400_000, max_files=400, max_open_offers=8
)
_JOBS_AT_MOST = 20
_CHANNELS = (CONTROL_CHANNEL, 241, 242, 243, 244)
_NUMBERS = (0, 1, 2, 3, 5, 999, 1_000, 65_536, 2**32 - 1, 2**53 - 1)
_SIZES = (0, 1, 100, 1_000, BLOCK_SIZE + 5)


class Frames:
    """Frames whose numbers are near those that mean something."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices

    def _id(self) -> int:
        return 1 + self._choices.byte() % 6

    def _index(self) -> int:
        return self._choices.byte() % 5 if self._choices.byte() & 7 else 2**32 - 1

    def _number(self) -> int:
        return self._choices.one_of(_NUMBERS)

    def _some(self, make: Callable[[], object]) -> tuple[object, ...]:
        return tuple(make() for _ in range(self._choices.byte() % 4))

    def _ranges(self) -> f.Ranges:
        pairs = []
        at = 0
        for _ in range(self._choices.byte() % 4):
            first = at + self._choices.byte() % 3
            last = first + (self._choices.byte() % 3 if self._choices.byte() & 15 else 2**31)
            pairs.append((first, last))
            at = last + 1
        return tuple(pairs)

    def _file(self, index: int) -> OfferedFile:
        size = self._choices.one_of((*_SIZES, None, 2**53 - 1))
        return OfferedFile(index, (f"file {index}",), size)

    def _files(self) -> tuple[OfferedFile, ...]:
        first = self._choices.byte() % 3 if self._choices.byte() & 1 else 0
        return tuple(self._file(first + index) for index in range(self._choices.byte() % 5))

    def _extent(self) -> Extent:
        return Extent(self._index(), self._number(), bytes(1 + self._choices.byte()))

    def _end(self) -> FileEnd:
        return FileEnd(self._index(), self._number(), bytes(32))

    def _held(self) -> HeldBlocks:
        return HeldBlocks(
            self._index(), self._choices.byte() % 3, (bytes(32),) * (1 + self._choices.byte() % 3)
        )

    def one(self) -> f.Frame:
        """One that the decoder lets through, or nearly."""
        choices, an_id, number = self._choices, self._id, self._number
        more = bool(choices.byte() & 1)
        file = self._index() if choices.byte() & 1 else None
        held = tuple(self._held() for _ in range(choices.byte() % 3))
        ends = tuple(self._end() for _ in range(choices.byte() % 3))
        extents = tuple(self._extent() for _ in range(choices.byte() % 3))
        makers: Sequence[Callable[[], f.Frame]] = (
            lambda: f.Hello((1,), bytes(15) + bytes((choices.byte(),)), more, MAX_FRAME, number(), number()),
            lambda: f.Auth(b"x"),
            lambda: f.OfferFrame(an_id(), 1 + choices.byte() % 5, self._files()),
            lambda: f.Files(an_id(), self._files()),
            lambda: f.Withdraw(an_id(), 1181),
            lambda: f.Accept(
                an_id(), an_id(), 239 + choices.byte() % 18, self._ranges(), number(), number(), held, more
            ),
            lambda: f.RangesFrame(an_id(), self._ranges(), held, more),
            lambda: f.Decline(an_id(), 1181),
            lambda: f.HaveQuery(an_id(), an_id(), self._ranges(), more),
            lambda: f.Have(an_id(), an_id(), ends, more),
            lambda: f.Data(an_id(), extents or (self._extent(),)),
            lambda: f.Finish(an_id(), ends or (self._end(),), extents),
            lambda: f.Window(number(), an_id() if more else None, number(), number()),
            lambda: f.Pause(an_id()),
            lambda: f.Resume(an_id()),
            lambda: f.Confirm(an_id(), self._ranges()),
            lambda: f.Reset(an_id(), 6001, "", file),
            lambda: f.Stop(an_id(), 6001, "", file),
            lambda: f.Ping(number()),
            lambda: f.Pong(number()),
            lambda: f.Close(1_000),
            lambda: f.Ended(an_id(), number()),
        )
        return choices.one_of(makers)()


class Attack:
    """A pair of which left, or right, hears more than the other has said."""

    def __init__(self, choices: Choices) -> None:
        flags = choices.byte()
        self._choices = choices
        self._frames = Frames(choices)
        self._pair = CorePair(limits=_LIMITS, max_frame=MAX_FRAME, is_deaf_when_closing=bool(flags & 4))
        self._pair.is_forged = True
        self.victim = self._pair.right if flags & 1 else self._pair.left
        if flags & 2:
            for peer in (self._pair.left, self._pair.right):
                self._pair.offer(peer, 3_000, 0, None)
            self._pair.exchange()
            for peer in (self._pair.left, self._pair.right):
                self._pair.accept(peer, 1)
            self._pair.exchange()
        self._steps: list[Callable[[], None]] = [
            self._pair.exchange,
            self._message,
            self._frame,
            self._frame,
            self._frame,
            self._deliver,
            self._wait,
            self._offer,
            self._accept,
            self._send,
            self._store,
            self._give_up,
            self._run_all,
        ]

    def run(self) -> None:
        """Take all steps."""
        while not self._choices.is_over:
            begun = time.process_time()
            self._choices.one_of(self._steps)()
            self._check()
            assert time.process_time() - begun < WORK_S

    def _give(self, channel: int, message: bytes) -> None:
        is_clogged = self._choices.byte() & 7 == 7
        before = len(self._pair.log)
        self.victim.core.receive_message(channel, message, self._pair.now, is_clogged=is_clogged)
        self._pair.drain(self.victim)
        assert len(self._pair.log) - before <= _JOBS_AT_MOST, "one frame makes it say too much"

    def _message(self) -> None:
        self._give(self._choices.one_of(_CHANNELS), self._choices.piece())

    def _frame(self) -> None:
        try:
            message = encode(self._frames.one())
        except (OverflowError, ValueError):
            return  # not to be said in msgpack
        self._give(self._choices.one_of(_CHANNELS), message)

    def _deliver(self) -> None:
        waiting = self._pair.waiting()
        if waiting:
            self._pair.deliver(self._choices.one_of(waiting))

    def _wait(self) -> None:
        self._pair.wait(self._choices.one_of((0.5, 2.0, 31.0)))

    def _offer(self) -> None:
        if self.victim.core.state is LinkState.OPEN and self.victim.last_offer < 5:
            sizes = [self._choices.one_of((*_SIZES, None)) for _ in range(1 + self._choices.byte() % 4)]
            self._pair.offer(self.victim, *sizes)

    def _accept(self) -> None:
        downloads = self.victim.core.downloads
        if downloads.offers and len(downloads.jobs) < _JOBS_AT_MOST:
            offer = self._choices.one_of(sorted(downloads.offers))
            try:
                self._pair.accept(self.victim, offer)
            except (DownloadNotAvailable, LocalProtocolError):
                assert not downloads.offers[offer].is_complete

    def _send(self) -> None:
        self._pair.send_all(self.victim)

    def _store(self) -> None:
        self._pair.store_all(self.victim)

    def _give_up(self) -> None:
        choices, core = self._choices, self.victim.core
        index = choices.byte() % 4
        if choices.byte() & 1:
            for job, upload in list(core.uploads.jobs.items())[:1]:
                if index < len(upload.files):
                    core.uploads.give_up_file(job, index, 1180)
                else:
                    core.uploads.reset(job, 6001)
        else:
            for job, download in list(core.downloads.jobs.items())[:1]:
                if index < len(download.files):
                    core.downloads.give_up_file(job, index, 1180)
                else:
                    core.downloads.stop(job, 6001)
        self._pair.drain(self.victim)

    def _run_all(self) -> None:
        for peer in (self._pair.left, self._pair.right):
            self._pair.send_all(peer)
        self._pair.exchange()

    def _check(self) -> None:
        """`CorePair` looks after credit and order; here is what the core may keep."""
        _check_kept(self.victim)


def _check_kept(peer: Peer) -> None:
    core = peer.core
    assert len(core.downloads.offers) <= _LIMITS.max_open_offers
    assert sum(len(offer.files) for offer in core.downloads.offers.values()) <= 2 * _LIMITS.max_files
    assert len(core.uploads.jobs) <= _JOBS_AT_MOST
    assert len(core._pings) <= 65
    for job in core.downloads.jobs.values():
        assert sum(cost for _, cost in job.parked) <= job.window.limit
    if core.state is LinkState.CLOSED:
        assert not core.uploads.jobs
        assert not core.downloads.jobs
        assert peer.error is not None


def run(source: bytes) -> None:
    """Take the steps that the input says."""
    Attack(Choices(source)).run()


_MESSAGE, _FRAME, _OFFER, _ACCEPT, _STORE, _GIVE_UP, _RUN = 1, 2, 7, 8, 10, 11, 12


def seeds() -> Iterator[bytes]:
    """What is said in a conversation, to either side; whole transfers; one of each frame."""
    said = conversation().log
    for flags in range(8):
        side = "right" if flags & 1 == 0 else "left"
        steps = [
            bytes((_MESSAGE, _CHANNELS.index(channel))) + framed(encode(frame)) + b"\0"
            for name, channel, frame in said
            if name == side and channel in _CHANNELS
        ]
        yield bytes((flags,)) + b"".join(step for step in steps if len(step) < 1_000)
        yield bytes((flags, _OFFER, 3, 1, 2, 3, 0, _RUN, _STORE, _RUN, _GIVE_UP, 1, 1, _RUN, 6, 0, _RUN))
    for kind in range(22):
        yield bytes((2, _FRAME, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, kind, 0, 0, 1, 0, 0, 0, 0, 0, _RUN, _STORE))


TARGET = Target(run, seeds, 6_000)
