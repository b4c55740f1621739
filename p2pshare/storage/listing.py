"""From paths and other things to the sources of an offer: trees in a fixed order, names that travel."""

from __future__ import annotations

import errno
import logging
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from p2pshare.errors import StorageAccessDenied, UploadError, show
from p2pshare.model import FileKind, OfferedFile
from p2pshare.storage.blocking import BlockingChunks, open_pipe
from p2pshare.storage.installation import installation_secret, source_id
from p2pshare.storage.links import wire_target
from p2pshare.storage.names import UnsafeName, check_wire_path, numbered, wire_name
from p2pshare.storage.sources import (
    BytesLike,
    BytesSource,
    PathSource,
    Source,
    SourceLike,
    Stamp,
    StreamLike,
    StreamSource,
)
from p2pshare.storage.threads import in_thread

logger = logging.getLogger(__name__)

WirePath = tuple[str, ...]
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_LINK = "a symbolic link"
_GONE = "gone meanwhile"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in a tree that is not offered."""

    path: str
    "Where it would be in the offer, joined with '/'."
    reason: str
    "What it is, in a few words."


class Listing(list[Source]):
    """The sources of an offer; what its trees had besides is in ``left_out``."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[LeftOut] = []


async def list_sources(
    things: Sequence[str | os.PathLike[str] | SourceLike], *, state_dir: Path | None, keep_links: bool = False
) -> Listing:
    """What an offer of these things consists of; an entry's index is its place in the list.

    A path names a file, or a folder with all that is in it, sorted, empty folders included. A link is
    followed where a path names it, and left out within a tree; so is what is neither file nor folder. With
    ``keep_links`` a link in a tree is offered as one, where it leads to a place in the same tree. A pipe that
    a path names is a stream. Where two things have the same name, the second gets " (1)".
    ``state_dir`` holds the secret of the installation (`installation_secret`).

    Raises:
        StorageAccessDenied: Something is not there or cannot be read; ``.file`` says what.
        UploadError: A path is too long, or too deep, to travel.
        TypeError: Something is neither a path nor a SourceLike.
    """
    for thing in things:
        if not isinstance(thing, str | os.PathLike | SourceLike):
            raise TypeError(
                f"neither a path nor made by from_bytes() or from_stream(): {type(thing).__name__}"
            )
    return await in_thread(_list, things, state_dir, keep_links)


def _list(
    things: Sequence[str | os.PathLike[str] | SourceLike], state_dir: Path | None, keep_links: bool
) -> Listing:
    try:
        secret = installation_secret(state_dir)
    except OSError as exc:
        raise _denied(exc, str(state_dir)) from exc
    listing = _Lister(secret, keep_links=keep_links)
    for thing in things:
        if isinstance(thing, BytesLike):
            listing.add_bytes(thing)
        elif isinstance(thing, StreamLike):
            listing.add_stream(thing)
        elif not isinstance(thing, SourceLike):
            listing.add_path(os.fspath(thing))
    return listing.sources


