"""From an offer's files to what is said of them when they are here, or are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2pshare.cli.display import Display
from p2pshare.cli.stdout import StdoutSink
from p2pshare.errors import P2PShareError, SaveFailed, TransferCancelled
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import BLOCK_SIZE, OfferedFile
from p2pshare.session import Download, Session
from p2pshare.session.incoming import DownloadOptions
from p2pshare.storage import Sink

if TYPE_CHECKING:
    from p2pshare.cli.receive import ReceiveOptions

THE_REST: Final = "the rest is not wanted"


class Downloading:
    """Fetches what was decided to be taken, as the options say."""

    def __init__(self, session: Session, display: Display, options: ReceiveOptions) -> None:
        self.has_received = False
        self._session = session
        self._display = display
        self._options = options
        self._sink: StdoutSink | None = None

    @property
    def how_to_go_on(self) -> str:
        """What a person does about a part that is kept."""
        again = self._options.again
        return f"what has come is kept; to go on when the sender is there again, type:\n\n    {again}\n"

    def has_parts(self, download: Download[Any]) -> bool:
        """Whether a later attempt can go on with what has come of files that are not complete."""
        return not self._options.to_stdout and kept_parts(download)

    def abandon(self) -> None:
        """Wait for nobody to read what goes to standard output."""
        if self._sink is not None:
            self._sink.abandon()

    async def fetch(self, offer: Offer, files: Sequence[AvailableFile]) -> None:
        """Download files of an offer, and print where they are. Raises P2PShareError."""
        download: Download[list[Path]] | Download[Sink] | None = None
        try:
            if self._options.to_stdout:
                download = self._session.download_into(files, self._make_sink)
            else:
                await asyncio.to_thread(_make_folder, self._options.folder)
                download = self._into_folder(files)
            await download.wait()  # only watches: who cancels this task says what becomes of the parts
            result = await download
        except P2PShareError as error:
            # Of what failed before the sender was asked for a byte it does not know yet.
            self._session.decline(offer, error.reason, code=int(error.code))
            if download is not None and not isinstance(error, TransferCancelled) and self.has_parts(download):
                self._display.note(self.how_to_go_on)
            raise
        if len(files) < len(offer.files):
            self._session.decline(offer, THE_REST)
        self.has_received = True
        if isinstance(result, list):
            for path in outermost(result, self._options.folder):
                self._display.result(path)

    def _into_folder(self, files: Sequence[AvailableFile]) -> Download[list[Path]]:
        options = DownloadOptions(
            conflict=self._options.conflict,
            keep_executable=self._options.keep_executable,
            keep_links=self._options.keep_links,
        )
        return self._session.download_files(files, **options)

    def _make_sink(self, files: Sequence[OfferedFile]) -> Sink:
        self._sink = StdoutSink(files[0])
        return self._sink


def kept_parts(download: Download[Any]) -> bool:
    """Whether a folder keeps something of files that are not complete."""
    lacking = {file.index for file in download.lacking}
    whole = sum(file.size or 0 for file in download.files if file.file.index not in lacking)
    can_go_on = any(file.source_id is not None and (file.size or 0) > BLOCK_SIZE for file in download.lacking)
    return can_go_on and download.progress.stored - whole >= BLOCK_SIZE


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SaveFailed(f"the folder cannot be made: {exc.strerror}") from exc


def outermost(paths: Sequence[Path], folder: Path) -> list[Path]:
    """What is new in the folder itself: files, and folders in place of all that they hold."""
    spellings = (folder, folder.absolute(), folder.resolve())
    tops: dict[Path, None] = {}
    for path in paths:
        inner = next((path.relative_to(base) for base in spellings if path.is_relative_to(base)), None)
        tops[folder / inner.parts[0] if inner is not None and inner.parts else path] = None
    return list(tops)
