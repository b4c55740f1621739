"""An upload at one recipient: offered, sent, and offered again where its connection was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING

from p2pshare import events as ev
from p2pshare.errors import (
    ConnectionLost,
    OfferDeclined,
    P2PShareError,
    TransferCancelled,
    TransferError,
    show,
    transfer_error,
)
from p2pshare.model import ErrorCode, HeldBlocks, OfferedFile, Progress
from p2pshare.protocol import events as e
from p2pshare.protocol.paging import max_extent
from p2pshare.protocol.ranges import indexes_of
from p2pshare.protocol.states import JobState
from p2pshare.session.handles import ProgressMeter
from p2pshare.session.link import Link, as_transfer_error
from p2pshare.session.rate import Pace
from p2pshare.session.sender import Sender
from p2pshare.storage import UploadReader, file_digests

if TYPE_CHECKING:
    from p2pshare.session.upload import Upload

logger = logging.getLogger(__name__)


class DeliveryState(Enum):
    """Where an upload is at one recipient."""

    WAITING = "waiting"
    "Not offered yet: the files are being listed, or the peer is being connected."
    OFFERED = "offered"
    ACTIVE = "active"
    "The recipient accepted; bytes travel, or wait for credit, or the job is paused."
    INTERRUPTED = "interrupted"
    "The connection was lost; it goes on when the peer is back within the reconnect timeout."
    COMPLETED = "completed"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_outcome(self) -> bool:
        """Whether it ended here."""
        return self in _OUTCOMES


_OUTCOMES = frozenset(
    {DeliveryState.COMPLETED, DeliveryState.DECLINED, DeliveryState.CANCELLED, DeliveryState.FAILED}
)


class Delivery:
    """An upload at one recipient."""

    def __init__(self, upload: Upload, peer: str) -> None:
        self.upload = upload
        self.peer = peer
        self.state = DeliveryState.WAITING
        self.error: TransferError | None = None
        "Why it did not complete."
        self.failures: dict[int, TransferError] = {}
        "Files that did not arrive, by their number in the offer."
        self.confirmed: set[int] = set()
        "Files that are verified and in place at the recipient."
        self.declined: set[int] = set()
        "Files that the recipient does not want, where it wants others."
        self.is_begun = False
        "Whether the session is on its way to offer it."
        self.is_unanswered = False
        "Whether the offer timeout passed without an answer; an offer that stays open stands all the same."
        self.is_paused = False
        "Whether this side pauses it."
        self._meter = ProgressMeter(0, 0)
        self._link: Link | None = None
        self._offer = 0
        self._is_closing = False
        self._senders: set[Sender] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._reunion: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Delivery of upload {self.upload.id} to {show(self.peer)}: {self.state.value}>"

    @property
    def progress(self) -> Progress:
        """How far this recipient is."""
        return self._meter.progress

    @property
    def files(self) -> Sequence[OfferedFile]:
        """What was offered."""
        return self.upload.files

    # Commands ------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Send this recipient nothing for now, also what it has not accepted yet. Idempotent."""
        if not self.is_paused and not self.state.is_outcome:
            self.is_paused = True
            for sender in self._senders:
                sender.pause()
            self.upload.owner.emit(ev.UploadPaused(self.upload.id, self.peer, remote=False))

    def resume(self) -> None:
        """Undo pause()."""
        if self.is_paused:
            self.is_paused = False
            for sender in self._senders:
                sender.resume()
            self.upload.owner.emit(ev.UploadResumed(self.upload.id, self.peer, remote=False))

    def cancel(self, reason: str = "") -> None:
        """End this delivery as cancelled; idempotent. The other recipients' go on."""
        self.abandon(TransferCancelled(reason or "cancelled", job_id=self.upload.id))

    # The offer -----------------------------------------------------------------------------------------

    def offer_on(self, link: Link) -> None:
        """Offer the files on an open link. Raises TransferError where the peer's limits forbid."""
        upload = self.upload
        offer = link.next_offer_id()
        link.core.uploads.offer(offer, upload.files, upload.message, upload.key)
        self._link, self._offer = link, offer
        done = sum(upload.files[index].size or 0 for index in self.confirmed)
        self._meter.restart(upload.size, len(upload.files), done, len(self.confirmed))
        upload.owner.register_offer(link, offer, self)
        self._stand()
        link.touch()

    def _stand(self) -> None:
        """The offer, or the rest of it, stands, and expires where it goes unanswered for too long."""
        self.state = DeliveryState.OFFERED
        timeout_s = self.upload.owner.limits.offer_timeout_s
        if self._expiry is not None:
            self._expiry.cancel()
        if timeout_s:
            self._expiry = asyncio.get_running_loop().call_later(timeout_s, self._expired)

    def _expired(self) -> None:
        if self.state is not DeliveryState.OFFERED or self._senders:
            return
        if self.upload.stays_open:
            self.is_unanswered = True
            self.upload.expired()
        else:
            self.withdraw("the offer expired")
            self.close(OfferDeclined("nobody answered the offer"))

    def close(self, unanswered: TransferError) -> None:
        """Nothing more is asked for: it has what it took, or did not answer."""
        if self.failures:
            self.fail(self._first_failure())
        elif self.confirmed:
            self._decide(DeliveryState.COMPLETED, None)
        else:
            self._decide(DeliveryState.DECLINED, unanswered)

    def withdraw(self, reason: str) -> None:
        """Take the offer back; what runs goes on. Idempotent."""
        self._is_closing = True
        if self._expiry is not None:
            self._expiry.cancel()
        if self._link is not None:
            self._link.core.uploads.withdraw(self._offer, ErrorCode.DOWNLOAD_NOT_AVAILABLE, reason)
            self._link.touch()
            if not self._senders:
                self.upload.owner.forget_offer(self._link, self._offer)

    def abandon(self, error: TransferError) -> None:
        """End this delivery from our side; idempotent."""
        for sender in list(self._senders):
            sender.give_up(error)
        self.withdraw(error.reason or "cancelled")
        self.fail(error)

    def fail(self, error: TransferError) -> None:
        """Nothing (more) can be delivered; no effect once there is an outcome."""
        is_cancel = isinstance(error, TransferCancelled)
        self._decide(DeliveryState.CANCELLED if is_cancel else DeliveryState.FAILED, error)

    # What the recipient does -----------------------------------------------------------------------------

    def event_received(self, event: e.CoreEvent) -> None:
        """The recipient answered the offer."""
        match event:
            case e.JobRequested():
                self._start_job(event)
            case e.OfferDeclinedByPeer(files=()):
                self._declined(event)
            case e.OfferDeclinedByPeer():
                self.declined.update(indexes_of(event.files))
                self._settle()
            case e.FilesKept():
                self._kept(set(indexes_of(event.files)) - self.confirmed)
            case e.HaveAsked():
                self.upload.owner.tasks.start(self._answer_have(event), "answer to HAVE?")

    def _start_job(self, event: e.JobRequested) -> None:
        assert self._link is not None
        link, upload = self._link, self.upload
        owner = upload.owner
        reader = UploadReader(
            upload.sources,
            selection=event.files,
            held=event.held,
            chunk_size=max_extent(link.core.max_frame),
            cache=upload.cache,
        )
        sender = Sender(
            link,
            event.job,
            reader,
            pace=Pace(upload.pace, owner.pace),
            stall_timeout_s=owner.limits.stall_timeout_s,
            confirm_timeout_s=owner.limits.confirm_timeout_s,
            on_change=self._progressed,
            on_pause=self._paused_by_peer,
            on_end=self._job_ended,
        )
        self._hold(event.held)
        self._senders.add(sender)
        link.add_job(event.job, sender)
        for index in event.files:  # a second try for what failed, or was not wanted, before
            self.failures.pop(index, None)
            self.declined.discard(index)
        if not self.state.is_outcome:
            self.state = DeliveryState.ACTIVE
            self.is_unanswered = False
        if self.is_paused:
            sender.pause()
        owner.emit(ev.UploadStarted(upload.id, self.peer))
        owner.tasks.start(sender.run(), f"sender of job {upload.id}")
        if self._is_closing:  # it was offered again only for what had been begun
            link.core.uploads.withdraw(self._offer, ErrorCode.DOWNLOAD_NOT_AVAILABLE, "closed")

    def _hold(self, held: tuple[HeldBlocks, ...]) -> None:
        size = sum(blocks.size_in(self.files[blocks.index]) for blocks in held)
        if size:
            self._meter.hold(size)

    def _kept(self, indexes: set[int]) -> None:
        self.confirmed |= indexes
        self._meter.hold(sum(self.files[index].size or 0 for index in indexes), len(indexes))
        self.upload.progressed(self)
        self._settle()

    def _declined(self, event: e.OfferDeclinedByPeer) -> None:
        assert self._link is not None
        self.upload.owner.forget_offer(self._link, self._offer)
        if self._senders:
            return  # it takes what it took; the rest is declined
        if self.confirmed and not self.failures:
            self._decide(DeliveryState.COMPLETED, None)
        else:
            error = transfer_error(event.code, event.reason, peer=self.peer, remote=True)
            if isinstance(error, OfferDeclined):
                self._decide(DeliveryState.DECLINED, error)
            else:
                self.fail(error)
        self._offer = 0

    async def _answer_have(self, event: e.HaveAsked) -> None:
        link = self._link
        if link is None:
            return

        def is_wanted() -> bool:
            return link.is_open and link.core.uploads.is_offered(event.offer)

        async with link.hashing:  # one at a time, or a peer that asks 16 times takes every thread
            ends = await file_digests(self.upload.sources, event.files, is_wanted, cache=self.upload.cache)
        link.core.uploads.answer_have(event.offer, event.query, ends)
        link.touch()

    def _paused_by_peer(self, is_paused: bool) -> None:
        event = ev.UploadPaused if is_paused else ev.UploadResumed
        self.upload.owner.emit(event(self.upload.id, self.peer, remote=True))

    def _progressed(self, sender: Sender, stored: int, files: int) -> None:
        self._meter.add(stored, files)
        if self._meter.is_due():
            self.upload.progressed(self)

    def _job_ended(self, sender: Sender) -> None:
        self._senders.discard(sender)
        self.confirmed.update(sender.confirmed)
        self.failures.update(sender.failures)
        self.upload.progressed(self)
        if sender.end_state is JobState.LOST and sender.error is None:
            return  # link_closed follows, and knows whether the job may go on
        if sender.error is not None:
            sender.error.peer, sender.error.job_id = self.peer, self.upload.id
            self.fail(sender.error)
        else:
            self._settle()
        if not self._senders and not self.state.is_outcome:
            if self._is_withdrawn:
                self.close(OfferDeclined("nothing more was asked for"))
            else:
                self._stand()  # the rest may still be asked for
        if self._is_withdrawn and not self._senders and self._link is not None:
            self.upload.owner.forget_offer(self._link, self._offer)

    def _settle(self) -> None:
        """Decide, where every file has its outcome."""
        if self._senders or len(self.confirmed | self.failures.keys() | self.declined) < len(self.files):
            return
        self.close(OfferDeclined("no file of the offer was wanted"))

    @property
    def _is_withdrawn(self) -> bool:
        return self._link is not None and not self._link.core.uploads.is_offered(self._offer)

    def _first_failure(self) -> TransferError:
        index, error = min(self.failures.items())
        error.file = "/".join(self.files[index].path)
        error.peer, error.job_id = self.peer, self.upload.id
        return error

    # Lost and found --------------------------------------------------------------------------------------

    def link_closed(self, error: P2PShareError) -> None:
        """The link that carried the offer is gone; one that was lost may come back."""
        self._link = None
        if self.state.is_outcome:
            return
        failure = as_transfer_error(error)
        timeout_s = self.upload.owner.limits.reconnect_timeout_s
        if not isinstance(error, ConnectionLost) or not self.upload.is_repeatable or timeout_s <= 0:
            self.fail(failure)
            return
        self.state = DeliveryState.INTERRUPTED
        if self._expiry is not None:
            self._expiry.cancel()
        owner = self.upload.owner
        owner.emit(ev.UploadInterrupted(self.upload.id, self.peer, failure))
        self._reunion = owner.tasks.start(
            self._go_on(failure, timeout_s), f"waiting for {show(self.peer)} to come back"
        )

    async def _go_on(self, error: TransferError, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                link = await self.upload.owner.reunited(self.peer)
            self.offer_on(link)
        except TimeoutError:
            self.fail(error)
        except P2PShareError as refused:
            self.fail(as_transfer_error(refused))

    def _decide(self, state: DeliveryState, error: TransferError | None) -> None:
        if self.state.is_outcome:
            return
        self.state = state
        self.error = error
        if error is not None:
            error.peer, error.job_id = self.peer, self.upload.id
        if self._expiry is not None:
            self._expiry.cancel()
        if self._reunion is not None and self._reunion is not asyncio.current_task():
            self._reunion.cancel()
        self.upload.decided(self)
