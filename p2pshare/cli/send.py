"""``p2pshare send``: offer files to who is in the room, and see them delivered."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.names import named, random_room
from p2pshare.cli.room import Changes, Place, deadline_in, in_room
from p2pshare.cli.serve import addresses, embedded_server
from p2pshare.errors import (
    P2PShareError,
    SharingNotAvailable,
    StorageAccessDenied,
    TransferError,
    UploadError,
    show,
    transfer_error,
)
from p2pshare.model import EVERYONE, ErrorCode
from p2pshare.session import Delivery, DeliveryState, Session, Upload
from p2pshare.storage import SourceLike, from_file_object

_STDIN: Final = 0
ONLY_SENDS: Final = "only sends, and receives nothing"
"""The answer of one sender to another's offer: it was never a recipient, and counts as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """What was asked for."""

    paths: Sequence[str]
    "Files and folders; ``-`` is standard input."
    server: str | None
    "None: one of our own."
    room: str | None
    name: str | None
    to: Sequence[str]
    "Names; empty is whoever is there, or comes first."
    message: str | None
    filename: str
    "What standard input is called."
    timeout_s: float | None
    "For recipients to come and to answer."


async def send(options: SendOptions, display: Display) -> None:
    """Send. Raises UploadError with a failure for each recipient that did not get (all of) it."""
    things = _things(options)
    room = options.room or random_room()
    async with contextlib.AsyncExitStack() as stack:
        server = options.server
        if server is None:
            own = await stack.enter_async_context(embedded_server(display))
            server = addresses(own)[0]
            place = Place(server=f"http://127.0.0.1:{own.port}", room=room, name=options.name)
        else:
            place = Place(server=server, room=room, name=options.name)
        session = await stack.enter_async_context(in_room(place, display))
        session.on(ev.PeerReady, lambda event: display.note(f"offering it to {show(event.peer)}"))
        session.on(ev.FileOffered, lambda event: session.decline(event.offer, ONLY_SENDS))
        if options.server is None or options.room is None:
            display.note(_invitation(room, server))
        await _deliver(session, things, options, display)


def _things(options: SendOptions) -> list[str | SourceLike]:
    """What to send; complains about a path that is not there before anybody is bothered."""
    things: list[str | SourceLike] = []
    for path in options.paths:
        if path == "-":
            things.append(from_file_object(options.filename, io.FileIO(_STDIN, closefd=False)))
            continue
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError, ValueError) as exc:
            raise StorageAccessDenied("there is no such file or folder", file=path) from exc
        things.append(path)
    return things


def _invitation(room: str, server: str) -> str:
    command = shlex.join(["p2pshare", "receive", "--room", room, "--server", server])
    return f"at the other end, type:\n\n    {command}\n"


async def _deliver(
    session: Session, things: Sequence[str | SourceLike], options: SendOptions, display: Display
) -> None:
    deadline = deadline_in(options.timeout_s)
    failures: dict[str, TransferError] = {}
    if options.to:
        there = await _members(session, options.to, deadline, display)
        for name in options.to:
            if named(name, there) is None:
                failures[name] = transfer_error(
                    ErrorCode.SHARING_NOT_AVAILABLE, f"{show(name)} did not come", peer=name
                )
        if not there:
            raise UploadError(failures=failures)
        upload = session.send_files(things, to=there, message=options.message)
    else:
        if not session.peers:
            display.note("waiting for somebody to come (Ctrl-C cancels)")
        upload = session.send_files(things, to=EVERYONE, message=options.message)
    await _decided(session, upload, deadline)
    upload.close()
    recipients = list(upload.deliveries.values()) if options.to else _recipients(upload)
    failures |= {each.peer: each.error for each in recipients if each.error is not None}
    if upload.done and not upload.is_listed:
        await upload  # raises what is wrong with the files
    with contextlib.suppress(P2PShareError):
        await upload  # its error is told by recipient
    if not recipients:
        raise SharingNotAvailable("nobody came to receive")
    if failures:
        raise UploadError(failures=failures)


async def _members(
    session: Session, wanted: Sequence[str], deadline: float | None, display: Display
) -> list[str]:
    """Wait for everybody who is named; return who is there in the end, as the room spells them."""
    changes = Changes(session, ev.PeerJoined, ev.PeerLeft)
    told: list[str] = []
    while True:
        missing = [name for name in wanted if named(name, session.peers) is None]
        if missing and missing != told:
            display.note(f"waiting for {', '.join(map(show, missing))} (Ctrl-C cancels)")
            told = missing
        if not missing or not await changes.next(deadline):
            break
    there = [named(name, session.peers) for name in wanted]
    return list(dict.fromkeys(name for name in there if name is not None))


async def _decided(session: Session, upload: Upload, deadline: float | None) -> None:
    """Wait until every recipient has its outcome, and there is one; those that run may pass the deadline."""
    changes = Changes(session, ev.UploadEvent, ev.UploadClosed)
    while not _is_decided(upload):
        if not await changes.next(deadline):
            deadline = None
            upload.close()  # who has not answered by now will not be waited for
            if not upload.deliveries:
                return


def _is_decided(upload: Upload) -> bool:
    if upload.is_closed:
        return True
    recipients = _recipients(upload)
    return bool(recipients) and all(each.state.is_outcome for each in recipients)


def _recipients(upload: Upload) -> list[Delivery]:
    """Those whose outcome counts: of everyone in the room, not who only sends."""
    return [each for each in upload.deliveries.values() if not _only_sends(each)]


def _only_sends(delivery: Delivery) -> bool:
    error = delivery.error
    return delivery.state is DeliveryState.DECLINED and error is not None and error.reason == ONLY_SENDS
