"""Digests of sources that nobody is sending at the moment: what HAVE? asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from p2pshare.errors import TransferError
from p2pshare.model import MIB, Extent, FileEnd
from p2pshare.storage.block_cache import BlockCache, Follower
from p2pshare.storage.reader import MAX_HASHED, PIECE_COST
from p2pshare.storage.reading import Pieces, pieces_of
from p2pshare.storage.sources import Source, StreamSource
from p2pshare.storage.threads import in_thread


async def file_digests(
    sources: Sequence[Source],
    indexes: Sequence[int],
    is_wanted: Callable[[], bool] = lambda: True,
    *,
    cache: BlockCache | None = None,
) -> list[FileEnd]:
    """Size and digest of files, as they are now; those that cannot be read (again) are left out.

    Asked now and then, ``is_wanted`` says whether to go on. What readers with the same ``cache`` have hashed
    is not read again, nor do they hash what is read here.
    """
    cache = cache or BlockCache(0)
    follower = cache.join(sources, indexes)
    ends: list[FileEnd] = []
    wanted = deque(sources[index] for index in indexes if not isinstance(sources[index], StreamSource))
    digester = _Digester(cache, follower, wanted, ends)
    try:
        while digester.is_at_work and is_wanted():
            await in_thread(digester.digest_some)
    finally:
        await in_thread(digester.close)
    return ends


class _Digester:
    """Reads files for nothing but their digests, in a thread."""

    def __init__(
        self, cache: BlockCache, follower: Follower, wanted: deque[Source], ends: list[FileEnd]
    ) -> None:
        self._cache = cache
        self._follower = follower
        self._wanted = wanted
        self._ends = ends
        self._file: Pieces | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether there is a file left."""
        return bool(self._wanted)

    def digest_some(self) -> None:
        """Go on, for as long as one may stay in a thread."""
        hashed = 0
        while self._wanted and hashed < MAX_HASHED:
            source = self._wanted[0]
            if self._file is None:
                self._file = pieces_of(source, {}, MIB, self._cache, self._follower)
            try:
                digest = self._cache.digest(source.file.index, source.file.size or 0)
                if digest is not None:
                    self._file.check()
                    piece: Extent | FileEnd | int = FileEnd(source.file.index, source.file.size or 0, digest)
                else:
                    piece = next(self._file)
            except TransferError:
                self._next_file()
                continue
            if isinstance(piece, FileEnd):
                self._ends.append(piece)
                self._next_file()
            elif isinstance(piece, Extent):
                hashed += len(piece.payload)
            hashed += PIECE_COST

    def _next_file(self) -> None:
        self._wanted.popleft()
        if self._file is not None:
            self._file.rest()
            self._file = None

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.rest()
        self._cache.leave(self._follower)
