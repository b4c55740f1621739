"""Verified parts become files: synced, named, and their names synced, many at a time.

Syncing costs most of what a small file costs. So the kernel is first asked to start writing out all of a
group; the first file's fdatasync then commits the journal for the others too, and theirs find little left to
do. Each file is synced itself all the same: what cannot be written fails the file that it belongs to. (One
``syncfs`` a group is faster still, but waits for whatever else the machine is writing, and tells an error to
nobody in particular.)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from p2pshare.errors import TransferError
from p2pshare.model import OfferedFile
from p2pshare.storage.beneath import Folder
from p2pshare.storage.names import numbered
from p2pshare.storage.part import Part
from p2pshare.storage.sink import save_error

GROUP: Final = 64
"""Files that are synced together: so many are open at once."""
MAX_NUMBER: Final = 9_999

_FILE_MODE = 0o644
_EXECUTABLE_MODE = 0o755


def commit(
    parts: Sequence[Part],
    mode_of: Callable[[OfferedFile], int],
    failed: Callable[[Part, TransferError], None],
) -> dict[int, Path]:
    """Put verified parts into place; returns where they are, by index. Names are not yet synced."""
    if len(parts) > 1 and hasattr(os, "posix_fadvise"):
        for part in parts:
            with contextlib.suppress(OSError):  # only advice: the file system need not take it
                os.posix_fadvise(part.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    paths: dict[int, Path] = {}
    for part in parts:
        try:
            part.seal(mode_of(part.file))
            part.close()
            paths[part.file.index] = part.folder.path / put_in_place(part.folder, part.part_name, part.name)
            part.folder.is_unsynced = True
        except OSError as exc:
            failed(part, save_error(exc, part.file))
        else:
            part.remove_journal()
    return paths


def mode_of(file: OfferedFile, umask: int, *, keep_executable: bool) -> int:
    """The permissions of a received file: nobody can run it, unless the user wants what the peer says."""
    return (_EXECUTABLE_MODE if keep_executable and file.executable else _FILE_MODE) & ~umask


def put_in_place(folder: Folder, part_name: str, name: str) -> str:
    """Rename a part to a name that is free, never over anything; returns the name. Raises OSError."""
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
