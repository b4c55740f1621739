"""Uploads: files offered to one peer, several or everyone, and what became of them at each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from p2pshare import events as ev
from p2pshare.errors import (
    OfferDeclined,
    P2PShareError,
    TransferCancelled,
    TransferError,
    UploadError,
    show,
    transfer_error,
)
from p2pshare.model import ErrorCode, HeldBlocks, OfferedFile, Progress
from p2pshare.protocol import events as e
from p2pshare.protocol.paging import max_extent
from p2pshare.session.handles import Handle, ProgressMeter
from p2pshare.session.link import Link, as_transfer_error
from p2pshare.session.sender import Sender
from p2pshare.storage import Source, UploadReader, close_sources, file_digests

if TYPE_CHECKING:
    from p2pshare.session.session import Session

logger = logging.getLogger(__name__)


class DeliveryState(Enum):
    """Where an upload is at one recipient."""

    WAITING = "waiting"
    "Not offered yet: the files are being listed, or the peer is being connected."
    OFFERED = "offered"
    ACTIVE = "active"
    "The recipient accepted; bytes travel, or wait for credit."
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
        self.is_begun = False
        "Whether the session is on its way to offer it."
        self.decided = asyncio.Event()
        "Set once there is an outcome."
        self._meter = ProgressMeter(0, 0)
        self._link: Link | None = None
        self._offer = 0
        self._senders: set[Sender] = set()
        self._expiry: asyncio.TimerHandle | None = None

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

    # The offer -----------------------------------------------------------------------------------------

    def offer_on(self, link: Link) -> None:
        """Offer the files on an open link. Raises TransferError where the peer's limits forbid."""
        upload = self.upload
        offer = link.next_offer_id()
        link.core.uploads.offer(offer, upload.files, upload.message)
        self._link, self._offer = link, offer
        self._meter = ProgressMeter(upload.size, len(upload.files))
        upload.session.register_offer(link, offer, self)
        self._stand()
        link.touch()

    def _stand(self) -> None:
        """The offer, or the rest of it, stands, and expires where it goes unanswered for too long."""
        self.state = DeliveryState.OFFERED
        timeout_s = self.upload.session.limits.offer_timeout_s
        if self._expiry is not None:
            self._expiry.cancel()
        if timeout_s and not self.upload.stays_open:
            self._expiry = asyncio.get_running_loop().call_later(timeout_s, self._expired)

    def _expired(self) -> None:
        if self.state is DeliveryState.OFFERED and not self._senders:
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
        if self._expiry is not None:
            self._expiry.cancel()
        if self._link is not None:
            self._link.core.uploads.withdraw(self._offer, ErrorCode.DOWNLOAD_NOT_AVAILABLE, reason)
            self._link.touch()
            if not self._senders:
                self.upload.session.forget_offer(self._link, self._offer)

    def cancel(self, error: TransferError) -> None:
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
            case e.OfferDeclinedByPeer():
                self._declined(event)
            case e.HaveAsked():
                self.upload.session.tasks.start(self._answer_have(event), "answer to HAVE?")

    def _start_job(self, event: e.JobRequested) -> None:
        assert self._link is not None
        link, upload = self._link, self.upload
        reader = UploadReader(
            upload.sources,
            selection=event.files,
            held=event.held,
            chunk_size=max_extent(link.core.max_frame),
        )
        limits = upload.session.limits
        sender = Sender(
            link,
            event.job,
            reader,
            stall_timeout_s=limits.stall_timeout_s,
            confirm_timeout_s=limits.confirm_timeout_s,
            held=self._hold(event.held),
            on_change=self._progressed,
            on_end=self._job_ended,
        )
        self._senders.add(sender)
        link.add_job(event.job, sender)
        for index in event.files:  # a second try for what failed in an earlier job
            self.failures.pop(index, None)
        if not self.state.is_outcome:
            self.state = DeliveryState.ACTIVE
        upload.session.emit(ev.UploadStarted(upload.id, self.peer))
        upload.session.tasks.start(sender.run(), f"sender of job {upload.id}")

    def _hold(self, held: tuple[HeldBlocks, ...]) -> int:
        size = sum(blocks.size_in(self.files[blocks.index]) for blocks in held)
        if size:
            self._meter.hold(size)
        return size

    def _declined(self, event: e.OfferDeclinedByPeer) -> None:
        assert self._link is not None
        self.upload.session.forget_offer(self._link, self._offer)
        if self._senders:
            return  # it takes what it took; the rest is declined
        if self.confirmed and not self.failures:
            self._decide(DeliveryState.COMPLETED, None)
        else:
            error = transfer_error(event.code, event.reason, peer=self.peer, remote=True)
            is_declined = isinstance(error, OfferDeclined)
            self._decide(DeliveryState.DECLINED if is_declined else DeliveryState.FAILED, error)
        self._offer = 0

    async def _answer_have(self, event: e.HaveAsked) -> None:
        link = self._link
        if link is None:
            return

        def is_wanted() -> bool:
            return link.is_open and link.core.uploads.is_offered(event.offer)

        async with link.hashing:  # one at a time, or a peer that asks 16 times takes every thread
            ends = await file_digests(self.upload.sources, event.files, is_wanted)
        link.core.uploads.answer_have(event.offer, event.query, ends)
        link.touch()

    def _progressed(self, sender: Sender, stored: int, files: int) -> None:
        self._meter.add(stored, files)
        if self._meter.is_due():
            self.upload.progressed(self)

    def _job_ended(self, sender: Sender) -> None:
        self._senders.discard(sender)
        self.confirmed.update(sender.confirmed)
        self.failures.update(sender.failures)
        self.upload.progressed(self)
        if sender.error is not None:
            sender.error.peer, sender.error.job_id = self.peer, self.upload.id
            self.fail(sender.error)
        elif len(self.confirmed | self.failures.keys()) == len(self.files):
            if self.failures:
                self.fail(self._first_failure())
            else:
                self._decide(DeliveryState.COMPLETED, None)
        elif not self._senders and not self.state.is_outcome:
            if self._is_withdrawn:
                self.close(OfferDeclined("nothing more was asked for"))
            else:
                self._stand()  # the rest may still be asked for
        if self._is_withdrawn and not self._senders and self._link is not None:
            self.upload.session.forget_offer(self._link, self._offer)

    @property
    def _is_withdrawn(self) -> bool:
        return self._link is not None and not self._link.core.uploads.is_offered(self._offer)

    def _first_failure(self) -> TransferError:
        index, error = min(self.failures.items())
        error.file = "/".join(self.files[index].path)
        error.peer, error.job_id = self.peer, self.upload.id
        return error

    def link_closed(self, error: TransferError) -> None:
        """The link that carried the offer is gone."""
        self._link = None
        self.fail(error)

    def _decide(self, state: DeliveryState, error: TransferError | None) -> None:
        if self.state.is_outcome:
            return
        self.state = state
        self.error = error
        if error is not None:
            error.peer, error.job_id = self.peer, self.upload.id
        if self._expiry is not None:
            self._expiry.cancel()
        self.decided.set()
        self.upload.decided(self)


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What became of an upload at each recipient."""

    deliveries: Mapping[str, Delivery]

    @property
    def completed(self) -> list[str]:
        """The peers that have everything they asked for."""
        return [peer for peer, each in self.deliveries.items() if each.state is DeliveryState.COMPLETED]

    @property
    def failures(self) -> Mapping[str, TransferError]:
        """What went wrong, by peer."""
        return {peer: each.error for peer, each in self.deliveries.items() if each.error is not None}


class Upload(Handle[UploadResult]):
    """Files offered to one peer, several or everyone.

    ``await upload`` returns when every recipient that was there at the call has an outcome.
    Raises (on await):
        UploadError: A recipient did not get everything; ``.failures`` by peer, ``.result``.
        StorageAccessDenied: A source cannot be read; nothing was offered.
        TransferCancelled: cancel() was called.
    """

    def __init__(
        self,
        session: Session,
        job_id: int,
        *,
        message: str | None,
        stays_open: bool,
    ) -> None:
        super().__init__(job_id)
        self.session = session
        self.message = message
        self.stays_open = stays_open
        "Whether who joins later is offered the files too, until close()."
        self.deliveries: dict[str, Delivery] = {}
        "By peer."
        self.sources: Sequence[Source] = ()
        self.files: Sequence[OfferedFile] = ()
        "What is offered, once it has been listed."
        self.size: int | None = 0
        "Bytes of all files; None while one is unknown."
        self.is_closed = False
        self.is_listed = False
        self._required: set[str] = set()  # whom await waits for

    def __repr__(self) -> str:
        return f"<Upload {self.id}: {len(self.files)} files to {sorted(self.deliveries)}>"

    @property
    def progress(self) -> Progress:
        """All deliveries together."""
        parts = [each.progress for each in self.deliveries.values()]
        size: int | None = 0
        for part in parts:
            size = None if size is None or part.size is None else size + part.size
        return Progress(
            sum(part.stored for part in parts),
            size,
            sum(part.files_done for part in parts),
            sum(part.files for part in parts),
            sum(part.rate for part in parts),
        )

    def cancel(self, reason: str = "") -> None:
        """End every delivery that has no outcome as cancelled, and take the offer back. Idempotent."""
        if self.is_closed:
            return
        error = TransferCancelled(reason or "cancelled", job_id=self.id)
        self._fail(error)
        for delivery in list(self.deliveries.values()):
            delivery.cancel(TransferCancelled(reason or "cancelled", job_id=self.id))
        self._close()

    def close(self) -> None:
        """Offer the files to nobody any more; deliveries that run go on. Idempotent, and no failure."""
        if self.is_closed:
            return
        self.stays_open = False
        for delivery in list(self.deliveries.values()):
            delivery.withdraw("the sender closed the offer")
            if delivery.state in (DeliveryState.WAITING, DeliveryState.OFFERED):
                delivery.close(OfferDeclined("closed before it was answered"))
        if not self.deliveries:
            self._finish()
        self._close_if_over()

    # For the session -------------------------------------------------------------------------------------

    def listed(self, sources: Sequence[Source]) -> None:
        """The files are known."""
        self.sources = sources
        self.files = [source.file for source in sources]
        sizes = [file.size for file in self.files]
        self.size = None if None in sizes else sum(size for size in sizes if size is not None)
        self.is_listed = True

    def add_recipient(self, peer: str) -> Delivery:
        """Another recipient; one that is already there and has an outcome starts again."""
        delivery = self.deliveries.get(peer)
        if delivery is None or delivery.state.is_outcome:
            delivery = self.deliveries[peer] = Delivery(self, peer)
        return delivery

    def require(self, *peers: str) -> None:
        """``await`` waits for these recipients; only the first call counts."""
        if not self._required:
            self._required.update(peers)

    def finish_unheard(self) -> None:
        """Nobody is there, and nobody shall be waited for."""
        self._finish()

    def fail(self, error: P2PShareError) -> None:
        """Nothing can be offered at all."""
        self._fail(error)
        for delivery in self.deliveries.values():
            delivery.fail(as_transfer_error(error))
        self._close()

    def progressed(self, delivery: Delivery) -> None:
        """A delivery moved on: tell who watches."""
        self._progressed()
        self.session.emit(ev.UploadProgress(self.id, delivery.peer, delivery.progress))

    def decided(self, delivery: Delivery) -> None:
        """A delivery has its outcome."""
        error, peer = delivery.error, delivery.peer
        self._progressed()
        if error is None:
            self.session.emit(ev.UploadCompleted(self.id, peer))
        elif isinstance(error, TransferCancelled):
            self.session.emit(ev.UploadCancelled(self.id, peer, error))
        else:
            self.session.emit(ev.UploadFailed(self.id, peer, error))
        required = [self.deliveries[name] for name in self._required]
        if required and all(each.state.is_outcome for each in required):
            self._finish()
        self._close_if_over()

    def _finish(self) -> None:
        result = UploadResult(dict(self.deliveries))
        failures = result.failures
        if not failures:
            self._succeed(result)
            return
        self._fail(UploadError(result=result, failures=failures, job_id=self.id))

    def _close_if_over(self) -> None:
        if self.stays_open or not all(each.state.is_outcome for each in self.deliveries.values()):
            return
        self._close()

    def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.stays_open = False
        for delivery in self.deliveries.values():
            delivery.withdraw("the upload has ended")
        self.session.upload_closed(self)
        self.session.tasks.start(close_sources(self.sources), "closing sources")
