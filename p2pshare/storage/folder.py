"""Files into a folder: verified, synced, and never over anything that is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from p2pshare.errors import IntegrityError, TransferError
from p2pshare.model import (
    Conflict,
    Extent,
    FileEnd,
    FileKind,
    HeldBlocks,
    Limits,
    OfferedFile,
    Payload,
    Piece,
)
from p2pshare.storage.beneath import Beneath, Way
from p2pshare.storage.commit import GroupCommit, Placed, current_umask, make_link, mode_of
from p2pshare.storage.links import local_target
from p2pshare.storage.lookalike import is_file
from p2pshare.storage.part import Part, part_key
from p2pshare.storage.root import check_writable, make_folders, refuse_home
from p2pshare.storage.sink import Stored, save_error
from p2pshare.storage.space import check_space
from p2pshare.storage.survey import Survey
from p2pshare.storage.threads import in_thread, in_thread_until


class FolderSink:
    """Stores the files of one job in a folder. What a job breaks off stays there, hidden, for the next."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        files: Sequence[OfferedFile],
        *,
        limits: Limits,
        peer: str = "",
        conflict: Conflict = Conflict.RENAME,
        keep_links: bool = False,
        keep_executable: bool = False,
        keep_hidden: bool = False,
        way: Way | None = None,
    ) -> None:
        """Nothing happens before `open`.

        ``peer`` tells the parts of one sender from those of another. ``conflict`` says what becomes of a
        file whose name is taken. By default nothing that arrives is executable, no link is made, and no name
        at the top begins with a dot. ``way`` is how folders are reached: the safest that the platform has,
        unless a test wants another.
        """
        self._root = Path(folder)
        self._files = {file.index: file for file in files}
        self._limits = limits
        self._peer = peer
        self._conflict = conflict
        self._keep_executable = keep_executable
        self._keep_hidden = keep_hidden
        self._way = way
        self._survey = Survey(self._files, keep_hidden=keep_hidden, keep_links=keep_links)
        self._beneath: Beneath | None = None
        self._umask = 0o077
        self._over: set[int] = set()
        self._part: Part | None = None
        self._commit = GroupCommit(self._mode, overwrite=conflict is Conflict.OVERWRITE)
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

    @property
    def skipped(self) -> Sequence[int]:
        """After `open`: files that are not fetched, as something of their name is there; see ``paths``."""
        return list(self._survey.skipped)

    @property
    def lookalikes(self) -> Sequence[int]:
        """After `open`: wanted files of whose final name and size a file is there."""
        return sorted(self._survey.lookalikes - self._over)

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
            refuse_home(self._root)
            made = make_folders(self._root)
            self._beneath = Beneath(self._root, self._way)
            check_writable(self._beneath.root)
            self._umask = current_umask()
            held = self._survey.look(self._beneath, self._conflict, self._peer, self._stop)
            check_space(self._beneath.root, self._survey.needed_space(), self._limits.disk_reserve)
        except (OSError, TransferError) as exc:
            self._close(keep_parts=True)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if isinstance(exc, OSError):
                raise save_error(exc) from exc
            raise
        self._paths.update(self._survey.skipped)
        self._over.update(self._survey.skipped)
        return held

    async def adopt(self, index: int, size: int, digest: bytes) -> bool:
        """Whether the lookalike of a file is that file, by its digest: then it is the result.

        It is read to its end, which may take a while; where it differs, or is gone, the file is wanted still.
        """
        return await in_thread_until(self._stop, self._adopt, index, size, digest)

    def _adopt(self, index: int, size: int, digest: bytes) -> bool:
        if index not in self._survey.lookalikes or index in self._over:
            return False
        assert self._beneath is not None
        path = self._survey.names[index]
        try:
            folder = self._beneath.folder(path[:-1], make=False)
            is_same = size == self._files[index].size and is_file(folder, path[-1], size, digest, self._stop)
        except OSError:
            is_same = False
        if not is_same:
            return False
        part = self._survey.resumed.pop(index, None)
        if part is not None:
            part.discard()
        self._over.add(index)
        self._paths[index] = folder.path / path[-1]
        return True

    async def reopen(self) -> Sequence[HeldBlocks]:
        """The connection was lost: what is here of the files that are not confirmed, which come again."""
        return await in_thread(self._reopen)

    def _reopen(self) -> Sequence[HeldBlocks]:
        self._stop.clear()
        self._over = set(self._paths)
        part, self._part = self._part, None
        if part is not None:
            if part.is_resumable:
                self._survey.resumed[part.file.index] = part
            else:
                part.discard()
        return [blocks for part in self._survey.resumed.values() for blocks in part.held]

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
            if self._files[index].kind is FileKind.LINK:
                self._make_link(index, report)
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
        path = self._survey.names[index]
        report.placed[index] = self._beneath.folder(path, make=True).path
        self._folders.add(path)
        self._over.add(index)
        self._trim()

    def _make_link(self, index: int, report: _Report) -> None:
        """Nothing is ever written through it: no folder is reached through a link."""
        assert self._beneath is not None
        path, file = self._survey.names[index], self._files[index]
        assert file.target is not None
        folder = self._beneath.folder(path[:-1], make=True)
        target = local_target(file.path, file.target, keep_hidden=self._keep_hidden)
        report.placed[index] = folder.path / make_link(folder, target, path[-1])
        folder.is_unsynced = True
        self._over.add(index)
        self._trim()

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
        self._trim()

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
        if index in self._over:
            return False
        if index in self._survey.refused:
            report.failed[index] = self._survey.refused[index]
            self._over.add(index)
            return False
        return index in self._files

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
        part = self._survey.resumed.pop(index, None)
        if part is None:
            path, file = self._survey.names[index], self._files[index]
            folder = self._beneath.folder(path[:-1], make=True)
            if index in self._survey.lookalikes:  # not the file itself after all
                check_space(folder.path, file.size or 0, self._limits.disk_reserve)
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

    def _trim(self) -> None:
        assert self._beneath is not None
        if self._beneath.is_crowded:
            self._beneath.trim([part.folder for part in self._parts()])

    def _parts(self) -> list[Part]:
        current = [self._part] if self._part is not None else []
        return [*self._survey.resumed.values(), *self._broken_off, *self._commit.parts, *current]

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
        self._survey.resumed.clear()
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
