"""A folder that nothing gets out of: links, planted or swapped in at the last moment, lead nowhere.

Three ways to reach a folder below it, from the best to the one that works everywhere:

- ``OPENAT2``: the kernel resolves the whole path and refuses every link in it (Linux 5.6).
- ``WALK``: component by component, each opened by the descriptor of the one above, links refused.
- ``PATHS``: by path, and checked again once open. It leaves a moment to an attacker who may rename folders
  here; README says so. Windows has nothing better.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Final

from p2pshare.storage import kernel

MAX_OPEN_FOLDERS: Final = 32
"""Folders of a job that stay open between its files."""

_FOLDER_MODE = 0o755
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_SAFE = _NOFOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
_REPARSE_POINT = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT: links and junctions of Windows


class Way(Enum):
    """How folders are reached."""

    OPENAT2 = "openat2"
    WALK = "walk"
    PATHS = "paths"


def best_way() -> Way:
    """The safest way that this platform has."""
    if kernel.has_openat2():
        return Way.OPENAT2
    has_walk = _NOFOLLOW and {os.open, os.mkdir, os.stat, os.unlink, os.rmdir} <= os.supports_dir_fd
    return Way.WALK if has_walk else Way.PATHS


class Folder:
    """An open folder. What is in it is reached by a bare name, through the descriptor."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        "Where it was when it was opened; for results and messages, not for opening anything."
        self.fd = fd
        self.is_unsynced = False
        "Whether names in it have changed since the last sync()."

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a file; a link in its place is refused."""
        return os.open(name, flags | _SAFE, mode, dir_fd=self.fd)

    def stat(self, name: str) -> os.stat_result:
        """What a name stands for; a link for itself."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def mkdir(self, name: str) -> None:
        """Make a folder."""
        os.mkdir(name, _FOLDER_MODE, dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(name, dir_fd=self.fd)

    def link(self, old: str, new: str) -> None:
        """Give a file a second name, unless that is taken."""
        os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        """Rename a file; on POSIX over what has the name already."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def replace(self, old: str, new: str) -> None:
        """Rename a file over another one; a link there is replaced itself, not what it leads to."""
        os.replace(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def symlink(self, target: str, name: str) -> None:
        """Make a symbolic link."""
        os.symlink(target, name, dir_fd=self.fd)

    def readlink(self, name: str) -> str | None:
        """What a symbolic link stands for; None where it is none."""
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError:
            return None

    def rename_noreplace(self, old: str, new: str) -> bool:
        """Rename a file unless the name is taken; False where the platform has no call for it."""
        return kernel.rename_noreplace(self.fd, old, new)

    def sync(self) -> None:
        """Make the names in it last."""
        os.fsync(self.fd)
        self.is_unsynced = False

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class _PathFolder(Folder):
    """A folder by its path: what was opened is compared with what is there now."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        super().__init__(root.joinpath(*parts), -1)
        self._root = root
        self._parts = parts
        self.check()

    def check(self) -> None:
        """Every component is still a folder, and none a link. Raises OSError."""
        path = self._root
        for part in self._parts:
            path = path / part
            if not _is_real_folder(os.lstat(path)):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), part)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        self.check()
        path = self.path / name
        fd = os.open(path, flags | _SAFE, mode)
        try:
            self.check()
            now = os.lstat(path)
            if _is_link(now) or not os.path.samestat(now, os.fstat(fd)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        except OSError:
            os.close(fd)
            raise
        return fd

    def stat(self, name: str) -> os.stat_result:
        self.check()
        return os.lstat(self.path / name)

    def mkdir(self, name: str) -> None:
        self.check()
        os.mkdir(self.path / name, _FOLDER_MODE)

    def unlink(self, name: str) -> None:
        self.check()
        os.unlink(self.path / name)

    def rmdir(self, name: str) -> None:
        self.check()
        os.rmdir(self.path / name)

    def link(self, old: str, new: str) -> None:
        self.check()
        os.link(self.path / old, self.path / new, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        self.check()
        os.rename(self.path / old, self.path / new)

    def replace(self, old: str, new: str) -> None:
        self.check()
        os.replace(self.path / old, self.path / new)

    def symlink(self, target: str, name: str) -> None:
        self.check()
        os.symlink(target.replace("/", os.sep), self.path / name)

    def readlink(self, name: str) -> str | None:
        self.check()
        try:
            return os.readlink(self.path / name).replace(os.sep, "/")
        except OSError:
            return None

    def rename_noreplace(self, old: str, new: str) -> bool:
        if os.name != "nt":
            return False
        self.rename(old, new)  # Windows never replaces
        return True

    def sync(self) -> None:
        if os.name != "nt":  # Windows cannot open a folder, and keeps names without being asked
            sync_folder(self.path)
        self.is_unsynced = False


def sync_folder(path: Path) -> None:
    """Make the names in a folder last. Raises OSError."""
    fd = os.open(path, _OPEN_FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_link(found: os.stat_result) -> bool:
    attributes: int = getattr(found, "st_file_attributes", 0)
    return stat.S_ISLNK(found.st_mode) or bool(attributes & _REPARSE_POINT)


def _is_real_folder(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and not _is_link(found)


class Beneath:
    """The folders below one folder, opened and made as they are needed."""

    def __init__(self, root: Path, way: Way | None = None) -> None:
        """Open the root, which exists; it alone may be reached through links: its user named it."""
        self.root = Path(os.path.realpath(root))
        self._way = way or best_way()
        self._folders: dict[tuple[str, ...], Folder] = {}
        self._made: list[tuple[str, ...]] = []
        self._sync_error: OSError | None = None
        if self._way is Way.PATHS:
            self._folders[()] = _PathFolder(self.root, ())
        else:
            self._folders[()] = Folder(self.root, os.open(self.root, _OPEN_FOLDER))

    def folder(self, parts: tuple[str, ...], *, make: bool) -> Folder:
        """A folder below the root. Raises OSError: ELOOP, ENOTDIR or EXDEV where a link is in the way."""
        folder = self._folders.get(parts)
        if folder is None:
            try:
                folder = self._open(parts)
            except FileNotFoundError:
                if not make:
                    raise
                self._make(parts)
                folder = self._open(parts)
            self._folders[parts] = folder
        return folder

    def _open(self, parts: tuple[str, ...]) -> Folder:
        path = self.root.joinpath(*parts)
        if self._way is Way.PATHS:
            return _PathFolder(self.root, parts)
        top = self._folders[()].fd
        if self._way is Way.OPENAT2:
            return Folder(path, kernel.openat2(top, "/".join(parts), _OPEN_FOLDER))
        fd = top
        for part in parts:
            try:
                below = os.open(part, _OPEN_FOLDER, dir_fd=fd)
            finally:
                if fd != top:
                    os.close(fd)
            fd = below
        return Folder(path, fd)

    def _make(self, parts: tuple[str, ...]) -> None:
        parent = self.folder(parts[:-1], make=True)
        with contextlib.suppress(FileExistsError):  # another job was quicker; what it is shows when opened
            parent.mkdir(parts[-1])
            parent.is_unsynced = True
            self._made.append(parts)

    def sync(self) -> None:
        """Make every name that has changed since the last call last. Raises OSError."""
        error, self._sync_error = self._sync_error, None
        if error is not None:
            raise error
        for folder in list(self._folders.values()):
            if folder.is_unsynced:
                folder.sync()

    @property
    def is_crowded(self) -> bool:
        """Whether more folders are open than `MAX_OPEN_FOLDERS`."""
        return len(self._folders) > MAX_OPEN_FOLDERS

    def trim(self, in_use: Collection[Folder]) -> None:
        """Close folders beyond `MAX_OPEN_FOLDERS`, oldest first, but none in use."""
        surplus = len(self._folders) - MAX_OPEN_FOLDERS
        if surplus > 0:
            for parts in [parts for parts, folder in self._folders.items() if parts and folder not in in_use]:
                self._close(self._folders.pop(parts))
                surplus -= 1
                if surplus <= 0:
                    break

    def _close(self, folder: Folder) -> None:
        try:
            if folder.is_unsynced:
                folder.sync()
        except OSError as exc:
            self._sync_error = exc  # for who calls sync() next, and relies on it
        finally:
            folder.close()

    def remove_made(self, keep: Collection[tuple[str, ...]] = ()) -> None:
        """Remove the folders that were made here and are empty."""
        for parts in reversed(self._made):
            if parts in keep:
                continue
            with contextlib.suppress(OSError):  # not empty, or gone: both are fine
                self.folder(parts[:-1], make=False).rmdir(parts[-1])
        self._made.clear()

    def close(self) -> None:
        """Close every folder; idempotent."""
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()
