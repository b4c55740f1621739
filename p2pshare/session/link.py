"""The share side of one peer connection: a core, its channels, its timer.

The link moves messages between the sans-IO core and the data channels and hands the core's events to the
jobs and to the session. Its one rule is in `_drain`: after every touch of the core, carry out its actions,
handle its events, re-arm the timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from p2pshare.errors import (
    LocalProtocolError,
    P2PShareError,
    SharingNotAvailable,
    TransferError,
    TransferStalled,
    show,
    transfer_error,
)
from p2pshare.model import ErrorCode
from p2pshare.protocol import events as e
from p2pshare.protocol.core import Core, CoreConfig
from p2pshare.protocol.outbox import CONTROL_CHANNEL, CloseChannel, OpenChannel, SendMessage
from p2pshare.protocol.states import JobState, LinkState
from p2pshare.rtc import PathStats
from p2pshare.session.budget import MemoryBudget

logger = logging.getLogger(__name__)

TRAINS: Final = "trains"
"""The ability of an end on the fast data path (PROTOCOL.md, Versions and extensions)."""
_CHECK_STALLS_EVERY_S: Final = 1.0
_MAX_QUESTIONS: Final = 8
"""HAVE? of ours that are unanswered at a time; peers allow 16."""


class MessageChannels(Protocol):
    """What a link needs of the connection under it; `p2pshare.rtc.Channels` is one."""

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the peer takes."""

    def open(self, channel_id: int) -> None:
        """Create the negotiated channel. Raises SharingNotAvailable where the id is taken."""

    def send(self, channel_id: int, message: bytes) -> None:
        """Send a message."""

    def has_room(self, channel_id: int) -> bool:
        """Whether the channel is below its high-water mark."""

    @property
    def is_clogged(self) -> bool:
        """Whether the control channel holds far more than the peer takes."""

    def close_channel(self, channel_id: int) -> None:
        """Close one channel; idempotent."""

    @property
    def takes_trains(self) -> bool:
        """Whether this end is on the fast data path."""

    def send_trains(self) -> None:
        """The other end is on the fast data path, too: trains of large packets may be sent."""

    def path_stats(self) -> PathStats | None:
        """What the path gives and has carried, where our own data path serves it."""

    def close(self) -> None:
        """Close our channels, never the connection; idempotent."""


class LinkJob(Protocol):
    """One end of a job, on its link."""

    is_upload: bool

    def wants_to_send(self) -> bool:
        """Whether pump() should be called for it."""

    def pump(self) -> bool:
        """Send one message; False when nothing could be sent."""

    def event_received(self, event: e.CoreEvent) -> None:
        """Something happened to the job."""

    def check_stall(self, now: float) -> None:
        """Give up where nothing has moved for too long."""


class LinkOwner(Protocol):
    """Who hears of a link: the session."""

    def link_opened(self, link: Link) -> None:
        """Offers can travel."""

    def link_event(self, link: Link, event: e.CoreEvent) -> None:
        """An event that is no job's: offers, silence."""

    def link_closed(self, link: Link, error: P2PShareError) -> None:
        """Nothing more comes of the link."""


@dataclass(frozen=True, slots=True)
class LinkStats:
    """What a link has moved, and how it goes."""

    state: LinkState
    rtt_s: float | None
    "Round trip of the control channel, in seconds; queues of both ends included."
    bytes_sent: int
    bytes_received: int
    "Messages of all our channels together."
    messages_sent: int
    messages_received: int
    path: PathStats | None
    "Of the fast data path: round trip, windows, packet size, counters; None where aiortc's own serves."


