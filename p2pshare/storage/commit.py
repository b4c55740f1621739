"""Verified parts become files: synced, named, and their names synced, many at a time.

Syncing costs most of what a small file costs. So the kernel is first asked to start writing out all of a
group; the first file's fdatasync then commits the journal for the others too, and theirs find little left to
do. Meanwhile the next group is being written. Each file is synced itself all the same: what cannot be written
fails the file that it belongs to. (One ``syncfs`` a group is faster still, but waits for whatever else the
machine is writing, and tells an error to nobody in particular.)
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from p2pshare.errors import TransferError
from p2pshare.model import OfferedFile
from p2pshare.storage.beneath import Folder
from p2pshare.storage.names import numbered
from p2pshare.storage.part import Part
from p2pshare.storage.sink import save_error

GROUP: Final = 64
"""Files that are synced together. A job has two groups open at most: one being synced, one being written."""
MAX_NUMBER: Final = 9_999

_FILE_MODE = 0o644
_EXECUTABLE_MODE = 0o755

# Not the threads that write: those wait for these.
_pool = ThreadPoolExecutor(4, thread_name_prefix="p2pshare-sync")

Placed = tuple[Part, Path | TransferError]
"""A part, and where it is now, or why it is not there."""


class GroupCommit:
    """Puts the verified parts of a job into place. The names are synced by who calls it."""

    def __init__(self, mode: Callable[[OfferedFile], int], *, overwrite: bool = False) -> None:
        """With ``overwrite`` a file of the same name is replaced."""
        self._mode = mode
        self._overwrite = overwrite
        self._waiting: list[Part] = []
        self._sealing: tuple[list[Part], Future[list[OSError | None]]] | None = None

    @property
    def parts(self) -> list[Part]:
        """What is on its way."""
        return [*(self._sealing[0] if self._sealing else ()), *self._waiting]

    def add(self, part: Part) -> list[Placed]:
        """Take a part; returns what became of an earlier group, where one is done by now."""
        self._waiting.append(part)
        if len(self._waiting) < GROUP:
            return []
        placed = self._place()
        group, self._waiting = self._waiting, []
        self._sealing = group, _pool.submit(seal, group, self._mode)
        return placed

    def finish(self) -> list[Placed]:
        """Put everything into place."""
        group, self._waiting = self._waiting, []
        errors = seal(group, self._mode)
        return [*self._place(), *place(group, errors, overwrite=self._overwrite)]

    def wait(self) -> None:
        """Wait until no thread is at a part any more."""
        if self._sealing:
            self._sealing[1].exception()

    def _place(self) -> list[Placed]:
        sealing, self._sealing = self._sealing, None
        return place(sealing[0], sealing[1].result(), overwrite=self._overwrite) if sealing else []


def seal(group: Sequence[Part], mode: Callable[[OfferedFile], int]) -> list[OSError | None]:
    """Make the bytes of parts last, and close them; returns what went wrong with each."""
    if len(group) > 1 and hasattr(os, "posix_fadvise"):
        for part in group:
            with contextlib.suppress(OSError):  # only advice: the file system need not take it
                os.posix_fadvise(part.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    errors: list[OSError | None] = []
    for part in group:
        try:
            part.seal(mode(part.file))
            part.close()
            errors.append(None)
        except OSError as exc:
            errors.append(exc)
    return errors


def place(group: Sequence[Part], errors: Sequence[OSError | None], *, overwrite: bool) -> list[Placed]:
    """Give sealed parts their names."""
    placed: list[Placed] = []
    for part, error in zip(group, errors, strict=True):
        try:
            if error is not None:
                raise error
            name = put_in_place(part.folder, part.part_name, part.name, overwrite=overwrite)
        except OSError as exc:
            placed.append((part, save_error(exc, part.file)))
        else:
            part.folder.is_unsynced = True
            part.remove_journal()
            placed.append((part, part.folder.path / name))
    return placed


def mode_of(file: OfferedFile, umask: int, *, keep_executable: bool) -> int:
    """The permissions of a received file: nobody can run it, unless the user wants what the peer says."""
    return (_EXECUTABLE_MODE if keep_executable and file.executable else _FILE_MODE) & ~umask


def put_in_place(folder: Folder, part_name: str, name: str, *, overwrite: bool = False) -> str:
    """Rename a part to a name that is free, never over anything; returns the name. Raises OSError.

    With ``overwrite`` it takes the place of a plain file at once, so that one of the two is always there.
    """
    if overwrite and _is_plain_file(folder, name):
        try:
            folder.replace(part_name, name)
        except (IsADirectoryError, FileExistsError):  # it has become a folder meanwhile
            pass
        else:
            return name
    number = 0
    while True:
        free = numbered(name, number)
        try:
            rename_new(folder, part_name, free)
        except FileExistsError:
            if number == MAX_NUMBER:
                raise
            number += 1
        else:
            return free


def make_link(folder: Folder, target: str, name: str) -> str:
    """Make a symbolic link by a name that is free, or find it made; returns the name. Raises OSError."""
    number = 0
    while True:
        free = numbered(name, number)
        try:
            folder.symlink(target, free)
        except FileExistsError:
            if folder.readlink(free) == target:
                return free
            if number == MAX_NUMBER:
                raise
            number += 1
        else:
            return free


def _is_plain_file(folder: Folder, name: str) -> bool:
    try:
        return stat.S_ISREG(folder.stat(name).st_mode)
    except FileNotFoundError:
        return False


def rename_new(folder: Folder, old: str, new: str) -> None:
    """Rename a file to a name that is free, by the best call that the file system has.

    Raises:
        FileExistsError: The name is taken.
        OSError: Anything else that went wrong.
    """
    if folder.rename_noreplace(old, new):
        return
    try:
        folder.link(old, new)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name with an empty file, then replace that
        os.close(folder.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        folder.rename(old, new)
    else:
        folder.unlink(old)


def current_umask() -> int:
    """The permissions that this process takes away from what it makes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    umask = os.umask(0o077)  # it cannot be read otherwise; for a moment other threads make private files
    os.umask(umask)
    return umask
