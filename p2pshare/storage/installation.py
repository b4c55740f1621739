"""The secret of this installation, from which the ids of sources are made.

A peer learns from a `source_id` that two offers come from the same file, and nothing of its path.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from blake3 import blake3

SECRET_BYTES: Final = 32
SOURCE_ID_BYTES: Final = 16
_FILE_NAME = "installation-secret"

_process_secret = secrets.token_bytes(SECRET_BYTES)


def installation_secret(state_dir: Path | None) -> bytes:
    """The secret kept in a folder, made on first use; without a folder one that lasts as long as the process.

    Processes that start at once agree: the first to give its file the name wins, the others read it.
    Raises:
        OSError: The folder cannot be made, read or written.
    """
    if state_dir is None:
        return _process_secret
    path = state_dir / _FILE_NAME
    secret = _read(path)
    if secret is None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _publish(path)
        secret = _read(path)
    if secret is None:
        raise OSError(f"{_FILE_NAME} is damaged: remove it, and what was broken off starts over")
    return secret


def _read(path: Path) -> bytes | None:
    """The secret, or None where there is none. A damaged one is None too, and stays for a person to see."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    return secret if len(secret) == SECRET_BYTES else None


def _publish(path: Path) -> None:
    """Make a secret and give it its name, whole or not at all, unless another process was first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        try:
            os.write(fd, secrets.token_bytes(SECRET_BYTES))
            os.fsync(fd)
        finally:
            os.close(fd)
        with contextlib.suppress(FileExistsError):
            if os.name == "nt":
                os.rename(draft, path)  # never replaces there
            else:
                os.link(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def source_id(secret: bytes, *place: bytes) -> bytes:
    """What names a source at its sender: ``place`` is the real path, or what else tells it from others."""
    hasher = blake3(key=secret)
    for part in place:
        hasher.update(part)
    return hasher.digest(length=SOURCE_ID_BYTES)
