"""Whether a disk has room: before the first byte where sizes are known, and as it fills where not."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from p2pshare.errors import SaveFailed
from p2pshare.model import MIB

CHECK_EVERY: Final = 16 * MIB
"""Bytes of files of unknown size after which the disk is looked at again."""


def check_space(folder: Path, needed: int, reserve: int) -> None:
    """Raise SaveFailed, with the numbers, unless the disk keeps its reserve: 1 % of it, or so many bytes."""
    disk = shutil.disk_usage(folder)
    reserve = max(disk.total // 100, reserve)
    if disk.free < needed + reserve:
        cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise SaveFailed(
            f"{needed:,} bytes are needed and {reserve:,} are to stay free, the disk has {disk.free:,}"
        ) from cause


class GrowthWatch:
    """Looks at the disk again from time to time, for files whose size nobody knows."""

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder = folder
        self._reserve = reserve
        self._grown = CHECK_EVERY

    def grow(self, size: int) -> None:
        """So many bytes are about to be written. Raises SaveFailed where they no longer fit."""
        self._grown += size
        if self._grown >= CHECK_EVERY:
            self._grown = 0
            check_space(self._folder, size, self._reserve)
