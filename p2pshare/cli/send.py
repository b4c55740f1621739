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
from p2pshare.cli.interrupts import Interrupts
from p2pshare.cli.names import random_room
from p2pshare.cli.pausing import keys
from p2pshare.cli.recipients import ONLY_SENDS, deliver_to_anybody, deliver_to_named
from p2pshare.cli.room import Place, deadline_in, in_room, limits_of
from p2pshare.cli.serve import addresses, embedded_server
from p2pshare.errors import StorageAccessDenied
from p2pshare.model import Recipients
from p2pshare.session import Session, Upload
from p2pshare.storage import SourceLike, from_file_object

_STDIN: Final = 0


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
    rate: int | None = None
    "Bytes a second, to all recipients together."
    keep_links: bool = False
    reconnect_timeout_s: float | None = None
    "For a recipient whose connection was lost to come back; None: as the library has it."


async def send(options: SendOptions, display: Display, interrupts: Interrupts) -> None:
    """Send. Raises UploadError with a failure for each recipient that did not get (all of) it."""
    things = _things(options)
    room = random_room() if options.room is None else options.room
    async with contextlib.AsyncExitStack() as stack:
        server = options.server
        if server is None:
            own = await stack.enter_async_context(embedded_server(display))
            server = addresses(own)[0]
            place = Place(server=f"http://127.0.0.1:{own.port}", room=room, name=options.name)
        else:
            place = Place(server=server, room=room, name=options.name)
        limits = limits_of(reconnect_timeout_s=options.reconnect_timeout_s)
        room_of = in_room(place, display, command="send", limits=limits, interrupts=interrupts)
        session = await stack.enter_async_context(room_of)
        session.upload_rate_limit = options.rate
        session.on(ev.FileOffered, lambda event: session.decline(event.offer, ONLY_SENDS))
        if options.server is None or options.room is None:
            display.note(_invitation(room, server))
        stack.enter_context(keys(session, display, is_wanted="-" not in options.paths))
        await _deliver(session, things, options, display)


def _things(options: SendOptions) -> list[str | SourceLike]:
    """What to send; complains about a path that is not there before anybody is bothered."""
    things: list[str | SourceLike] = []
    for path in options.paths:
        if path == "-":
            things.append(_standard_input(options.filename))
            continue
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError, ValueError) as exc:
            raise StorageAccessDenied("there is no such file or folder", file=path) from exc
        things.append(path)
    return things


def _standard_input(name: str) -> SourceLike:
    try:
        return from_file_object(name, io.FileIO(_STDIN, closefd=False))
    except ValueError as exc:
        raise ValueError(f"--filename: {exc}") from exc


def _invitation(room: str, server: str) -> str:
    command = shlex.join(["p2pshare", "receive", "--room", room, "--server", server])
    return f"at the other end, type:\n\n    {command}\n"


async def _deliver(
    session: Session, things: Sequence[str | SourceLike], options: SendOptions, display: Display
) -> None:
    deadline = deadline_in(options.timeout_s)

    def offer(to: Recipients) -> Upload:
        return session.send_files(things, to=to, message=options.message, keep_links=options.keep_links)

    if options.to:
        await deliver_to_named(session, options.to, offer, deadline, display)
    else:
        await deliver_to_anybody(session, offer, deadline, display)
