"""Taking what peers offer without asking a person: by rules, or by a function of the program's own."""

from __future__ import annotations

import inspect
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from p2pshare.errors import show
from p2pshare.events import AvailableFile, Offer
from p2pshare.model import Conflict, ErrorCode, total_size

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accept:
    """Take an offer."""

    files: Sequence[AvailableFile] | None = None
    "Some of its files; None: all."
    save_to: str | os.PathLike[str] | None = None
    "The folder; None: the session's ``download_dir``."
    conflict: Conflict = Conflict.RENAME
    keep_executable: bool = False
    keep_links: bool = False


@dataclass(frozen=True, slots=True)
class Decline:
    """Refuse an offer."""

    reason: str = ""
    code: int = ErrorCode.DECLINED


Decision = Accept | Decline | None
"""None: ask, which leaves the offer to whoever hears `FileOffered`."""


@dataclass(frozen=True, slots=True)
class AcceptRule:
    """Offers that fit all of this are taken. Names and types are patterns with ``*`` and ``?``."""

    peer: str = "*"
    room: str = "*"
    "The room that the session is in; attached connections are in none, which only ``*`` fits."
    max_size: int | None = None
    "Bytes of all files together; with a limit, an offer with a file of unknown size does not fit."
    max_files: int | None = None
    names: tuple[str, ...] = ("*",)
    "Every file's name fits one of these; upper and lower case are the same."
    media_types: tuple[str, ...] = ()
    "Every file's type, as its sender says, fits one of these; empty: whatever it is."
    then: Accept = Accept()
    "Where the files go."

    def fits(self, offer: Offer, room: str | None) -> bool:
        """Whether the rule is about an offer."""
        if not fnmatchcase(offer.peer, self.peer):
            return False
        if self.room != "*" and (room is None or not fnmatchcase(room, self.room)):
            return False
        if self.max_files is not None and len(offer.files) > self.max_files:
            return False
        if self.max_size is not None and (offer.size is None or offer.size > self.max_size):
            return False
        return all(self._fits_file(file) for file in offer.files)

    def _fits_file(self, file: AvailableFile) -> bool:
        name, kind = file.name.casefold(), (file.file.media_type or "").casefold()
        if not any(fnmatchcase(name, pattern.casefold()) for pattern in self.names):
            return False
        return not self.media_types or any(fnmatchcase(kind, each.casefold()) for each in self.media_types)


AcceptPolicy = Sequence[AcceptRule] | Callable[[Offer], Decision | Awaitable[Decision]] | None
"""None: ask, always."""


class Doorkeeper:
    """Applies a session's policy, and keeps count of what it has let in."""

    def __init__(self, policy: AcceptPolicy, max_peer_bytes: int | None) -> None:
        self._policy = policy
        self._max_peer_bytes = max_peer_bytes
        self._taken: Counter[str] = Counter()

    async def decide(self, offer: Offer, room: str | None) -> Decision:
        """What to do with an offer. A function that raises is logged, and decides nothing."""
        policy = self._policy
        if policy is None:
            return None
        if callable(policy):
            decision = await _ask(policy, offer)
        else:
            decision = next((rule.then for rule in policy if rule.fits(offer, room)), None)
        return self._within_quota(offer, decision)

    def _within_quota(self, offer: Offer, decision: Decision) -> Decision:
        if not isinstance(decision, Accept) or self._max_peer_bytes is None:
            return decision
        files = offer.files if decision.files is None else decision.files
        size = total_size(file.size for file in files)
        if size is None or self._taken[offer.peer] + size > self._max_peer_bytes:
            return Decline(f"more than {self._max_peer_bytes:,} bytes in all from one peer")
        self._taken[offer.peer] += size
        return decision


async def _ask(policy: Callable[[Offer], Decision | Awaitable[Decision]], offer: Offer) -> Decision:
    try:
        decision = policy(offer)
        return await decision if inspect.isawaitable(decision) else decision
    except Exception:  # the program's own function: its faults must not reach the link
        logger.exception("deciding on the offer of %s failed: it is left to be asked about", show(offer.peer))
        return None
