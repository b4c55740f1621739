"""The names that a command makes up: its own, a room's; and how the addresses of a server are written."""

from __future__ import annotations

import getpass
import secrets
import socket
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from signaling.names import MAX_NAME, name_key, name_problem

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: none of i, l, o, u
_GROUPS: Final = 4
_GROUP: Final = 4


def random_room() -> str:
    """A room nobody guesses, and a person can type: 80 bits as ``k3vd-9qwm-1xtz-e7pa``."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def default_name() -> str:
    """Who we are in a room unless told: ``login@host``, in the form that signaling takes."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        login = "someone"
    return valid_name(f"{login}@{socket.gethostname().partition('.')[0]}")


def valid_name(text: str) -> str:
    """The nearest name that signaling takes."""
    text = unicodedata.normalize("NFC", text)
    kept = "".join(char for char in text if char == " " or name_problem(char) is None)
    name = kept.strip()[:MAX_NAME].strip()
    return name if name_problem(name) is None else "someone"


def numbered(name: str, number: int) -> str:
    """The name for the second, third... of the same name: ``alice@laptop-2``."""
    suffix = f"-{number}"
    return name[: MAX_NAME - len(suffix)] + suffix


def named(name: str, there: Iterable[str]) -> str | None:
    """Who of those that are there is meant: letter case does not count, as nowhere in a room."""
    return next((each for each in there if name_key(each) == name_key(name)), None)


def distinct(names: Iterable[str]) -> list[str]:
    """The names, each person's once."""
    kept: dict[str, str] = {}
    for name in names:
        kept.setdefault(name_key(name), name)
    return list(kept.values())


def web_address(url: str) -> str:
    """A signaling URL as people type it: ``http://192.0.2.7:8765`` for ``ws://192.0.2.7:8765/ws``."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
