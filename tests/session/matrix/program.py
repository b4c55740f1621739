"""What the two programs of the matrix do: Alice sends files of her folder, Bob takes what is offered.

Both stages run these: in memory as they are, and in processes, where names and outcomes are all that passes.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from p2pshare import events as ev
from p2pshare.errors import TransferCancelled, UploadError
from p2pshare.model import KIB, MIB, Limits
from p2pshare.session import DeliveryState, Download, Session, Upload
from p2pshare.session.room import Room
from signaling.client import SignalingClient
from tests.session.matrix.cells import Outcome
from tests.session.peers import Heard

MAIN: Final = "main.bin"
"What the event happens to."
BESIDE: Final = "beside.bin"
"What travels beside it, and is still on its way when the other one is done."
AFTER: Final = "after.bin"
"What is sent when all is over: the two still understand each other."
SIZES: Final = {MAIN: 3 * MIB + 300 * KIB, BESIDE: 5 * MIB + 5, AFTER: 70 * KIB}

OTHER: Final = {"alice": "bob", "bob": "alice"}


class Program:
    """One life of Alice's program, or of Bob's."""

    def __init__(
        self, name: str, folder: Path, limits: Limits, *, later: frozenset[str] = frozenset()
    ) -> None:
        """``later``: files that are not taken as soon as they are offered."""
        self.name = name
        self.peer = OTHER[name]
        self.session = Session(
            download_dir=folder, state_dir=folder.parent / f"{folder.name}.state", limits=limits
        )
        self.heard = Heard(self.session)
        self._folder = folder
        self._later = set(later)
        self._left: set[str] = set()
        self._uploads: dict[str, Upload] = {}
        self._downloads: dict[str, list[Download[list[Path]]]] = {}
        self.session.on(ev.FileOffered, lambda event: self._take(event.offer))
        # One that was left for later may be away just now, and is not offered a second time.
        self.session.on(ev.FileAvailable, lambda event: self._take_left())

    async def join(self, url: str) -> None:
        """Into the room."""
        await self.session.enter(Room(SignalingClient(url, room="den", name=self.name)))

    async def close(self) -> None:
        """End in good order."""
        await self.session.close()

    # The sender --------------------------------------------------------------------------------------------

    async def send(self, name: str) -> None:
        """Offer a file to the other one, as soon as that is there."""
        await self.session.wait_for_peers(self.peer)
        self._uploads[name] = self.session.send_files(self._folder / name, to=self.peer)

    async def sent(self, name: str) -> Outcome:
        """How an upload ended, as its sender sees it."""
        upload = self._uploads[name]
        try:
            await upload
        except TransferCancelled:
            return Outcome.CANCELLED
        except UploadError as error:
            failure = error.failures[self.peer]
            if isinstance(failure, TransferCancelled) and failure.remote:
                return Outcome.CANCELLED_BY_PEER
            if upload.deliveries[self.peer].state is DeliveryState.DECLINED:
                return Outcome.DECLINED
            raise
        return Outcome.COMPLETED

    # The receiver ------------------------------------------------------------------------------------------

    def _take(self, offer: ev.Offer) -> None:
        name = _name_of(offer)
        if name not in self._later:
            self._left.discard(name)
            self._downloads.setdefault(name, []).append(self.session.download_files(offer.files))

    def _take_left(self) -> None:
        for offer in self.session.offers:
            if _name_of(offer) in self._left:
                self._take(offer)

    async def offered(self, name: str) -> None:
        """Wait for the offer of a file."""
        count = 1
        while _name_of((await self.heard.first(ev.FileOffered, count)).offer) != name:
            count += 1

    async def take_all(self) -> None:
        """Now also what was left for later."""
        self._left, self._later = self._later, set()
        self._take_left()

    async def received(self, name: str) -> list[Outcome]:
        """How each download of a file ended, as its receiver sees it."""
        outcomes: list[Outcome] = []
        for download in self._downloads.get(name, []):
            try:
                await download
            except TransferCancelled as error:
                outcomes.append(Outcome.CANCELLED_BY_PEER if error.remote else Outcome.CANCELLED)
            else:
                outcomes.append(Outcome.COMPLETED)
        return outcomes

    # Either ------------------------------------------------------------------------------------------------

    def cancel(self, name: str) -> None:
        """Cancel a file's transfer; an offer that was not taken is declined."""
        if name in self._uploads:
            self._uploads[name].cancel("never mind")
        elif name in self._downloads:
            self._downloads[name][-1].cancel("never mind")
        else:
            for offer in self.session.offers:
                if _name_of(offer) == name:
                    self.session.decline(offer, "never mind")

    def pause(self, name: str) -> None:
        """Pause a file's transfer."""
        (self._uploads[name] if name in self._uploads else self._downloads[name][-1]).pause()

    def resume(self, name: str) -> None:
        """Undo it."""
        (self._uploads[name] if name in self._uploads else self._downloads[name][-1]).resume()


def _name_of(offer: ev.Offer) -> str:
    """What was sent: a file, or a folder."""
    return offer.files[0].file.path[0]


def write_files(folder: Path, seed: int) -> dict[str, bytes]:
    """The files that Alice sends, by name."""
    folder.mkdir()
    lots = random.Random(seed)
    contents = {name: lots.randbytes(size) for name, size in SIZES.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return contents
