"""Which offers are taken without asking, and which of their files: what the options of ``receive`` say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from p2pshare.events import AvailableFile, Offer
from p2pshare.session import Accept, AcceptRule, Decline
from p2pshare.session.accepting import Decision, Doorkeeper
from signaling.names import name_key

NO_RULE: Final = "not among what is taken here"
NO_FILE: Final = "no file of it is wanted here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is wanted of what is offered."""

    takes_all: bool = False
    "Everything that is wanted is taken without asking."
    asks: bool = True
    "What no rule takes is asked about; else it is declined."
    peers: Sequence[str] = ()
    "Patterns: offers of these peers are taken."
    media_types: Sequence[str] = ()
    "Patterns: offers of only such files are taken."
    max_peer_bytes: int | None = None
    "Taken by rule from one peer, as long as the command runs."
    only: Sequence[str] = ()
    "Patterns of the paths, or names, of the files that are wanted; empty: all."

    @property
    def has_rules(self) -> bool:
        """Whether some offers are taken by rule, and others not."""
        return bool(self.peers or self.media_types)


class Admission:
    """Decides about offers."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._rules = _rules(wishes)
        self._doorkeeper = Doorkeeper(self._policy, wishes.max_peer_bytes)

    async def decide(self, offer: Offer) -> Decision:
        """Take, with the files that are wanted; decline; or None: ask about those files (`wanted`)."""
        return await self._doorkeeper.decide(offer, None)

    def wanted(self, offer: Offer) -> tuple[AvailableFile, ...]:
        """The files that the options choose."""
        if not self._wishes.only:
            return offer.files
        return tuple(file for file in offer.files if self._is_chosen(file))

    def _is_chosen(self, file: AvailableFile) -> bool:
        names = (file.path.casefold(), file.name.casefold())
        return any(fnmatchcase(name, each.casefold()) for name in names for each in self._wishes.only)

    def _policy(self, offer: Offer) -> Decision:
        files = self.wanted(offer)
        if not files:
            return Decline(NO_FILE)
        seen = replace(offer, files=files, peer=name_key(offer.peer))
        if any(rule.fits(seen, None) for rule in self._rules):
            return Accept(files=files)
        return None if self._wishes.asks else Decline(NO_RULE)


def _rules(wishes: Wishes) -> list[AcceptRule]:
    """A rule for each peer. In a room, the letter case of names does not count."""
    if wishes.takes_all:
        return [AcceptRule()]
    if not wishes.has_rules:
        return []
    return [
        AcceptRule(peer=name_key(pattern), media_types=tuple(wishes.media_types))
        for pattern in wishes.peers or ["*"]
    ]
