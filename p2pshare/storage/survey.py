"""What a folder has already of the files that are to come: names that are taken, and parts."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Final

from p2pshare.errors import SaveFailed, TransferError
from p2pshare.model import Conflict, FileKind, HeldBlocks, OfferedFile
from p2pshare.storage.beneath import Beneath, Folder
from p2pshare.storage.links import link_refusal
from p2pshare.storage.names import LocalNames, UnsafeName, check_wire_path
from p2pshare.storage.part import Part, is_resumable, part_key

MAX_RESUMED: Final = 64
"""Parts of earlier attempts that one job goes on with: two open files each."""


class Survey:
    """The names of a job's files in a folder, and what was found there."""

    def __init__(self, files: Mapping[int, OfferedFile], *, keep_hidden: bool, keep_links: bool) -> None:
        """Nothing happens before `look`."""
        self.files = files
        self.names: dict[int, tuple[str, ...]] = {}
        "The local path of every file that is not refused."
        self.refused: dict[int, TransferError] = {}
        self.skipped: dict[int, Path] = {}
        "Files that are not wanted, and what is there instead."
        self.lookalikes: set[int] = set()
        "Files of whose name and size a file is there."
        self.resumed: dict[int, Part] = {}
        self._keep_hidden = keep_hidden
        self._keep_links = keep_links

    def look(self, beneath: Beneath, conflict: Conflict, peer: str, stop: Event) -> list[HeldBlocks]:
        """Name the files, and find what is there; returns the good blocks of parts.

        They are hashed, which ``stop`` ends.
        """
        self._name_files()
        held: list[HeldBlocks] = []
        absent: set[tuple[str, ...]] = set()
        for index, path in self.names.items():
            file = self.files[index]
            if file.kind is FileKind.DIRECTORY or path[:-1] in absent:
                continue
            try:
                folder = beneath.folder(path[:-1], make=False)
            except OSError:  # not there; or in the way of a file that will say so when it comes
                absent.add(path[:-1])
                continue
            try:
                is_skipped = self._is_skipped(file, folder, path[-1], conflict)
            except OSError:  # likewise
                continue
            if not is_skipped and is_resumable(file) and len(self.resumed) < MAX_RESUMED:
                found = Part.resume(file, folder, path[-1], part_key(peer, file), stop=stop)
                if found is not None:
                    self.resumed[index], blocks = found
                    held.extend(blocks)
            if beneath.is_crowded:
                beneath.trim([part.folder for part in self.resumed.values()])
        return held

    def _name_files(self) -> None:
        names = LocalNames(keep_hidden=self._keep_hidden)
        for file in self.files.values():
            refusal: TransferError | None
            try:
                check_wire_path(file.path)
                refusal = link_refusal(file, keep_links=self._keep_links)
            except UnsafeName as exc:
                refusal = SaveFailed(f"a name that is not allowed: {exc}")
            if refusal is not None:
                self.refused[file.index] = refusal
            else:
                self.names[file.index] = names.add(file.path, is_folder=file.kind is FileKind.DIRECTORY)

    def _is_skipped(self, file: OfferedFile, folder: Folder, name: str, conflict: Conflict) -> bool:
        found = _stat(folder, name)
        if found is None:
            return False
        if conflict is Conflict.SKIP:
            self.skipped[file.index] = folder.path / name
            return True
        if file.kind is FileKind.FILE and stat.S_ISREG(found.st_mode) and found.st_size == file.size:
            self.lookalikes.add(file.index)
        return False

    def needed_space(self) -> int:
        """Bytes that are to come. A lookalike is not counted: it may be the file itself."""
        needed = 0
        for index in self.names:
            if index not in self.skipped and index not in self.lookalikes:
                size = self.files[index].size or 0
                part = self.resumed.get(index)
                needed += size - (min(part.allocated, size) if part is not None else 0)
        return needed


def _stat(folder: Folder, name: str) -> os.stat_result | None:
    try:
        return folder.stat(name)
    except FileNotFoundError:
        return None