class Link:
    """One peer's share side. Made by `Session.attach`, or by the session for a peer of its room."""

    def __init__(
        self, peer: str, config: CoreConfig, owner: LinkOwner, budget: MemoryBudget, *, is_attached: bool
    ) -> None:
        self.peer = peer
        "The peer's name, as this session knows it."
        self.is_attached = is_attached
        "Whether the program owns the connection."
        self.core = Core(config)
        self.jobs: dict[int, LinkJob] = {}
        self.error: P2PShareError | None = None
        "Why the link is closed, once it is."
        self._owner = owner
        self._budget = budget
        self._channels: MessageChannels | None = None
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ready: asyncio.Future[None] = loop.create_future()
        self._control_closed = asyncio.Event()
        self._started = False
        self._is_draining = False
        self._turn = 0
        self._last_offer = 0
        self._bytes_sent = self._bytes_received = 0
        self._messages_sent = self._messages_received = 0
        self.is_silent = False
        self.hashing = asyncio.Lock()
        "Held by whoever reads files for this peer's questions."
        self._answer_timeout_s = config.limits.confirm_timeout_s
        self._questions: dict[int, _Question] = {}
        self._asking = asyncio.Semaphore(_MAX_QUESTIONS)

    # For the program -----------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait until both sides speak p2pshare.

        Raises:
            SharingNotAvailable: No answer within the HELLO timeout (a later one still opens the link), no
                common version, or the link is closed.
        """
        await asyncio.shield(self._ready)

    @property
    def is_open(self) -> bool:
        """Whether offers can travel."""
        return self.core.state is LinkState.OPEN

    @property
    def was_closed_orderly(self) -> bool:
        """Whether the link was open until either side closed it, for no fault."""
        return isinstance(self.error, SharingNotAvailable) and self.core.version is not None

    async def flushed(self, timeout_s: float) -> None:
        """After close(): wait until the peer has what was sent last, then let the channels go."""
        if self._channels is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._control_closed.wait()
        self._cancel_timer()
        self._channels.close()

    def stats(self) -> LinkStats:
        """Counters and the round trip, as of now."""
        rtt = self.core.downloads.rtt
        path = self._channels.path_stats() if self._channels is not None else None
        return LinkStats(
            state=self.core.state,
            rtt_s=rtt or None,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            messages_sent=self._messages_sent,
            messages_received=self._messages_received,
            path=path,
        )

    def close(self, error: P2PShareError | None = None) -> None:
        """End the share side: jobs end, the peer is told; the connection stays. Idempotent."""
        self.core.close(error or SharingNotAvailable("the session was closed"))
        self.touch()

    # For jobs ------------------------------------------------------------------------------------------

    def next_offer_id(self) -> int:
        """A number for an offer, above all earlier ones of this link."""
        self._last_offer += 1
        return self._last_offer

    def add_job(self, job_id: int, job: LinkJob) -> None:
        """Events of this job go to it from now on."""
        self.jobs[job_id] = job
        if not job.is_upload:
            self._budget.enter(self)
        if self._stall_timer is None:
            self._stall_timer = asyncio.get_running_loop().call_later(
                _CHECK_STALLS_EVERY_S, self._check_stalls
            )

    async def is_answered(self, timeout_s: float) -> bool:
        """Whether the peer gives a sign of life within so many seconds."""
        heard_at = self.core.heard_at
        self.core.ping(self._clock())
        self.touch()
        await asyncio.sleep(timeout_s)
        return self.core.heard_at > heard_at

    async def ask_have(self, offer: int, indexes: Sequence[int]) -> dict[int, tuple[int, bytes]] | None:
        """Size and digest of offered files, as their sender reads them now; None: the link is lost over it.

        Files that it cannot read, or not within ``Limits.confirm_timeout_s``, are left out.
        Raises:
            DownloadNotAvailable: They are no longer offered.
        """
        if not self.is_open:
            return None
        async with self._asking:
            query = self.core.downloads.ask_have(offer, indexes)
            question = self._questions[query] = _Question(asyncio.get_running_loop().create_future())
            self.touch()
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._answer_timeout_s):
                        await question.is_answered
            finally:
                del self._questions[query]
        return None if question.is_void else question.digests

    def touch(self) -> None:
        """The core was called from outside: do what follows. A failure there ends the link, not who calls."""
        try:
            self._drain()
        except Exception as exc:  # as at the seam: a job, or a timer, is not to blame for the link
            logger.exception("the share side of a connection failed; the connection goes on")
            self.failed(exc)

    def pump(self) -> None:
        """Let jobs send, a message each in turn, as long as credit and channels have room."""
        self.touch()

    def has_room(self, channel_id: int) -> bool:
        """Whether a stream's channel takes more now."""
        return self._channels is not None and self._channels.has_room(channel_id)

    # The connection's listener ---------------------------------------------------------------------------

    def start(self, channels: MessageChannels) -> None:
        """Take the connection's channels and open the control channel.

        Raises:
            SharingNotAvailable: The control channel's id is taken, or the connection cannot carry it.
        """
        channels.open(CONTROL_CHANNEL)
        self._channels = channels

    def channel_opened(self, channel_id: int) -> None:
        """A channel is open; with the control channel the greeting begins."""
        if channel_id == CONTROL_CHANNEL and not self._started and self._channels is not None:
            self._started = True
            abilities = (TRAINS,) if self._channels.takes_trains else ()
            self.core.start(self._clock(), self._channels.max_message_size, abilities)
        self._drain()

    def message_received(self, channel_id: int, message: bytes) -> None:
        """A binary message."""
        if not self._started:  # a message can be faster than the news that its channel is open
            self.channel_opened(CONTROL_CHANNEL)
        self._bytes_received += len(message)
        self._messages_received += 1
        is_control = channel_id == CONTROL_CHANNEL
        is_clogged = is_control and self._channels is not None and self._channels.is_clogged
        self.core.receive_message(channel_id, message, self._clock(), is_clogged=is_clogged)
        self._drain()

    def text_received(self, channel_id: int) -> None:
        """A text message, which no frame is."""
        self.core.text_received(channel_id)
        self._drain()

    def channel_closed(self, channel_id: int) -> None:
        """A channel has closed at both ends."""
        if channel_id == CONTROL_CHANNEL:
            self._control_closed.set()
        self.core.channel_closed(channel_id)
        self._drain()

    def writable(self, channel_id: int) -> None:
        """A channel fell below its low-water mark."""
        self._drain()

    def connection_closed(self, reason: str) -> None:
        """The connection is gone."""
        self._control_closed.set()
        self.core.connection_lost(reason)
        self._drain()

    def failed(self, error: Exception) -> None:
        """Something of ours raised: end the link, tell the peer, and leave the connection alone."""
        self._is_draining = False
        self.core.close(LocalProtocolError(f"internal error: {type(error).__name__}"))
        try:
            self._drain()
        except Exception:  # not even that can be said: what waits for the link hears of its end all the same
            logger.exception("the share side of a connection cannot take its leave")
            for event in self.core.take_events():
                self._handle(event)

    # The one rule ----------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Carry out the core's actions, handle its events, let jobs send; then re-arm the timer."""
        if self._is_draining:
            return  # whoever drains goes on until nothing is left
        self._is_draining = True
        try:
            while True:
                self._act()
                events = self.core.take_events()
                for event in events:
                    self._handle(event)
                if not events and not self._send_one() and not self._send_page():
                    break
        finally:
            self._is_draining = False
        self._arm_timer()

    def _act(self) -> None:
        channels = self._channels
        if channels is None:
            return
        for action in self.core.take_actions():
            if isinstance(action, SendMessage):
                self._bytes_sent += len(action.message)
                self._messages_sent += 1
                channels.send(action.channel, action.message)
            elif isinstance(action, OpenChannel):
                try:
                    channels.open(action.channel)
                except SharingNotAvailable as error:
                    self.core.close(error)
            elif isinstance(action, CloseChannel):
                channels.close_channel(action.channel)

    def _send_one(self) -> bool:
        """One message of the next job that can send one."""
        senders = [job for job in self.jobs.values() if job.wants_to_send()]
        for _ in senders:
            self._turn += 1
            if senders[self._turn % len(senders)].pump():
                return True
        return False

    def _send_page(self) -> bool:
        return self.has_room(CONTROL_CHANNEL) and self.core.send_page()

    def _handle(self, event: e.CoreEvent) -> None:
        match event:
            case e.PeerGreeted():
                if TRAINS in event.hello.abilities and self._channels is not None:
                    self._channels.send_trains()
            case e.LinkOpened():
                logger.debug("= link with %s is open", show(self.peer))
                self._set_ready(None)
                self._owner.link_opened(self)
            case e.LinkClosed():
                self._closed(event.error)
            case e.HelloTimedOut():
                self._set_ready(
                    SharingNotAvailable(
                        f"{show(self.peer)} does not answer: no p2pshare there, or not attached"
                    )
                )
                self._owner.link_event(self, event)
            case e.AuthReceived():
                self.core.close(LocalProtocolError("no method of authentication"))
            case e.PeerSilent() | e.PeerHeard():
                self.is_silent = isinstance(event, e.PeerSilent)
                self._owner.link_event(self, event)
            case e.CreditRaised(job=None):
                pass
            case e.HaveAnswered():
                question = self._questions.get(event.query)
                if question is not None:
                    question.digests.update(event.digests)
                    if event.is_last:
                        question.end()
            case (
                e.PiecesReceived()
                | e.CreditRaised()
                | e.FilesConfirmed()
                | e.FileGivenUp()
                | e.JobPaused()
                | e.JobResumed()
            ):
                job = self.jobs.get(event.job) if event.job is not None else None
                if job is not None:
                    job.event_received(event)
            case e.JobEnded():
                ended = self.jobs.pop(event.job, None)
                if ended is not None:
                    ended.event_received(event)
                if not any(not job.is_upload for job in self.jobs.values()):
                    self._budget.leave(self)
            case _:
                self._owner.link_event(self, event)

    def _closed(self, error: P2PShareError) -> None:
        self.error = error
        self._set_ready(error if isinstance(error, SharingNotAvailable) else SharingNotAvailable(str(error)))
        self._budget.leave(self)
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        logger.debug("= link with %s is closed: %s", show(self.peer), error)
        jobs, self.jobs = self.jobs, {}
        for job_id, job in jobs.items():  # none, unless a failure of ours came between the core and its end
            job.event_received(e.JobEnded(job_id, JobState.LOST, ErrorCode.CONNECTION_LOST, str(error)))
        for question in self._questions.values():
            question.is_void = True
            question.end()
        self._act()
        self._owner.link_closed(self, error)

    def _set_ready(self, error: SharingNotAvailable | None) -> None:
        if self._ready.done():
            if error is not None or self._ready.exception() is None:
                return
            self._ready = asyncio.get_running_loop().create_future()  # a late HELLO after all
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)
            self._ready.exception()  # nobody has to ask: LinkFailed tells it as well

    # Timers ----------------------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        # Lazy: a timer that is early finds nothing due and is armed again, which is far cheaper than moving
        # it with every message.
        at = self.core.next_timer()
        if at is None or not self._started:
            self._cancel_timer()
        elif self._timer is None or at < self._timer_at:
            self._cancel_timer()
            self._timer_at = at
            delay = max(0.0, at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timer_fired(self) -> None:
        self._timer = None
        self.core.handle_timer(self._clock())
        self.touch()

    def _check_stalls(self) -> None:
        self._stall_timer = None
        if not self.jobs:
            return
        self._stall_timer = asyncio.get_running_loop().call_later(_CHECK_STALLS_EVERY_S, self._check_stalls)
        if not self.is_silent:  # a silent peer is the link's business, and ends as ConnectionLost
            now = self._clock()
            for job in list(self.jobs.values()):
                job.check_stall(now)
        self.touch()


@dataclass(slots=True)
class _Question:
    """A HAVE? of ours."""

    is_answered: asyncio.Future[None]
    digests: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    is_void: bool = False
    "The link is gone: nobody answers any more."

    def end(self) -> None:
        if not self.is_answered.done():
            self.is_answered.set_result(None)


class StallWatch:
    """Notices when nothing has moved for too long."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._seen: object = None
        self._since = 0.0

    def check(self, state: object, now: float, timeout_s: float | None = None) -> TransferStalled | None:
        """Compare with the state last seen; an error when it has been the same for the timeout."""
        if state != self._seen:
            self._seen = state
            self._since = now
            return None
        idle_s = now - self._since
        if idle_s < (self.timeout_s if timeout_s is None else timeout_s):
            return None
        return TransferStalled(f"nothing moved for {idle_s:.0f} s")


def as_transfer_error(error: P2PShareError) -> TransferError:
    """The same failure as a transfer's own, with its code."""
    if isinstance(error, TransferError):
        return error
    failure = transfer_error(int(error.code), str(error))
    failure.__cause__ = error
    return failure
