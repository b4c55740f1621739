"""The secret of an installation: one, private, the same for all processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from p2pshare.storage import installation_secret
from p2pshare.storage.installation import source_id

PRINT_SECRET = """
import sys, pathlib
from p2pshare.storage.installation import installation_secret
sys.stdin.read(1)
print(installation_secret(pathlib.Path(sys.argv[1])).hex())
"""


def test_the_secret_lasts_and_is_private(tmp_path: Path) -> None:
    state = tmp_path / "not" / "there"
    secret = installation_secret(state)
    assert len(secret) == 32
    assert installation_secret(state) == secret
    (file,) = state.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert installation_secret(tmp_path / "other") != secret


def test_without_a_folder_it_lasts_as_long_as_the_process() -> None:
    assert installation_secret(None) == installation_secret(None)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PRINT_SECRET, str(tmp_path / "state")]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write(b"g")
        run.stdin.flush()
    secrets = {run.communicate()[0] for run in runs}
    assert secrets == {installation_secret(tmp_path / "state").hex().encode() + b"\n"}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["installation-secret"]


def test_a_damaged_secret_is_not_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "installation-secret").write_bytes(b"short")
    with pytest.raises(OSError, match="damaged"):
        installation_secret(tmp_path)


def test_an_id_tells_sources_apart_and_nothing_of_their_path() -> None:
    assert source_id(bytes(32), b"/a") == source_id(bytes(32), b"/", b"a")
    assert len(source_id(bytes(32), b"/a")) == 16
    assert source_id(bytes(32), b"/a") != source_id(bytes(32), b"/b")
    assert source_id(bytes(32), b"/a") != source_id(b"\1" * 32, b"/a")
