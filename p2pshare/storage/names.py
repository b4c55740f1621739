"""Names of files: which may travel, and what they are called on this disk.

Three steps, all pure. The sender gives every name a form that travels (`wire_name`). The receiver refuses
what can only be an attack or a bug (`check_wire_path`), and calls the rest by names that are safe on every
platform alike (`LocalNames`): a name that Windows reserves is one on Linux too, where the file may go on to
a USB stick or a share.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from p2pshare.errors import show

MAX_NAME_BYTES: Final = 255
MAX_DEPTH: Final = 32
MAX_PATH_BYTES: Final = 1_024

PART_SUFFIX: Final = ".p2pshare-part"
JOURNAL_SUFFIX: Final = ".p2pshare-journal"

_OWN_NUMBERS: Final = 10
_MANY: Final = 1000
"""Numbers that each name tries for itself; further ones are the folder's, and none is tried twice.

Where many were needed already, a name tries one only.
"""

_DRIVE = re.compile(r"[A-Za-z]:")
_EXTENSION = re.compile(r"(\.tar)?\.[^. ]{1,16}$")
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
_NOT_ON_WINDOWS = frozenset('<>:"|?*')
_SEPARATORS = frozenset("/\\")


class UnsafeName(ValueError):
    """A peer named a file in a way that no honest program does."""


def check_wire_path(path: tuple[str, ...]) -> None:
    """Refuse a path that may not travel (PROTOCOL.md, OFFER): it is not rewritten, the file fails.

    Raises:
        UnsafeName: With the reason, and the component to blame in a form that is safe to print.
    """
    if not path:
        raise UnsafeName("the path is empty")
    if len(path) > MAX_DEPTH:
        raise UnsafeName(f"{len(path)} folders deep, at most {MAX_DEPTH} are allowed")
    size = len(path) - 1
    for name in path:
        reason = _refusal(name)
        if reason:
            raise UnsafeName(f"{show(name)} {reason}")
        size += len(name.encode())
    if size > MAX_PATH_BYTES:
        raise UnsafeName(f"the path has {size:,} bytes, at most {MAX_PATH_BYTES:,} are allowed")


def _refusal(name: str) -> str:
    """What is wrong with a component; empty where it may travel."""
    if not name:
        return "is empty"
    if name in (".", ".."):
        return "is not a name"
    if not _SEPARATORS.isdisjoint(name):
        return "contains a path separator"
    if "\0" in name:
        return "contains a NUL"
    if _DRIVE.match(name):
        return "begins like a drive"
    if name.isascii():  # the rest is true of it
        return f"has more than {MAX_NAME_BYTES} bytes" if len(name) > MAX_NAME_BYTES else ""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size > MAX_NAME_BYTES:
        return f"has more than {MAX_NAME_BYTES} bytes"
    if not unicodedata.is_normalized("NFC", name):
        return "is not in normal form C"
    return ""


# The sender's side ---------------------------------------------------------------------------------------


def wire_name(name: str) -> str:
    r"""The form in which a name of this disk travels; most travel as they are.

    ================================  ======================================================
    on this disk                      on the wire
    ================================  ======================================================
    bytes that are not UTF-8          each as ``%`` and two hexadecimal digits
    a lone surrogate (Windows)        U+FFFD, the replacement character
    decomposed letters (macOS)        composed (NFC)
    a backslash, a slash or NUL       ``_``
    a letter and a colon in front     the colon as ``_``: ``C:notes`` is ``C_notes``
    nothing, ``.`` and ``..``         ``_`` in place of each character, or one
    more than 255 bytes in this form  cut before the extension
    ================================  ======================================================
    """
    if not _refusal(name):
        return name
    name = "".join(map(_travelling, name))
    name = unicodedata.normalize("NFC", name)
    if _DRIVE.match(name):
        name = f"{name[0]}_{name[2:]}"
    if not name.strip("."):
        name = "_" * min(max(1, len(name)), 2)
    return shortened(name)


def _travelling(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python writes a byte that is not UTF-8
        return f"%{ord(char) - 0xDC00:02X}"
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    return "_" if char in _SEPARATORS or char == "\0" else char


# The receiver's side -------------------------------------------------------------------------------------


def safe_name(name: str, *, is_top: bool = False) -> str:
    """A permitted component as it is called on this disk, whatever the platform.

    What is invisible, reorders text, drives a terminal or means something to Windows becomes ``_``; so
    does a dot in front at the top of an offer, where hidden files are what programs start from.
    """
    if not name.isascii() or not name.isprintable() or not _NOT_ON_WINDOWS.isdisjoint(name):
        name = "".join("_" if _is_replaced(char) else char for char in name)
    kept = name.rstrip(". ")
    if unicodedata.category(name[-1]) == "Zs" or kept != name:
        kept = kept.rstrip()
        name = kept + "_" * (len(name) - len(kept))
    if is_top and name.startswith("."):
        name = "_" + name[1:]
    if _RESERVED.match(name):
        name = "_" + name
    if name.endswith((PART_SUFFIX, JOURNAL_SUFFIX)):  # those are ours
        name += "_"
    return shortened(name)


@lru_cache(maxsize=4096)
def _is_replaced(char: str) -> bool:
    if char in _NOT_ON_WINDOWS or char in _SEPARATORS:
        return True
    if char.isascii():
        return not char.isprintable()
    # What show() escapes cannot be told apart, or deceives; blanks of all widths are only blanks.
    return unicodedata.category(char) != "Zs" and show(f"a{char}") != f"'a{char}'"


def folded(name: str) -> str:
    """Equal for two names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(name: str, number: int) -> str:
    """The name with " (1)" before its extension, at most 255 bytes; as it is for 0."""
    return _cut(name, f" ({number})", MAX_NAME_BYTES) if number else name


