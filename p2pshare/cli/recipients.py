"""Whom the files of ``p2pshare send`` go to: the peers that are named, or whoever in the room receives.

Both ways end when every recipient has its outcome. The deadline is for coming and for answering: what runs
by then goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.names import distinct, named
from p2pshare.cli.room import Changes
from p2pshare.errors import (
    P2PShareError,
    SharingNotAvailable,
    TransferError,
    UploadError,
    show,
    transfer_error,
)
from p2pshare.model import EVERYONE, ErrorCode, Recipients
from p2pshare.session import Delivery, DeliveryState, Session, Upload

MakeOffer = Callable[[Recipients], Upload]
"""Offers the files to some peers."""
ONLY_SENDS: Final = "only sends, and receives nothing"
"""The answer of one sender to another's offer: it was never a recipient, and counts as none."""


async def deliver_to_named(
    session: Session, names: Sequence[str], offer: MakeOffer, deadline: float | None, display: Display
) -> None:
    """Offer the files to each name as soon as it is there. Raises UploadError, by name."""
    changes = Changes(session, ev.PeerJoined, ev.PeerLeft, ev.UploadEvent, ev.UploadClosed)
    missing = distinct(names)
    told: list[str] = []
    failures: dict[str, TransferError] = {}
    uploads: list[Upload] = []
    while True:
        there = [peer for name in missing if (peer := named(name, session.peers)) is not None]
        missing = [name for name in missing if named(name, there) is None]
        if there:
            uploads.append(offer(there))
        if missing and missing != told:
            display.note(f"waiting for {', '.join(map(show, missing))} (Ctrl-C cancels)")
            told = missing
        if not missing and all(upload.is_closed for upload in uploads):
            break
        if not await changes.next(deadline):
            deadline = None
            for name in missing:
                failures[name] = _failure(ErrorCode.SHARING_NOT_AVAILABLE, name, "did not come")
            missing = []
            for upload in uploads:
                failures |= close_unanswered(upload)
    for upload in uploads:
        await _settled(upload)
        failures = {each.peer: each.error for each in upload.deliveries.values() if each.error} | failures
    if failures:
        raise UploadError(failures=failures)


async def deliver_to_anybody(
    session: Session, offer: MakeOffer, deadline: float | None, display: Display
) -> None:
    """Offer the files to who is there, or comes first.

    Raises UploadError, by name; SharingNotAvailable where nobody came to receive.
    """
    changes = Changes(session, ev.UploadEvent, ev.UploadClosed)
    if not session.peers:
        display.note("waiting for somebody to come (Ctrl-C cancels)")
    crowd = _Crowd(session, offer(EVERYONE), display)
    failures: dict[str, TransferError] = {}
    while not crowd.is_decided:
        if not await changes.next(deadline):
            deadline = None
            failures = close_unanswered(crowd.upload)
        crowd.tell_who_does_not_receive()
    crowd.upload.close()
    await _settled(crowd.upload)
    recipients = crowd.recipients
    if not recipients:
        raise SharingNotAvailable("nobody came to receive")
    failures = {each.peer: each.error for each in recipients if each.error is not None} | failures
    if failures:
        raise UploadError(failures=failures)


class _Crowd:
    """An upload to everyone, and who of them counts: not who only sends, nor who left unasked."""

    def __init__(self, session: Session, upload: Upload, display: Display) -> None:
        self.upload = upload
        self._display = display
        self._ready: set[str] = set()
        self._began: set[str] = set()
        self._told: set[Delivery] = set()
        session.on(ev.PeerReady, lambda event: self._ready.add(event.peer))
        session.on(ev.UploadStarted, lambda event: self._began.add(event.peer))

    @property
    def recipients(self) -> list[Delivery]:
        """Those whose outcome counts."""
        return [each for each in self.upload.deliveries.values() if self._why_none(each) is None]

    @property
    def is_decided(self) -> bool:
        """Whether every recipient has its outcome, and there is one."""
        recipients = self.recipients
        return self.upload.is_closed or (
            bool(recipients) and all(each.state.is_outcome for each in recipients)
        )

    def tell_who_does_not_receive(self) -> None:
        """Say why it goes on, where everybody who was asked is no recipient."""
        if self.recipients or self.upload.is_closed:
            return
        for delivery in self.upload.deliveries.values():
            why = self._why_none(delivery)
            if why is not None and delivery not in self._told:
                self._told.add(delivery)
                self._display.note(f"{show(delivery.peer)} {why}; waiting for somebody to come")

    def _why_none(self, delivery: Delivery) -> str | None:
        error = delivery.error
        if error is None:
            return None
        if delivery.state is DeliveryState.DECLINED and error.reason == ONLY_SENDS:
            return "only sends too"
        # A sender leaves as soon as it has our answer, which may be before it has our offer.
        is_gone = delivery.state is DeliveryState.FAILED and error.code == ErrorCode.SHARING_NOT_AVAILABLE
        if is_gone and delivery.peer in self._ready - self._began:
            return "left"
        return None


def close_unanswered(upload: Upload) -> dict[str, TransferError]:
    """Wait no longer for who has not answered; return what that means for each of them."""
    words = {
        DeliveryState.WAITING: (ErrorCode.SHARING_NOT_AVAILABLE, "was not reached in time"),
        DeliveryState.OFFERED: (ErrorCode.DECLINED, "did not answer in time"),
    }
    unanswered = [(each, *words[each.state]) for each in upload.deliveries.values() if each.state in words]
    upload.close()
    # Of an offer that was taken in part, the rest is what was not answered: no failure.
    return {each.peer: _failure(code, each.peer, what) for each, code, what in unanswered if each.error}


async def _settled(upload: Upload) -> None:
    """Hear of the end of an upload. Raises what is wrong with the files; the rest is told by recipient."""
    try:
        await upload
    except P2PShareError as error:
        if not upload.is_listed and not (isinstance(error, UploadError) and error.failures):
            raise


def _failure(code: ErrorCode, peer: str, what: str) -> TransferError:
    return transfer_error(code, f"{show(peer)} {what}", peer=peer)