class _Lister:
    """The sources so far."""

    def __init__(self, secret: bytes, *, keep_links: bool) -> None:
        self.sources = Listing()
        self._secret = secret
        self._keep_links = keep_links
        self._taken: set[str] = set()

    def _top(self, name: str) -> WirePath:
        """A name at the top of the offer that no other thing has."""
        number = 0
        while (free := numbered(name, number)) in self._taken:
            number += 1
        self._taken.add(free)
        return (free,)

    def add_bytes(self, thing: BytesLike) -> None:
        # What names bytes is what they are: the same ones, offered again, go on where they stopped.
        name = source_id(self._secret, b"bytes\0", thing.content)
        path = self._top(thing.name)
        file = OfferedFile(
            len(self.sources), path, len(thing.content), media_type=media_type(thing.name), source_id=name
        )
        self.sources.append(BytesSource(file, thing.content))

    def add_stream(self, thing: StreamLike) -> None:
        path = self._top(thing.name)
        file = OfferedFile(len(self.sources), path, thing.size, media_type=media_type(thing.name))
        self.sources.append(StreamSource(file, thing.begin))

    def add_path(self, named: str) -> None:
        """A path that the user named: here links are followed, and a pipe is a stream."""
        try:
            location = os.path.realpath(named)
            name = wire_name(os.path.basename(os.path.abspath(named)) or "files")
            mode = os.stat(location).st_mode
            if stat.S_ISDIR(mode):
                self._add_tree(self._top(name), location)
            elif stat.S_ISREG(mode):
                self._add_file(self._top(name), location)
            elif stat.S_ISFIFO(mode):
                file = OfferedFile(len(self.sources), self._top(name), None, media_type=media_type(name))
                begin = _PipeBeginner(location)
                self.sources.append(StreamSource(file, begin))
            else:
                raise StorageAccessDenied("neither a file nor a folder nor a pipe", file=named)
        except OSError as exc:
            raise _denied(exc, named) from exc
        except ValueError as exc:  # a NUL in it, or no text that this system's names can be
            raise StorageAccessDenied("there can be no file of this name", file=named) from exc

    def _add_file(self, path: WirePath, location: str) -> None:
        """Raises OSError where it cannot be opened: the offer would promise what cannot be read."""
        fd = os.open(location, _READ | _NOFOLLOW)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no longer a file")
        file = OfferedFile(
            len(self.sources),
            path,
            found.st_size,
            media_type=media_type(path[-1]),
            mtime_ns=found.st_mtime_ns,
            executable=os.name == "posix" and bool(found.st_mode & stat.S_IXUSR),
            source_id=source_id(self._secret, b"path\0", os.fsencode(location)),
        )
        self.sources.append(PathSource(file, location, Stamp.of(found)))

    def _add_link(self, path: WirePath, location: str) -> None:
        """A link within a tree. Raises OSError where it is none any more."""
        try:
            target = wire_target(path, os.readlink(location).replace(os.sep, "/"))
        except UnsafeName as exc:
            self._leave_out(path, str(exc))
            return
        self.sources.append(Source(OfferedFile(len(self.sources), path, 0, FileKind.LINK, target=target)))

    def _leave_out(self, path: WirePath, reason: str) -> None:
        logger.debug("left out, %s: %s", reason, show(path[-1]))
        self.sources.left_out.append(LeftOut("/".join(path), reason))

    def _add_tree(self, path: WirePath, location: str) -> None:
        """A folder and all that is in it, depth first; not by recursion: the disk says how deep it goes."""
        unvisited = self._visit(path, location)[::-1]
        while unvisited:
            path, location = unvisited.pop()
            _check(path)
            try:
                unvisited.extend(reversed(self._visit(path, location)))
            except FileNotFoundError:
                self._leave_out(path, _GONE)
            except OSError as exc:
                raise _denied(exc, "/".join(path)) from exc

    def _visit(self, path: WirePath, location: str) -> list[tuple[WirePath, str]]:
        """Add a file, or a folder's files up to its first folder: what comes after waits for its turn."""
        mode = os.lstat(location).st_mode
        if stat.S_ISLNK(mode) and self._keep_links:
            self._add_link(path, location)
            return []
        if not stat.S_ISDIR(mode):
            self._add_file(path, location)
            return []
        later: list[tuple[WirePath, str]] = []
        before = len(self.sources)
        for name, entry in _sorted_entries(location):
            is_link = entry.is_symlink()
            if is_link and not self._keep_links:
                self._leave_out((*path, name), _LINK)
                continue
            if not is_link and not (entry.is_file() or entry.is_dir()):
                self._leave_out((*path, name), "neither a file nor a folder")
                continue
            if later or entry.is_dir(follow_symlinks=False):
                later.append(((*path, name), entry.path))
            else:
                _check((*path, name))
                self._add_entry((*path, name), entry.path, is_link=is_link)
        if not later and len(self.sources) == before:
            file = OfferedFile(len(self.sources), path, 0, kind=FileKind.DIRECTORY)
            self.sources.append(Source(file))
        return later

    def _add_entry(self, path: WirePath, location: str, *, is_link: bool) -> None:
        try:
            if is_link:
                self._add_link(path, location)
            else:
                self._add_file(path, location)
        except FileNotFoundError:
            self._leave_out(path, _GONE)
        except OSError as exc:
            raise _denied(exc, "/".join(path)) from exc


class _PipeBeginner:
    """Opens a named pipe when its reading begins."""

    def __init__(self, location: str) -> None:
        self._location = location

    def __call__(self) -> BlockingChunks:
        return BlockingChunks(lambda: open_pipe(self._location), is_owned=True)


def _sorted_entries(location: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The entries of a folder by name, each with a name that travels and that no other has."""
    with os.scandir(location) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    taken: set[str] = set()
    for entry in entries:
        name = wire_name(entry.name)
        number = 0
        while (free := numbered(name, number)) in taken:
            number += 1
        taken.add(free)
        if free != entry.name:
            logger.info("%s travels as %s", show(entry.name), show(free))
        yield free, entry


def _check(path: WirePath) -> None:
    try:
        check_wire_path(path)
    except UnsafeName as exc:
        raise UploadError(f"cannot be sent: {exc}", file="/".join(path)) from exc


def _denied(exc: OSError, file: str) -> StorageAccessDenied:
    if isinstance(exc, FileNotFoundError):
        return StorageAccessDenied("there is no such file or folder", file=file)
    return StorageAccessDenied(f"cannot be read: {exc.strerror or exc}", file=file)


def media_type(name: str) -> str | None:
    """What kind of content a name promises; None where nothing is known."""
    return _media_type(os.path.splitext(name)[1].lower())


@lru_cache(maxsize=1024)
def _media_type(extension: str) -> str | None:
    kind, encoding = mimetypes.guess_type(f"name{extension}")
    return kind if encoding is None else None
