"""Blocks of an upload's files in memory, for recipients that keep pace: read from disk once, hashed once.

Each reader of the upload is a `Follower`, with a place in the sequence of all its files. Who comes to a block
first reads it, and hashes it into the digest of its file; who comes meanwhile waits, who comes a little later
finds it here. What nobody is about to want is not kept: a reader that is alone, or far ahead of all others,
leaves nothing behind, and one that has fallen back reads for itself.

Called from the threads that read. No lock is held while a disk is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from threading import Event, Lock
from typing import Final

from blake3 import blake3

from p2pshare.model import BLOCK_SIZE, MIB
from p2pshare.storage.sources import Source

_RESTING: Final = -1


class Block:
    """The bytes of one block, and their digest where somebody wanted it."""

    __slots__ = ("_digest", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the block."""
        if self._digest is None:
            self._digest = blake3(self.payload).digest()
        return self._digest


class Follower:
    """One reader: how far it is."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = _RESTING
        "The byte that it wants next, counted through all files; `_RESTING` while it wants none."


class _FileHash:
    """The digest of a file, as far as anybody has read it."""

    __slots__ = ("hasher", "size")

    def __init__(self) -> None:
        self.hasher = blake3()
        self.size = 0


class _Load:
    """A block that is being read."""

    __slots__ = ("block", "has_ended", "of_file")

    def __init__(self, of_file: _FileHash | None) -> None:
        self.block: Block | None = None
        self.of_file = of_file
        "The digest that it goes into; None where that is known already."
        self.has_ended: Event | None = None
        "Made by the first who waits."


_Place = tuple[int, int]
"""The number of a file, and of a block in it."""


class BlockCache:
    """The blocks that readers of one upload share. Digests of whole files stay, for who comes later."""

    def __init__(self, size: int = 32 * MIB) -> None:
        """Keep at most ``size`` bytes; with 0 nothing is kept."""
        self.size = size
        self.blocks_read = 0
        "Blocks that were read from a disk."
        self.blocks_shared = 0
        "Blocks that a reader took which another had read."
        self.in_use = 0
        "Bytes that are kept now."
        self._lock = Lock()
        self._starts: Sequence[int] = ()
        self._followers: set[Follower] = set()
        self._blocks: dict[_Place, Block] = {}  # the oldest first
        self._loads: dict[_Place, _Load] = {}
        self._hashes: dict[int, _FileHash] = {}
        self._digests: dict[int, bytes] = {}

    def join(self, sources: Sequence[Source], selection: Sequence[int]) -> Follower:
        """A reader comes, which selects from sources that are the same for all. It ends with `leave`."""
        follower = Follower()
        with self._lock:
            if len(self._starts) < len(sources):
                self._starts = [0, *accumulate(source.file.size or 0 for source in sources)]
            follower.at = self._starts[selection[0]] if selection else _RESTING
            self._followers.add(follower)
        return follower

    def rest(self, follower: Follower) -> None:
        """A reader pauses: nothing is kept for it until it goes on."""
        with self._lock:
            follower.at = _RESTING
            self._drop_unwanted()

    def leave(self, follower: Follower) -> None:
        """A reader ends; idempotent."""
        with self._lock:
            self._followers.discard(follower)
            self._drop_unwanted()

    def block(self, follower: Follower, index: int, number: int, read: Callable[[], bytes]) -> Block:
        """A block of a file: from here, or by ``read``, which raises what goes wrong.

        The blocks of a file are asked for from its start on, none is left out.
        """
        place = (index, number)
        offset = self._starts[index] + number * BLOCK_SIZE
        while True:
            with self._lock:
                follower.at = offset
                block = self._blocks.get(place)
                if block is not None:
                    self._take(follower, place, offset, block)
                    return block
                load = self._loads.get(place)
                if load is None:
                    load = self._loads[place] = _Load(self._hash_of(index))
                    break
                if load.has_ended is None:
                    load.has_ended = Event()
            load.has_ended.wait()
            block = load.block
            if block is not None:
                with self._lock:
                    self._take(follower, place, offset, block)
                return block
        try:
            block = Block(read())
            if load.of_file is not None and load.of_file.size == number * BLOCK_SIZE:
                # Nobody else is at this block, and the digest is at no other one.
                load.of_file.hasher.update(block.payload)
                load.of_file.size += len(block.payload)
            load.block = block
        finally:
            with self._lock:
                del self._loads[place]
                if load.block is not None:
                    self.blocks_read += 1
                    follower.at = offset + len(load.block.payload)
                    self._keep(place, offset, load.block)
            if load.has_ended is not None:
                load.has_ended.set()
        return block

    def digest(self, index: int, size: int) -> bytes | None:
        """The digest of a whole file that has so many bytes; None where it has not been read to its end."""
        with self._lock:
            digest = self._digests.get(index)
            of_file = self._hashes.get(index)
            if digest is None and of_file is not None and of_file.size == size:
                digest = self._digests[index] = of_file.hasher.digest()
                del self._hashes[index]
            return digest

    def _hash_of(self, index: int) -> _FileHash | None:
        if index in self._digests:
            return None
        of_file = self._hashes.get(index)
        if of_file is None:
            of_file = self._hashes[index] = _FileHash()
        return of_file

    def _take(self, follower: Follower, place: _Place, offset: int, block: Block) -> None:
        self.blocks_shared += 1
        follower.at = offset + len(block.payload)
        if not self._is_wanted(offset, len(block.payload)):
            self._drop(place)

    def _keep(self, place: _Place, offset: int, block: Block) -> None:
        size = len(block.payload)
        if size > self.size or not self._is_wanted(offset, size):
            return
        while self.in_use + size > self.size:
            self._drop(next(iter(self._blocks)))
        self._blocks[place] = block
        self.in_use += size

    def _drop(self, place: _Place) -> None:
        block = self._blocks.pop(place, None)
        if block is not None:
            self.in_use -= len(block.payload)

    def _is_wanted(self, offset: int, size: int) -> bool:
        """Whether somebody comes by so soon that it, and all that is wanted before it, can be kept."""
        if len(self._followers) == 1:
            (only,) = self._followers
            if only.at > offset:
                return False
        nearest = max(0, offset + size - self.size)
        return any(nearest <= follower.at <= offset for follower in self._followers)

    def _drop_unwanted(self) -> None:
        if all(follower.at == _RESTING for follower in self._followers):
            self._blocks.clear()
            self.in_use = 0
        elif len(self._followers) == 1:
            for (index, number), block in list(self._blocks.items()):
                offset = self._starts[index] + number * BLOCK_SIZE
                if not self._is_wanted(offset, len(block.payload)):
                    self._drop((index, number))
