"""What a session sends: its uploads, and who waits for the answers to which offer."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator

from p2pshare import events as ev
from p2pshare.errors import P2PShareError, UploadError, show
from p2pshare.events import Event
from p2pshare.model import ErrorCode, Limits
from p2pshare.protocol import events as e
from p2pshare.session.delivery import Delivery
from p2pshare.session.link import Link, as_transfer_error
from p2pshare.session.peers import Peers
from p2pshare.session.rate import RateLimit
from p2pshare.session.tasks import TaskSet
from p2pshare.session.upload import Upload
from p2pshare.storage import Listing, close_sources


class Outgoing:
    """All uploads of a session."""

    def __init__(
        self,
        emit: Callable[[Event], bool],
        tasks: TaskSet,
        limits: Limits,
        peers: Peers,
        job_ids: Iterator[int] | None = None,
    ) -> None:
        self.emit = emit
        self.tasks = tasks
        self.limits = limits
        self.pace = RateLimit()
        "Of all uploads together."
        self.uploads: dict[int, Upload] = {}
        "Those that have not ended, by id."
        self._peers = peers
        self._job_ids = job_ids or itertools.count(1)
        self._deliveries: dict[tuple[Link, int], Delivery] = {}

    def begin(
        self,
        list_files: Callable[[], Awaitable[Listing]],
        names: list[str],
        *,
        message: str | None,
        stays_open: bool,
        wait_for: int,
        rate_limit: int | None,
    ) -> Upload:
        """List files and offer them to these peers, and where it stays open to all who come."""
        upload = Upload(
            self, next(self._job_ids), message=message, stays_open=stays_open, rate_limit=rate_limit
        )
        self.uploads[upload.id] = upload
        for name in names:
            upload.add_recipient(name)
        upload.require(*names)
        self.tasks.start(self._run(upload, list_files, wait_for), f"upload {upload.id}")
        return upload

    async def _run(self, upload: Upload, list_files: Callable[[], Awaitable[Listing]], wait_for: int) -> None:
        try:
            upload.listed(await list_files())
        except P2PShareError as error:
            upload.fail(error)
            return
        finally:  # whatever went wrong, who waits for the upload hears of its end
            if not upload.is_listed:
                upload.fail(UploadError("the upload was interrupted"))
        if upload.is_closed:  # cancelled meanwhile: nobody will read the streams
            await close_sources(upload.sources)
            return
        if not upload.deliveries and wait_for == 0:
            upload.finish_unheard()
        if upload.stays_open:
            present = self._peers.present
            for name in present:
                upload.add_recipient(name)
            upload.require(*present)  # who came while the files were listed is the first that was waited for
        for delivery in list(upload.deliveries.values()):
            self._begin_delivery(delivery)

    def offer_standing(self, peer: str) -> None:
        """A peer is there: offer it what stays open."""
        for upload in list(self.uploads.values()):
            if upload.stays_open and upload.is_listed:
                delivery = upload.add_recipient(peer)
                upload.require(peer)
                self._begin_delivery(delivery)

    def _begin_delivery(self, delivery: Delivery) -> None:
        if not delivery.is_begun:
            delivery.is_begun = True
            self.tasks.start(self._deliver(delivery), f"delivery to {show(delivery.peer)}")

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            link = await self._peers.link_to(delivery.peer)
            if not delivery.state.is_outcome:
                delivery.offer_on(link)
        except P2PShareError as error:
            delivery.fail(as_transfer_error(error))
        except Exception:
            delivery.fail(UploadError("the upload was interrupted"))
            raise

    def cancel(self, job_id: int, reason: str) -> None:
        """Cancel an upload; one that has ended, or never was, is no error."""
        upload = self.uploads.get(job_id)
        if upload is not None:
            upload.cancel(reason)

    def cancel_all(self, reason: str) -> None:
        """Cancel every upload."""
        for upload in list(self.uploads.values()):
            upload.cancel(reason)

    # From links ----------------------------------------------------------------------------------------

    def answered(
        self, link: Link, event: e.JobRequested | e.OfferDeclinedByPeer | e.FilesKept | e.HaveAsked
    ) -> None:
        """A peer answered an offer."""
        delivery = self._deliveries.get((link, event.offer))
        if delivery is not None:
            delivery.event_received(event)
        elif isinstance(event, e.JobRequested):
            link.core.uploads.reset(event.job, ErrorCode.DOWNLOAD_NOT_AVAILABLE, "no longer offered")

    def link_closed(self, link: Link, error: P2PShareError) -> None:
        """A link is gone: its deliveries wait for the peer, or end."""
        for key in [key for key in self._deliveries if key[0] is link]:
            self._deliveries.pop(key).link_closed(error)

    def needs(self, link: Link) -> bool:
        """Whether an offer or an upload depends on a link."""
        return any(each is link for each, _ in self._deliveries)

    # For uploads and deliveries --------------------------------------------------------------------------

    async def reunited(self, peer: str) -> Link:
        """An open link with a peer whose connection was lost, however long it takes to come back."""
        return await self._peers.reunited(peer)

    def register_offer(self, link: Link, offer: int, delivery: Delivery) -> None:
        """Answers to an offer on a link go to this delivery."""
        self._deliveries[link, offer] = delivery

    def forget_offer(self, link: Link, offer: int) -> None:
        """No answer to an offer is expected any more."""
        self._deliveries.pop((link, offer), None)

    def upload_closed(self, upload: Upload) -> None:
        """An upload has ended for everybody."""
        self.uploads.pop(upload.id, None)
        self.emit(ev.UploadClosed(upload.id))
