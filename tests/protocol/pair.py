"""Two cores against each other, in memory, with a clock of their own.

Channels are like negotiated WebRTC channels: in order each, independent of one another; a message to an id
that the other side has not made is lost; a close takes both ends, and only then the id is free; the end of a
channel that the other side never makes stays closing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

from blake3 import blake3

from p2pshare.errors import P2PShareError
from p2pshare.model import Extent, FileEnd, FileKind, HeldBlocks, Limits, OfferedFile, Piece
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode
from p2pshare.protocol.core import Core, CoreConfig
from p2pshare.protocol.outbox import CONTROL_CHANNEL, CloseChannel, OpenChannel, SendMessage
from p2pshare.protocol.paging import max_extent
from p2pshare.protocol.ranges import FileState
from p2pshare.protocol.states import JobState, LinkState

KIB = 1024
LOW, HIGH = bytes(16), bytes([255] * 16)

_E = TypeVar("_E", bound=e.CoreEvent)


class Signal(Enum):
    """What travels on a channel beside messages: SCTP's stream reset (RFC 6525), and its answer."""

    RESET = "reset"
    RESET_DONE = "reset done"


@dataclass
class End:
    """One side's end of a channel."""

    has_sent_reset: bool = False
    is_reset_done: bool = False
    has_got_reset: bool = False


