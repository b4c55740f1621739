"""One memory budget for all downloads of a process, shared by the links that have one running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pshare.model import MIB

if TYPE_CHECKING:
    from p2pshare.session.link import Link


class MemoryBudget:
    """Bytes of received but unstored data, divided equally among links with a running download."""

    def __init__(self, size: int = 32 * MIB) -> None:
        self.size = size
        self._links: set[Link] = set()

    def enter(self, link: Link) -> None:
        """A link has a download running; idempotent."""
        if link not in self._links:
            self._links.add(link)
            self._share()

    def leave(self, link: Link) -> None:
        """A link has none any more; idempotent."""
        if link in self._links:
            self._links.discard(link)
            self._share()

    def _share(self) -> None:
        for link in self._links:
            link.core.downloads.set_budget(self.size // len(self._links))


PROCESS_BUDGET: Final = MemoryBudget()
"""The default of every session."""