def shortened(name: str, size: int = MAX_NAME_BYTES) -> str:
    """At most so many bytes of UTF-8: the middle is cut, before the extension."""
    if len(name) <= size // 4 or len(name.encode()) <= size:
        return name
    return _cut(name, "", size)


def _cut(name: str, addition: str, size: int) -> str:
    found = _EXTENSION.search(name)
    extension = found.group() if found and found.start() else ""
    stem = name[: len(name) - len(extension)]
    room = size - len(f"{addition}{extension}".encode())
    if room < 1:
        stem, extension, room = name, "", size - len(addition.encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ") or "_"
    return f"{stem}{addition}{extension}"


class LocalNames:
    """The names that the files of one job get on this disk: no two the same, also where case is ignored."""

    def __init__(self, *, keep_hidden: bool = False) -> None:
        self._keep_hidden = keep_hidden
        self._folders: dict[tuple[str, ...], tuple[str, ...]] = {(): ()}  # on the wire -> on this disk
        self._taken: set[tuple[tuple[str, ...], str]] = set()
        self._next: dict[tuple[str, ...], int] = {}  # in each folder, a number that no name there has had

    def add(self, path: tuple[str, ...], *, is_folder: bool = False) -> tuple[str, ...]:
        """The local path of the next file, or empty folder, of the job."""
        if is_folder:
            return self._folder(path)
        return self._free(self._folder(path[:-1]), path[-1])

    def _folder(self, path: tuple[str, ...]) -> tuple[str, ...]:
        local = self._folders.get(path)
        if local is None:
            local = self._folders[path] = self._free(self._folder(path[:-1]), path[-1])
        return local

    def _free(self, parent: tuple[str, ...], name: str) -> tuple[str, ...]:
        safe = safe_name(name, is_top=not parent and not self._keep_hidden)
        number = 0
        while (key := (parent, folded(numbered(safe, number)))) in self._taken:
            number += 1
            own = _OWN_NUMBERS if self._next.get(parent, 0) < _MANY else 1
            if number >= own:  # of 100,000 equal names each would try all numbers before its own
                number = self._next[parent] = max(number, self._next.get(parent, 0) + 1)
        self._taken.add(key)
        return (*parent, numbered(safe, number))
