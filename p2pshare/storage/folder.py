"""Files into a folder: verified, synced, and never over anything that is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Final

from p2pshare.errors import IntegrityError, SaveFailed, StorageAccessDenied, TransferError
from p2pshare.model import Extent, FileEnd, FileKind, HeldBlocks, Limits, OfferedFile, Payload, Piece
from p2pshare.storage.beneath import Beneath, Folder, Way, sync_folder
from p2pshare.storage.commit import GroupCommit, Placed, current_umask, mode_of
from p2pshare.storage.names import LocalNames, UnsafeName, check_wire_path
from p2pshare.storage.part import Part, is_resumable, part_key
from p2pshare.storage.sink import Stored, save_error
from p2pshare.storage.space import check_space
from p2pshare.storage.threads import in_thread, in_thread_until

MAX_RESUMED: Final = 64
"""Parts of earlier attempts that one job goes on with: two open files each."""


class FolderSink:
    """Stores the files of one job in a folder. What a job breaks off stays there, hidden, for the next."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        files: Sequence[OfferedFile],
        *,
        limits: Limits,
        peer: str = "",
        keep_executable: bool = False,
        keep_hidden: bool = False,
        way: Way | None = None,
    ) -> None:
        """Nothing happens before `open`.

        ``peer`` tells the parts of one sender from those of another. By default nothing that arrives is
        executable, and no name at the top begins with a dot. ``way`` is how folders are reached: the
        safest that the platform has, unless a test wants another.
        """
        self._root = Path(folder)
        self._files = {file.index: file for file in files}
        self._limits = limits
        self._peer = peer
        self._keep_executable = keep_executable
        self._keep_hidden = keep_hidden
        self._way = way
        self._names: dict[int, tuple[str, ...]] = {}
        self._beneath: Beneath | None = None
        self._umask = 0o077
        self._refused: dict[int, TransferError] = {}
        self._over: set[int] = set()
        self._resumed: dict[int, Part] = {}
        self._part: Part | None = None
        self._commit = GroupCommit(self._mode)
        self._broken_off: list[Part] = []
        self._folders: set[tuple[str, ...]] = set()
        self._paths: dict[int, Path] = {}
        self._stop = Event()

    @property
    def paths(self) -> Mapping[int, Path]:
        """Where the confirmed files are, by index."""
        return self._paths

    @property
    def contents(self) -> Mapping[int, bytes]:
        """Nothing: the files are at ``paths``."""
        return {}

    # Opening -------------------------------------------------------------------------------------------

    async def open(self) -> Sequence[HeldBlocks]:
        """Make the folder, find parts of earlier attempts, and see whether there is room.

        Raises:
            StorageAccessDenied: The folder cannot be made or written, or is the home folder itself.
            SaveFailed: The disk has no room, or something else went wrong.
        """
        return await in_thread_until(self._stop, self._open)

    def _open(self) -> Sequence[HeldBlocks]:
        made: list[Path] = []
        try:
            _refuse_home(self._root)
            made = _make_folders(self._root)
            self._beneath = Beneath(self._root, self._way)
            _check_writable(self._beneath.root)
            self._umask = current_umask()
            self._name_files()
            held = self._find_parts(self._beneath)
            needed = sum(file.size or 0 for file in self._files.values() if file.index not in self._refused)
            here = sum(min(part.allocated, part.file.size or 0) for part in self._resumed.values())
            check_space(self._beneath.root, needed - here, self._limits.disk_reserve)
        except (OSError, TransferError) as exc:
            self._close(keep_parts=True)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if isinstance(exc, OSError):
                raise save_error(exc) from exc
            raise
        return held

    def _name_files(self) -> None:
        names = LocalNames(keep_hidden=self._keep_hidden)
        for file in self._files.values():
            try:
                check_wire_path(file.path)
            except UnsafeName as exc:
                self._refused[file.index] = SaveFailed(f"a name that is not allowed: {exc}")
            else:
                self._names[file.index] = names.add(file.path, is_folder=file.kind is FileKind.DIRECTORY)

    def _find_parts(self, beneath: Beneath) -> list[HeldBlocks]:
        held: list[HeldBlocks] = []
        for index, path in self._names.items():
            file = self._files[index]
            if not is_resumable(file) or len(self._resumed) >= MAX_RESUMED:
                continue
            try:
                folder = beneath.folder(path[:-1], make=False)
            except OSError:  # not there; or in the way of a file that will say so when it comes
                continue
            found = Part.resume(file, folder, path[-1], part_key(self._peer, file), stop=self._stop)
            if found is not None:
                self._resumed[index], blocks = found
                held.extend(blocks)
            else:
                beneath.trim(self._in_use())
        return held

    # Storing -------------------------------------------------------------------------------------------

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        """Write pieces, and put files into place that are complete and fit their digest."""
        return await in_thread_until(self._stop, self._store, pieces)

    def _store(self, pieces: Sequence[Piece]) -> Stored:
        report = _Report()
        at = 0
        while at < len(pieces):
            piece = pieces[at]
            at += 1
            if isinstance(piece, FileEnd):
                self._finish(piece, report)
                continue
            payloads = [piece.payload]
            end = piece.offset + len(piece.payload)
            while at < len(pieces) and _continues(pieces[at], piece.index, end):
                more = pieces[at]
                assert isinstance(more, Extent)
                payloads.append(more.payload)
                end += len(more.payload)
                at += 1
            self._write(piece.index, piece.offset, payloads, report)
        self._placed(self._commit.finish(), report)
        self._confirm(report)
        return Stored(report.stored, report.confirmed, report.failed)

    def _write(self, index: int, offset: int, payloads: Sequence[Payload], report: _Report) -> None:
        if not self._is_wanted(index, report):
            return
        try:
            part = self._part_of(index)
            if part.file.size is None:
                check_space(part.folder.path, sum(map(len, payloads)), self._limits.disk_reserve)
            report.stored += part.write(offset, payloads)
        except OSError as exc:
            self._fail(index, save_error(exc, self._files[index]), report)
        except TransferError as exc:
            self._fail(index, exc, report)

    def _finish(self, end: FileEnd, report: _Report) -> None:
        index = end.index
        if not self._is_wanted(index, report):
            return
        try:
            if self._files[index].kind is FileKind.DIRECTORY:
                self._make_folder(index, report)
                return
            part = self._part_of(index)
            part.verify(end)
        except OSError as exc:
            self._fail(index, save_error(exc, self._files[index]), report)
        except TransferError as exc:
            self._fail(index, exc, report)
        else:
            self._part = None
            self._placed(self._commit.add(part), report)

    def _make_folder(self, index: int, report: _Report) -> None:
        assert self._beneath is not None
        path = self._names[index]
        report.placed[index] = self._beneath.folder(path, make=True).path
        self._folders.add(path)
        self._over.add(index)

    def _placed(self, placed: Sequence[Placed], report: _Report) -> None:
        assert self._beneath is not None
        for part, outcome in placed:
            index = part.file.index
            self._over.add(index)
            if isinstance(outcome, Path):
                report.placed[index] = outcome
            else:
                report.failed[index] = outcome
                self._break_off(part)
        if placed:
            self._beneath.trim(self._in_use())

    def _confirm(self, report: _Report) -> None:
        """Everything is in place: make the names last, and say so."""
        assert self._beneath is not None
        try:
            self._beneath.sync()
        except OSError as exc:  # they are there, but nobody can promise that they stay
            for index in report.placed:
                report.failed[index] = save_error(exc, self._files[index])
        else:
            self._paths.update(report.placed)
            report.confirmed.extend(report.placed)

    def _mode(self, file: OfferedFile) -> int:
        return mode_of(file, self._umask, keep_executable=self._keep_executable)

    # Parts ---------------------------------------------------------------------------------------------

    def _is_wanted(self, index: int, report: _Report) -> bool:
        """Whether pieces of a file are still of use; the first of a refused one fails it."""
        if index in self._refused:
            report.failed[index] = self._refused.pop(index)
            self._over.add(index)
        return index in self._files and index not in self._over

    def _part_of(self, index: int) -> Part:
        """The part of a file, made when its first piece comes. Raises OSError."""
        assert self._beneath is not None
        part = self._part
        if part is not None and part.file.index == index:
            return part
        if part is not None:  # its sender gave it up: the next one begins
            self._over.add(part.file.index)
            self._part = None
            self._break_off(part)
        part = self._resumed.pop(index, None)
        if part is None:
            path, file = self._names[index], self._files[index]
            folder = self._beneath.folder(path[:-1], make=True)
            part = Part.create(file, folder, path[-1], part_key(self._peer, file))
            part.stop = self._stop
        self._part = part
        return part

    def _fail(self, index: int, error: TransferError, report: _Report) -> None:
        error.file = "/".join(self._files[index].path)
        report.failed[index] = error
        self._over.add(index)
        part = self._part
        if part is not None and part.file.index == index:
            self._part = None
            if isinstance(error, IntegrityError):
                part.discard()
            else:
                self._break_off(part)

    def _break_off(self, part: Part) -> None:
        """It does not go on; a later attempt may, where close() keeps it."""
        if part.is_resumable:
            part.close()
            self._broken_off.append(part)
        else:
            part.discard()

    def _in_use(self) -> list[Folder]:
        return [part.folder for part in self._parts()]

    def _parts(self) -> list[Part]:
        current = [self._part] if self._part is not None else []
        return [*self._resumed.values(), *self._broken_off, *self._commit.parts, *current]

    # Closing -------------------------------------------------------------------------------------------

    async def close(self, *, keep_parts: bool) -> None:
        """Close everything; keep what a later attempt can go on with, or remove it. Idempotent."""
        await in_thread(self._close, keep_parts=keep_parts)

    def _close(self, *, keep_parts: bool) -> None:
        self._commit.wait()
        for part in self._parts():
            if keep_parts and part.is_resumable:
                part.close()
            else:
                part.discard()
        self._resumed.clear()
        self._broken_off.clear()
        self._part = None
        if self._beneath is not None:
            self._beneath.remove_made(keep=self._folders)
            self._beneath.close()
            self._beneath = None


class _Report:
    """What one call of store() comes to."""

    def __init__(self) -> None:
        self.stored = 0
        self.confirmed: list[int] = []
        self.failed: dict[int, TransferError] = {}
        self.placed: dict[int, Path] = {}  # their names are not synced yet


def _continues(piece: Piece, index: int, offset: int) -> bool:
    return isinstance(piece, Extent) and piece.index == index and piece.offset == offset


def _refuse_home(folder: Path) -> None:
    """What a peer names never lands among the files that programs start from."""
    try:
        is_home = os.path.samefile(folder, os.path.expanduser("~"))
    except OSError:  # one of them is not there
        return
    if is_home:
        raise StorageAccessDenied("files are not received into the home folder itself: choose one below it")


def _check_writable(folder: Path) -> None:
    may = os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    if not may:
        raise StorageAccessDenied("the folder may not be written to", file=str(folder))


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns what was made. Raises OSError."""
    missing: list[Path] = []
    path = folder
    while not path.exists():
        missing.append(path)
        path = path.parent
    missing.reverse()
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":
        for made in missing:
            sync_folder(made.parent)
    return missing