@dataclass
class Peer:
    """One side: a core, and the least of a session that offers, sends, stores and confirms."""

    name: str
    config: CoreConfig
    core: Core
    ends: dict[int, End] = field(default_factory=dict)
    remembered_resets: set[int] = field(default_factory=set)
    events: list[e.CoreEvent] = field(default_factory=list)
    contents: dict[tuple[int, int], bytes] = field(default_factory=dict)
    "What this side offers, by offer and index."
    offered: dict[int, tuple[OfferedFile, ...]] = field(default_factory=dict)
    sending: dict[int, deque[Piece]] = field(default_factory=dict)
    unstored: deque[e.PiecesReceived] = field(default_factory=deque)
    arrived: dict[tuple[int, int], bytearray] = field(default_factory=dict)
    "By job and index."
    unconfirmed: dict[int, list[int]] = field(default_factory=dict)
    ended: dict[int, e.JobEnded] = field(default_factory=dict)
    given_up: set[tuple[int, int]] = field(default_factory=set)
    most_held: int = 0
    last_offer: int = 0

    def of(self, kind: type[_E]) -> list[_E]:
        """The events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def error(self) -> P2PShareError | None:
        """Why the link is closed at this side; None while it is not."""
        closed = self.of(e.LinkClosed)
        assert len(closed) <= 1
        return closed[0].error if closed else None

    def state(self, job: int) -> JobState:
        """Where a job is, at this end."""
        if job in self.ended:
            return self.ended[job].state
        running = self.core.uploads.jobs.get(job) or self.core.downloads.jobs.get(job)
        assert running is not None
        return running.state


class CorePair:
    """Two cores, `left` and `right`, and what is between them."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        max_frame: int = 65_536,
        attach: bool = True,
        auth: tuple[str | None, str | None] = (None, None),
        versions: tuple[tuple[int, ...], tuple[int, ...]] = ((1,), (1,)),
        is_deaf_when_closing: bool = False,
    ) -> None:
        self.now = 1000.0
        self.is_cut = False
        self.is_forged = False
        "Whether a stream carried what no core has sent: contents are not checked then."
        self.is_deaf_when_closing = is_deaf_when_closing
        "As in a browser: what arrives for an end that is closing is dropped."
        self.lost: list[bytes] = []
        self.log: list[tuple[str, int, f.Frame]] = []
        "Every frame that was sent: by whom, on which channel."
        self.flight: dict[tuple[str, int], deque[bytes | Signal]] = {}
        sides = []
        for name, nonce, its_auth, its_versions in zip(
            ("left", "right"), (LOW, HIGH), auth, versions, strict=True
        ):
            config = CoreConfig(nonce, limits or Limits(), max_frame, its_auth, its_versions)
            sides.append(Peer(name, config, Core(config)))
        self.left, self.right = sides
        if attach:
            self.attach(self.left)
            self.attach(self.right)
            self.exchange()

    def other(self, peer: Peer) -> Peer:
        """The one across."""
        return self.right if peer is self.left else self.left

    # The shell -----------------------------------------------------------------------------------------

    def attach(self, peer: Peer, max_message: int = 65_536) -> None:
        """Make the control channel, and greet."""
        peer.ends[CONTROL_CHANNEL] = End()
        peer.core.start(self.now, max_message)
        self.drain(peer)

    def drain(self, peer: Peer) -> None:
        """The one rule: after every touch of a core, its actions, then its events."""
        for action in peer.core.take_actions():
            match action:
                case OpenChannel(channel):
                    assert channel not in peer.ends, f"{peer.name}: the id {channel} is taken"
                    peer.ends[channel] = End()
                    if channel in peer.remembered_resets:
                        peer.remembered_resets.remove(channel)
                        peer.ends[channel].has_got_reset = True
                        self._close(peer, channel)
                case SendMessage(channel, message):
                    self._send(peer, channel, message)
                case CloseChannel(channel):
                    self._close(peer, channel)
        for event in peer.core.take_events():
            peer.events.append(event)
            self._handle(peer, event)

    def _send(self, peer: Peer, channel: int, message: bytes) -> None:
        assert len(message) <= peer.core.max_frame
        frame = decode(message, max_size=len(message))
        assert frame is not None
        self.log.append((peer.name, channel, frame))
        end = peer.ends.get(channel)
        if end is not None and not end.has_sent_reset and not self.is_cut:
            self.flight.setdefault((peer.name, channel), deque()).append(message)

    def _close(self, peer: Peer, channel: int) -> None:
        end = peer.ends.get(channel)
        if end is not None and not end.has_sent_reset:
            end.has_sent_reset = True
            self.flight.setdefault((peer.name, channel), deque()).append(Signal.RESET)

    def _handle(self, peer: Peer, event: e.CoreEvent) -> None:
        match event:
            case e.JobRequested():
                peer.sending[event.job] = self._pieces(peer, event)
            case e.PiecesReceived():
                self._arrive(peer, event)
            case e.FileGivenUp():
                assert event.job not in peer.ended
                peer.given_up.add((event.job, event.file))
            case e.JobEnded():
                assert event.job not in peer.ended
                assert event.state.is_over
                peer.ended[event.job] = event
                peer.sending.pop(event.job, None)
                peer.unconfirmed.pop(event.job, None)
                peer.unstored = deque(each for each in peer.unstored if each.job != event.job)

    def _pieces(self, peer: Peer, event: e.JobRequested) -> deque[Piece]:
        pieces: deque[Piece] = deque()
        step = max_extent(peer.core.max_frame)
        for index in event.files:
            content = peer.contents[event.offer, index]
            pieces.extend(Extent(index, at, content[at : at + step]) for at in range(0, len(content), step))
            pieces.append(FileEnd(index, len(content), blake3(content).digest()))
        return pieces

    def _arrive(self, peer: Peer, event: e.PiecesReceived) -> None:
        """In order and exactly once, or not at all."""
        assert event.job not in peer.ended
        for piece in event.pieces:
            content = peer.arrived.setdefault((event.job, piece.index), bytearray())
            if self.is_forged:
                continue
            if isinstance(piece, Extent):
                assert piece.offset == len(content)
                content += piece.payload
            else:
                assert piece.size == len(content)
                assert piece.digest == blake3(bytes(content)).digest()
        peer.unstored.append(event)
        held = sum(each.cost for each in peer.unstored)
        peer.most_held = max(peer.most_held, held)
        downloads = peer.core.downloads
        assert held <= sum(job.window.size for job in downloads.jobs.values())
        assert downloads.connection.received <= downloads.connection.limit

    # What passes between -------------------------------------------------------------------------------

    def waiting(self) -> list[tuple[str, int]]:
        """Where something is in flight: (who sent it, channel)."""
        return [key for key, queue in self.flight.items() if queue]

    def deliver(self, key: tuple[str, int]) -> None:
        """Deliver the next of what is in flight there."""
        name, channel = key
        item = self.flight[key].popleft()
        to = self.right if name == "left" else self.left
        end = to.ends.get(channel)
        if isinstance(item, bytes):
            is_deaf = end is not None and end.has_sent_reset and self.is_deaf_when_closing
            if end is None or (is_deaf and channel != CONTROL_CHANNEL):
                self.lost.append(item)
            else:
                to.core.receive_message(channel, item, self.now)
        elif item is Signal.RESET:
            self.flight.setdefault((to.name, channel), deque()).append(Signal.RESET_DONE)
            if end is None:
                to.remembered_resets.add(channel)
            else:
                end.has_got_reset = True
                self._close(to, channel)
        elif end is not None:
            end.is_reset_done = True
        if end is not None and end.is_reset_done and end.has_got_reset:
            del to.ends[channel]
            to.core.channel_closed(channel)
        self.drain(to)

    def exchange(self, *, but: Iterable[tuple[str, int]] = ()) -> None:
        """Deliver all that is in flight, and what follows from it; send long lists to their end."""
        held_back = set(but)
        while True:
            keys = [key for key in self.waiting() if key not in held_back]
            for key in keys:
                self.deliver(key)
            has_page = self.send_page(self.left) | self.send_page(self.right)
            if not keys and not has_page:
                return

    def send_page(self, peer: Peer) -> bool:
        """One page of a long list."""
        has_page = peer.core.send_page()
        self.drain(peer)
        return has_page

    def cut(self) -> None:
        """The connection breaks: all that is in flight is lost."""
        self.is_cut = True
        self.flight.clear()
        for peer in (self.left, self.right):
            peer.ends.clear()
            peer.core.connection_lost("the connection broke")
            self.drain(peer)

    def wait(self, seconds: float, *, step: float = 0.25) -> None:
        """Let time pass: timers fire, nothing is delivered."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            for peer in (self.left, self.right):
                timer = peer.core.next_timer()
                if timer is not None and timer <= self.now:
                    peer.core.handle_timer(self.now)
                    self.drain(peer)

    def receive(self, to: Peer, frame: f.Frame, channel: int = CONTROL_CHANNEL) -> None:
        """Let a side take a frame that the other one's core has never sent."""
        self.is_forged |= channel != CONTROL_CHANNEL
        to.core.receive_message(channel, encode(frame), self.now)
        self.drain(to)

    # Commands ------------------------------------------------------------------------------------------

    def offer(self, by: Peer, *sizes: int | None, message: str | None = None) -> int:
        """Offer files of these sizes; None: of 1,000 bytes that the sender does not know yet."""
        files = [OfferedFile(index, (f"file {index}.bin",), size) for index, size in enumerate(sizes)]
        return self.offer_files(by, files, message)

    def offer_files(self, by: Peer, files: Sequence[OfferedFile], message: str | None = None) -> int:
        """Offer these files."""
        offer = by.last_offer + 1
        by.core.uploads.offer(offer, files, message)
        by.last_offer = offer
        by.offered[offer] = tuple(files)
        for file in files:
            size = 1000 if file.size is None else file.size
            by.contents[offer, file.index] = bytes([file.index % 251]) * size
        self.drain(by)
        return offer

    def accept(
        self, by: Peer, offer: int, indexes: Sequence[int] | None = None, held: Sequence[HeldBlocks] = ()
    ) -> int:
        """Accept files of an offer."""
        job = by.core.downloads.accept(offer, indexes, held)
        self.drain(by)
        return job

    def start(self, *sizes: int | None) -> int:
        """Left offers files of these sizes, right accepts all: the job."""
        offer = self.offer(self.left, *sizes)
        self.exchange()
        job = self.accept(self.right, offer)
        self.exchange()
        return job

    def send(self, by: Peer, job: int) -> int:
        """Send one frame of a job; -1: nothing can be sent."""
        pieces = by.sending.get(job)
        if not pieces:
            return -1
        before = by.core.uploads.credit(job)
        sent = by.core.uploads.send(job, pieces)
        running = by.core.uploads.jobs[job]
        assert running.window.credit >= 0
        assert by.core.uploads.connection.credit >= 0
        assert by.core.uploads.credit(job) <= before
        self.drain(by)
        return sent

    def send_all(self, by: Peer) -> bool:
        """Send as much as credit allows."""
        has_sent = False
        for job in list(by.sending):
            while self.send(by, job) >= 0:
                has_sent = True
        return has_sent

    def store(self, by: Peer) -> None:
        """Store the pieces that came first."""
        event = by.unstored.popleft()
        size = sum(len(piece.payload) for piece in event.pieces if isinstance(piece, Extent))
        by.core.downloads.stored(event.job, size, event.cost, self.now)
        ends = [piece.index for piece in event.pieces if isinstance(piece, FileEnd)]
        by.unconfirmed.setdefault(event.job, []).extend(ends)
        self.drain(by)

    def confirm(self, by: Peer, job: int) -> None:
        """Confirm what is stored of a job."""
        running = by.core.downloads.jobs.get(job)
        indexes = by.unconfirmed.pop(job, [])
        if running is not None:
            indexes = [index for index in indexes if running.files[index] is FileState.FINISHED]
            by.core.downloads.confirm(job, indexes)
        self.drain(by)

    def store_all(self, by: Peer) -> bool:
        """Store and confirm all that is there."""
        has_stored = bool(by.unstored)
        while by.unstored:
            self.store(by)
        for job in list(by.unconfirmed):
            self.confirm(by, job)
        return has_stored

    def run(self) -> None:
        """Send, deliver, store and confirm until nothing moves any more."""
        while True:
            self.exchange()
            moved = [
                action(peer) for peer in (self.left, self.right) for action in (self.send_all, self.store_all)
            ]
            if not any(moved) and not self.waiting():
                return

    # Questions -----------------------------------------------------------------------------------------

    def states(self, job: int) -> tuple[JobState, JobState]:
        """Where a job is, at left and at right."""
        return self.left.state(job), self.right.state(job)

    def sent(self, by: Peer, *kinds: type[f.Frame]) -> list[f.Frame]:
        """The frames of these kinds that a side has sent."""
        return [frame for name, _, frame in self.log if name == by.name and isinstance(frame, kinds)]

    def is_open(self) -> bool:
        """Whether the link is, at both sides."""
        return {self.left.core.state, self.right.core.state} == {LinkState.OPEN}

    def assert_nothing_is_left(self) -> None:
        """No job, no stream, no byte of the connection's credit that is counted at one side only."""
        for peer in (self.left, self.right):
            assert set(peer.ends) <= {CONTROL_CHANNEL}, f"{peer.name} has channels {set(peer.ends)}"
            assert not peer.core.uploads.jobs
            assert not peer.core.downloads.jobs
            downloads, uploads = peer.core.downloads.connection, self.other(peer).core.uploads.connection
            assert downloads.held == 0
            if self.is_open():
                assert downloads.received == uploads.used
                assert peer.core.downloads._unsettled == {}


def empty_folder(index: int) -> OfferedFile:
    """A folder that holds nothing."""
    return OfferedFile(index, ("folder", str(index)), 0, kind=FileKind.DIRECTORY)


def limits(**changes: int | float) -> Limits:
    """The usual limits, but for these."""
    return replace(Limits(), **changes)  # type: ignore[arg-type]  # each field takes its own number
