"""Names of peers and rooms: which are allowed, when two are the same, how one is shown.

Pure. Names are chosen by strangers and end up in terminals and pages, so they can carry nothing that
moves a cursor, reorders text or hides.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_NAME = 64
"Characters (code points) in the name of a peer or a room."

_PEER_ID = re.compile(r"[0-9a-f]{20}")
_SECRET = re.compile(r"[0-9a-f]{32}")
_SHOWN = 120

# Letters and symbols that are printable by category and yet leave no mark: two names that differ only
# in these look the same. str.isprintable() refuses the rest (controls, bidi and zero-width characters).
_INVISIBLE = frozenset(
    chr(code)
    for code in (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    )
)


def name_problem(name: str) -> str | None:
    """Say why `name` cannot name a peer or a room; None when it can.

    Allowed: 1 to 64 characters, printable, in Unicode's NFC form, no space at either end.
    """
    if not 1 <= len(name) <= MAX_NAME:
        return f"must have 1 to {MAX_NAME} characters, has {len(name):,}"
    if not name.isprintable() or not _INVISIBLE.isdisjoint(name):
        return "holds a character that cannot be seen"
    if name != name.strip():
        return "begins or ends with a space"
    if not unicodedata.is_normalized("NFC", name):
        return "is not in Unicode's NFC form"
    return None


def name_key(name: str) -> str:
    """What two names share when a person would take them for the same: ``Bob`` and ``bob``."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def is_peer_id(text: str) -> bool:
    """Whether `text` has the form of a peer id: 20 lower-case hex digits."""
    return _PEER_ID.fullmatch(text) is not None


def is_secret(text: str) -> bool:
    """Whether `text` has the form of a resume secret: 32 lower-case hex digits."""
    return _SECRET.fullmatch(text) is not None


def peer_id_of(secret: str) -> str:
    """The id of the peer that holds `secret`.

    The id is a digest of the secret (80 bits of SHA-256), so a server that has just restarted, and
    remembers nobody, still knows who may come back under which id.
    """
    return hashlib.sha256(b"p2pshare signaling peer " + secret.encode("ascii")).hexdigest()[:20]


def show(text: str) -> str:
    r"""Quote what a stranger wrote, safe to print: at most 120 characters, controls as ``\u{1b}``."""
    shown = "".join(map(_show_character, text[: _SHOWN + 1]))
    return f"'{shown}'" if len(shown) <= _SHOWN else f"'{shown[: _SHOWN - 1]}…'"


def _show_character(char: str) -> str:
    is_plain = char.isprintable() and char not in _INVISIBLE and char not in "'\\"
    return char if is_plain else f"\\u{{{ord(char):x}}}"
