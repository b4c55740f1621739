"""Uploads: files offered to one peer, several or everyone, and what became of them at each."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pshare import events as ev
from p2pshare.errors import (
    OfferDeclined,
    P2PShareError,
    TransferCancelled,
    TransferError,
    UploadError,
)
from p2pshare.model import OfferedFile, Progress, total_size
from p2pshare.session.delivery import Delivery, DeliveryState
from p2pshare.session.handles import Handle
from p2pshare.session.link import as_transfer_error
from p2pshare.session.rate import RateLimit
from p2pshare.storage import BlockCache, Source, StreamSource, close_sources

if TYPE_CHECKING:
    from p2pshare.session.outgoing import Outgoing

logger = logging.getLogger(__name__)


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
        failures = {peer: each.error for peer, each in self.deliveries.items() if each.error is not None}
        for peer, each in self.deliveries.items():
            if each.is_unanswered:
                failures[peer] = OfferDeclined("nobody answered the offer", peer=peer)
        return failures


class Upload(Handle[UploadResult]):
    """Files offered to one peer, several or everyone.

    ``await upload`` returns when every recipient that was there at the call has an outcome, or has left the
    offer unanswered for ``Limits.offer_timeout_s``.
    Raises (on await):
        UploadError: A recipient did not get everything; ``.failures`` by peer, ``.result``.
        StorageAccessDenied: A source cannot be read; nothing was offered.
        TransferCancelled: cancel() was called.
    """

    def __init__(
        self,
        owner: Outgoing,
        job_id: int,
        *,
        message: str | None,
        stays_open: bool,
        rate_limit: int | None = None,
    ) -> None:
        super().__init__(job_id)
        self.owner = owner
        self.message = message
        self.stays_open = stays_open
        "Whether who joins later is offered the files too, until close()."
        self.key = secrets.token_bytes(16)
        "Names the offer on whatever connection."
        self.pace = RateLimit(rate_limit)
        self.cache = BlockCache()
        "What the recipients read together."
        self.deliveries: dict[str, Delivery] = {}
        "By peer."
        self.sources: Sequence[Source] = ()
        self.files: Sequence[OfferedFile] = ()
        "What is offered, once it has been listed."
        self.size: int | None = 0
        "Bytes of all files; None while one is unknown."
        self.is_closed = False
        self.is_listed = False
        self.is_paused = False
        "Whether pause() holds for all recipients, those to come included."
        self._required: set[str] = set()  # whom await waits for
        self._untold = False  # whether a failure was told to no callback

    def __repr__(self) -> str:
        return f"<Upload {self.id}: {len(self.files)} files to {sorted(self.deliveries)}>"

    @property
    def progress(self) -> Progress:
        """All deliveries together."""
        parts = [each.progress for each in self.deliveries.values()]
        return Progress(
            sum(part.stored for part in parts),
            total_size(part.size for part in parts),
            sum(part.files_done for part in parts),
            sum(part.files for part in parts),
            sum(part.rate for part in parts),
        )

    @property
    def rate_limit(self) -> int | None:
        """Bytes a second for all recipients together; None: no limit. May be set at any time.

        Raises (when set):
            ValueError: The rate is not above 0.
        """
        return self.pace.rate

    @rate_limit.setter
    def rate_limit(self, rate: int | None) -> None:
        self.pace.rate = rate

    @property
    def is_repeatable(self) -> bool:
        """Whether every file can be read again: a job of such files outlives its connection."""
        return not any(isinstance(source, StreamSource) for source in self.sources)

    def pause(self) -> None:
        """Send nothing for now, to nobody; no buffers are held, and nothing stalls out. Idempotent."""
        self.is_paused = True
        for delivery in self.deliveries.values():
            delivery.pause()

    def resume(self) -> None:
        """Undo pause(); a recipient that pauses goes on waiting for itself."""
        self.is_paused = False
        for delivery in self.deliveries.values():
            delivery.resume()

    def cancel(self, reason: str = "") -> None:
        """End every delivery that has no outcome as cancelled, and take the offer back. Idempotent."""
        if self.is_closed:
            return
        error = TransferCancelled(reason or "cancelled", job_id=self.id)
        self._fail(error)
        for delivery in list(self.deliveries.values()):
            delivery.cancel(reason)
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
        self.size = total_size(file.size for file in self.files)
        self.is_listed = True

    def add_recipient(self, peer: str) -> Delivery:
        """Another recipient; one that is already there and has an outcome starts again."""
        delivery = self.deliveries.get(peer)
        if delivery is None or delivery.state.is_outcome:
            delivery = self.deliveries[peer] = Delivery(self, peer)
            delivery.is_paused = self.is_paused
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
        self.owner.emit(ev.UploadProgress(self.id, delivery.peer, delivery.progress))

    def decided(self, delivery: Delivery) -> None:
        """A delivery has its outcome."""
        error, peer = delivery.error, delivery.peer
        self._progressed()
        if error is None:
            self.owner.emit(ev.UploadCompleted(self.id, peer))
        else:
            event = ev.UploadCancelled if isinstance(error, TransferCancelled) else ev.UploadFailed
            if not self.owner.emit(event(self.id, peer, error)):
                self._untold = True
        self._finish_if_over()
        self._close_if_over()

    def expired(self) -> None:
        """A recipient has left an offer that stays open unanswered for too long: nobody waits for it."""
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        required = [self.deliveries[name] for name in self._required]
        if required and all(each.state.is_outcome or each.is_unanswered for each in required):
            self._finish()

    def _finish(self) -> None:
        result = UploadResult(dict(self.deliveries))
        failures = result.failures
        if not failures:
            self._succeed(result)
            return
        self._fail(UploadError(result=result, failures=failures, job_id=self.id))
        if not self._untold:
            self._was_told()

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
        self.owner.upload_closed(self)
        self.owner.tasks.start(close_sources(self.sources), "closing sources")
