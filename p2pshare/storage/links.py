"""Symbolic links in an offer: which may travel, and as what they are made here.

A link that leads out of the folder it arrives in would let whoever sent it name any file of this machine. So
its target is relative, goes up at its front only, and no higher than that folder; then it holds whatever the
names in it turn out to be, other links of the same kind included. Nothing is ever written through a link.
"""

from __future__ import annotations

from typing import Final

from p2pshare.errors import OfferDeclined, SaveFailed, TransferError, show
from p2pshare.model import FileKind, OfferedFile
from p2pshare.storage.names import UnsafeName, check_wire_path, safe_name, wire_name

MAX_TARGET_BYTES: Final = 1_024
_UP: Final = ".."


def check_link(path: tuple[str, ...], target: str | None) -> None:
    """Refuse a link that could lead out of the folder in which the offer's files are stored.

    Raises:
        UnsafeName: With the reason, and what is to blame in a form that is safe to print.
    """
    if not target:
        raise UnsafeName("a link to nothing")
    names = target.split("/")
    if not names[0]:
        raise UnsafeName(f"a link to {show(target)}, which is not relative")
    ups, below = _split(names)
    if ups > len(path) - 1:
        raise UnsafeName(f"a link to {show(target)}, out of the folder")
    if _UP in below:
        raise UnsafeName(f"a link to {show(target)}: up after a name")
    if below:
        try:
            check_wire_path(tuple(below))
        except UnsafeName as exc:
            raise UnsafeName(f"a link to {show(target)}: {exc}") from None
    if len(target.encode()) > MAX_TARGET_BYTES:
        raise UnsafeName(f"the link's target has more than {MAX_TARGET_BYTES:,} bytes")


def wire_target(path: tuple[str, ...], text: str) -> str:
    """The form in which the text of a link of this disk travels, which is at this path of the offer.

    What says nothing (``.``, a slash too many) is left out; names are as `wire_name` has them.
    Raises:
        UnsafeName: No receiver would make it.
    """
    if text.startswith("/"):
        raise UnsafeName(f"a link to {show(text)}, which is not relative")
    names = [name for name in text.split("/") if name not in ("", ".")]
    target = "/".join(name if name == _UP else wire_name(name) for name in names)
    check_link(path, target)
    return target


def link_refusal(file: OfferedFile, *, keep_links: bool) -> TransferError | None:
    """Why an offered link is not made here; None for what is no link, and for one that is made."""
    if file.kind is not FileKind.LINK:
        return None
    if not keep_links:
        return OfferDeclined("a symbolic link, and links are not wanted here")
    try:
        check_link(file.path, file.target)
    except UnsafeName as exc:
        return SaveFailed(f"a link that is not allowed: {exc}")
    return None


def local_target(path: tuple[str, ...], target: str, *, keep_hidden: bool) -> str:
    """What a permitted link at this path is made to stand for here: its names as files get them, too."""
    ups, below = _split(target.split("/"))
    is_top = ups == len(path) - 1 and not keep_hidden
    return "/".join(
        [_UP] * ups + [safe_name(name, is_top=is_top and at == 0) for at, name in enumerate(below)]
    )


def _split(names: list[str]) -> tuple[int, list[str]]:
    """How often a target goes up at its front, and what comes after."""
    ups = 0
    while ups < len(names) and names[ups] == _UP:
        ups += 1
    return ups, names[ups:]
