"""From a session to a display: its events, and what follows from several of them."""

from __future__ import annotations

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.moments import AlreadyHere, Offering
from p2pshare.session import DeliveryState, Session

_UNANSWERED = (DeliveryState.WAITING, DeliveryState.INTERRUPTED)


class Relay:
    """Tells a display what happens in a session."""

    def __init__(self, session: Session, display: Display) -> None:
        self._session = session
        self._display = display
        self._started: set[int] = set()
        "Downloads that have started, and not ended."
        session.on(ev.Event, self._tell)

    def _tell(self, event: ev.Event) -> None:
        if isinstance(event, ev.DownloadCompleted):
            self._completed(event)
        self._display.tell(event)
        match event:
            case ev.PeerReady(peer=peer):
                self._offering(peer)
            case ev.UploadStarted(job_id=job, peer=peer):
                upload = self._session.uploads.get(job)
                if upload is not None:  # what the recipient holds from before is known from the start
                    progress = upload.deliveries[peer].progress
                    self._display.tell(ev.UploadProgress(job, peer, progress))
            case ev.DownloadStarted():
                self._download_started(event)
            case ev.DownloadFailed(job_id=job) | ev.DownloadCancelled(job_id=job):
                self._started.discard(job)

    def _offering(self, peer: str) -> None:
        for upload in self._session.uploads.values():
            delivery = upload.deliveries.get(peer)
            if delivery is not None and delivery.state in _UNANSWERED:
                self._display.tell(Offering(upload.id, peer))

    def _download_started(self, event: ev.DownloadStarted) -> None:
        download = self._session.downloads.get(event.job_id)
        if download is None:
            return
        progress = download.progress
        self._display.tell(ev.DownloadProgress(event.job_id, event.peer, progress))
        if event.job_id not in self._started:
            self._started.add(event.job_id)
            self._already_here(event, progress.files_done)

    def _completed(self, event: ev.DownloadCompleted) -> None:
        if event.job_id not in self._started:
            self._already_here(event, len(event.paths))
        self._started.discard(event.job_id)

    def _already_here(self, event: ev.DownloadEvent, files: int) -> None:
        download = self._session.downloads.get(event.job_id)
        skipped = len(download.skipped) if download is not None else 0
        if files:
            self._display.tell(AlreadyHere(event.job_id, event.peer, files - skipped, skipped))
