"""A file on its way: a hidden part file beside its target and, where it can be resumed, a journal.

Every call here waits for the disk and belongs into a thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from threading import Event

from blake3 import blake3

from p2pshare.errors import IntegrityError, SaveFailed, show
from p2pshare.model import BLOCK_SIZE, MIB, FileEnd, HeldBlocks, OfferedFile, Payload
from p2pshare.storage import kernel
from p2pshare.storage.beneath import Folder
from p2pshare.storage.journal import Journal
from p2pshare.storage.locks import lock
from p2pshare.storage.names import JOURNAL_SUFFIX, MAX_NAME_BYTES, PART_SUFFIX, shortened
from p2pshare.storage.positioned import by_block, pread, write_all

logger = logging.getLogger(__name__)

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL


def is_resumable(file: OfferedFile) -> bool:
    """Whether a part of it is worth keeping: its sender can name it again, and it is more than a block."""
    return file.source_id is not None and file.size is not None and file.size > BLOCK_SIZE


def part_key(peer: str, file: OfferedFile) -> str:
    """What tells this part from others of the same name: who sends it, from what."""
    hasher = blake3(peer.encode(errors="surrogatepass") + b"\0")
    hasher.update(file.source_id or "/".join(file.path).encode())
    return hasher.hexdigest(length=8)


class Part:
    """One file that is being written."""

    def __init__(self, file: OfferedFile, folder: Folder, name: str, key: str, fd: int) -> None:
        self.file = file
        self.folder = folder
        self.name = name
        "What it is to be called in its folder, unless that is taken."
        self.fd = fd
        self.size = 0
        "Where the bytes written so far end."
        self.stop = Event()
        "Set by whoever does not want to wait until gigabytes are hashed: what is at it raises an OSError."
        self._key = key
        self._journal: Journal | None = None
        self._hasher = blake3()
        self._hashed_to = 0
        self._buffer = bytearray()
        self._mark = 0, blake3()  # the digest so far as it was at the end of the last whole block
        self._block = blake3()
        self._block_to = -1  # up to where the block at hand is hashed, from its start
        self._digests: dict[int, bytes] = {}  # of the blocks that are here

    @property
    def part_name(self) -> str:
        """The name of the part file."""
        return _hidden(self.name, self._key, PART_SUFFIX)

    @property
    def journal_name(self) -> str:
        """The name of the journal."""
        return _hidden(self.name, self._key, JOURNAL_SUFFIX)

    @property
    def allocated(self) -> int:
        """Bytes of the disk that it takes already."""
        found = os.fstat(self.fd)
        return getattr(found, "st_blocks", 0) * 512 or found.st_size

    @property
    def is_resumable(self) -> bool:
        """Whether a later attempt can go on with it."""
        return self._journal is not None

    @property
    def held(self) -> list[HeldBlocks]:
        """The whole blocks that are here, where it can be gone on with: written, and noted in the journal."""
        runs: list[tuple[int, list[bytes]]] = []
        for block in sorted(self._digests):
            if runs and runs[-1][0] + len(runs[-1][1]) == block:
                runs[-1][1].append(self._digests[block])
            else:
                runs.append((block, [self._digests[block]]))
        return [HeldBlocks(self.file.index, first, tuple(digests)) for first, digests in runs]

    @classmethod
    def create(cls, file: OfferedFile, folder: Folder, name: str, key: str) -> Part:
        """Begin a file, in place of what an attempt before left that cannot be gone on with.

        Raises:
            OSError: It cannot be made; nothing is left of it.
        """
        part = cls._begin(file, folder, name, key)
        if part is None:  # another job is at the same file
            key = secrets.token_hex(8)
            part = cls(file, folder, name, key, _new_part(folder, name, key))
        try:
            if file.size is not None and file.size > MIB:
                kernel.fallocate(part.fd, file.size)
            if is_resumable(file):
                with contextlib.suppress(FileNotFoundError):
                    folder.unlink(part.journal_name)
                part._journal = Journal(folder.open(part.journal_name, _NEW | os.O_APPEND))
                part._journal.begin(file)
        except OSError:
            part.discard()
            raise
        return part

    @classmethod
    def _begin(cls, file: OfferedFile, folder: Folder, name: str, key: str) -> Part | None:
        """A part by the name that a later attempt looks for; None where another job has it."""
        try:
            fd = _new_part(folder, name, key)
        except FileExistsError:
            if not _remove_stale(folder, name, key):
                return None
            try:
                fd = _new_part(folder, name, key)
            except FileExistsError:
                return None
        if lock(fd) and _has_name(fd, folder, _hidden(name, key, PART_SUFFIX)):
            return cls(file, folder, name, key, fd)
        os.close(fd)  # another job took it for a stale one, before it was locked
        return None

    @classmethod
    def resume(
        cls, file: OfferedFile, folder: Folder, name: str, key: str, *, stop: Event | None = None
    ) -> tuple[Part, list[HeldBlocks]] | None:
        """Go on with what an earlier attempt left: the part, and its good blocks; None where there are none.

        The blocks are read and hashed. Those from the start on go into the digest of the whole file at the
        same time, so that they need not be read again. What nobody can go on with is removed.
        """
        try:
            part = cls(file, folder, name, key, folder.open(_hidden(name, key, PART_SUFFIX), os.O_RDWR))
        except OSError as exc:
            if isinstance(exc, FileNotFoundError):  # a crash may have come between the file and its journal
                with contextlib.suppress(OSError):
                    folder.unlink(_hidden(name, key, JOURNAL_SUFFIX))
            return None
        part.stop = stop or part.stop
        try:
            if _is_ours(part.fd) and lock(part.fd) and _has_name(part.fd, folder, part.part_name):
                held = part._find_good_blocks()
                if held:
                    return part, held
                part.discard()
        except OSError as exc:
            logger.debug("cannot go on with %s: %s", show(part.part_name), exc.strerror)
        part.close()
        return None

    def _find_good_blocks(self) -> list[HeldBlocks]:
        try:
            self._journal = Journal(self.folder.open(self.journal_name, os.O_RDWR | os.O_APPEND))
        except FileNotFoundError:
            return []
        if _is_ours(self._journal.fd) and self._journal.read(self.file):
            self._prove(self._journal.digests)
        return self.held

    def _prove(self, claimed: Mapping[int, bytes]) -> None:
        """Hash the blocks that a journal claims: those that it is right about are here."""
        assert self.file.size is not None
        for block in sorted(claimed):
            self._check_stop()
            start = block * BLOCK_SIZE
            length = min(BLOCK_SIZE, self.file.size - start)
            payload = pread(self.fd, length, start)
            if len(payload) < length or blake3(payload).digest() != claimed[block]:
                continue
            if start == self._hashed_to:
                self._hasher.update(payload)
                self._hashed_to += length
            self.size = start + length
            self._digests[block] = claimed[block]
        if self._hashed_to % BLOCK_SIZE == 0:
            self._mark = self._hashed_to, self._hasher.copy()

    # Writing -------------------------------------------------------------------------------------------

    def write(self, offset: int, payloads: Sequence[Payload]) -> int:
        """Write consecutive bytes; returns how many.

        Raises:
            OSError: Of the disk.
            SaveFailed: There are more bytes than were declared.
        """
        length = sum(map(len, payloads))
        if self.file.size is not None and offset + length > self.file.size:
            raise SaveFailed("more bytes than its sender declared")
        self._hash_up_to(offset)
        if self._journal is None:
            self._write(offset, payloads)
        else:  # block by block: whenever it ends, one block at most is here that the journal does not have
            for start, of_block in by_block(payloads, offset):
                self._write(start, of_block)
        return length

    def _write(self, offset: int, payloads: Sequence[Payload]) -> None:
        write_all(self.fd, payloads, offset)
        for payload in self._in_few(payloads):
            if self._journal is None:
                self._hasher.update(payload)
            else:
                self._hash_blocks(self._journal, payload, offset)
            offset += len(payload)
        self.size = max(self.size, offset)
        self._hashed_to = offset

    def _in_few(self, payloads: Sequence[Payload]) -> Iterator[Payload]:
        """The same bytes in pieces of about a block, each good until the next.

        Hashing gives up the interpreter's lock, piece by piece, and a busy event loop is slow to give it
        back. One buffer serves them all: a new one each time costs more in page faults than the copying.
        """
        if len(payloads) == 1:
            yield payloads[0]
            return
        filled = 0
        for payload in payloads:
            if len(self._buffer) < filled + len(payload):
                yield memoryview(self._buffer)[:filled]
                filled = 0
            if len(self._buffer) < len(payload):
                self._buffer = bytearray(max(BLOCK_SIZE, len(payload)))
            self._buffer[filled : filled + len(payload)] = payload
            filled += len(payload)
        yield memoryview(self._buffer)[:filled]

    def _hash_up_to(self, offset: int) -> None:
        """Bring the whole file's digest up to a place, by what is in the file there already."""
        if offset < self._hashed_to:  # what came in part comes again; or a block that was held is replaced
            end, hasher = self._mark if self._mark[0] <= offset else (0, blake3())
            self._mark = end, hasher
            self._hasher, self._hashed_to = hasher.copy(), end
        while self._hashed_to < offset:
            self._check_stop()
            payload = pread(self.fd, min(MIB, offset - self._hashed_to), self._hashed_to)
            if not payload:
                raise SaveFailed("the file was truncated by someone else")
            self._hasher.update(payload)
            self._hashed_to += len(payload)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def _hash_blocks(self, journal: Journal, payload: Payload, offset: int) -> None:
        """Hash the blocks and the whole, and note in the journal each block that is whole: it is written."""
        assert self.file.size is not None
        view = memoryview(payload)
        while view:
            start = offset - offset % BLOCK_SIZE
            end = min(start + BLOCK_SIZE, self.file.size)
            piece = view[: end - offset]
            block = start // BLOCK_SIZE
            self._digests.pop(block, None)
            self._hasher.update(piece)
            if offset == start:
                self._block, self._block_to = blake3(), start
            if offset == self._block_to:  # else begun in the middle: it cannot be vouched for
                self._block.update(piece)
                self._block_to += len(piece)
                if self._block_to == end:
                    self._digests[block] = self._block.digest()
                    journal.add(block, self._digests[block])
            offset += len(piece)
            if offset == end:
                self._mark = end, self._hasher.copy()
            view = view[len(piece) :]

    def verify(self, end: FileEnd) -> None:
        """The end is here: is it what the sender read? Raises IntegrityError, SaveFailed, OSError."""
        self._hash_up_to(end.size)
        if self.size != end.size or self._hasher.digest() != end.digest:
            raise IntegrityError
        if self.is_resumable:  # of an earlier attempt's file the end is not known
            os.ftruncate(self.fd, end.size)

    def seal(self, mode: int) -> None:
        """Give it its time and mode, and make its bytes last. Raises OSError."""
        if self.file.mtime_ns is not None:
            with contextlib.suppress(OSError, OverflowError):  # a time that this file system cannot hold
                self._set_time(self.file.mtime_ns)
        if hasattr(os, "fchmod"):
            os.fchmod(self.fd, mode)
        _sync(self.fd)

    def _set_time(self, mtime_ns: int) -> None:
        where = self.fd if os.utime in os.supports_fd else self.folder.path / self.part_name
        os.utime(where, ns=(mtime_ns, mtime_ns))

    # Ending --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the files, and leave them where they are; idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        if self._journal is not None and self._journal.fd >= 0:
            os.close(self._journal.fd)
            self._journal.fd = -1

    def remove_journal(self) -> None:
        """The file is in place: nothing is left to go on with."""
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self.folder.unlink(self.journal_name)

    def discard(self) -> None:
        """Close and remove it, with its journal."""
        self.close()
        for name in (self.part_name, self.journal_name)[: 1 + (self._journal is not None)]:
            try:
                self.folder.unlink(name)
            except FileNotFoundError:
                pass
            except OSError as exc:
                logger.warning("cannot remove %s: %s", show(name), exc.strerror)


def _hidden(name: str, key: str, suffix: str) -> str:
    addition = f".{key}{suffix}"
    return f".{shortened(name, MAX_NAME_BYTES - 1 - len(addition))}{addition}"


def _new_part(folder: Folder, name: str, key: str) -> int:
    return folder.open(_hidden(name, key, PART_SUFFIX), _NEW)


def _is_ours(fd: int) -> bool:
    """A plain file of this user's with no second name: writing to it changes nothing else."""
    found = os.fstat(fd)
    is_own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and is_own


def _has_name(fd: int, folder: Folder, name: str) -> bool:
    """Whether the name still stands for the open file: its last owner may have removed it meanwhile."""
    try:
        return os.path.samestat(folder.stat(name), os.fstat(fd))
    except FileNotFoundError:
        return False


def _remove_stale(folder: Folder, name: str, key: str) -> bool:
    """Remove a part that nobody works on; False where somebody does, or where it is none of ours."""
    part_name = _hidden(name, key, PART_SUFFIX)
    try:
        fd = folder.open(part_name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not (_is_ours(fd) and lock(fd) and _has_name(fd, folder, part_name)):
            return False
        folder.unlink(part_name)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


_sync = getattr(os, "fdatasync", os.fsync)
