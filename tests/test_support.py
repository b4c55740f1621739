"""The test suite's own rules, tried on small suites of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFTEST = "from tests.support.leaks import *\nfrom tests.support.skips import *\n"
SKIPS = """
import pytest

@pytest.mark.skip(reason={reason!r})
def test_skips() -> None: ...
"""


def run_suite(folder: Path, source: str, ci: bool) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"CI": "true"} if ci else {})
    options = [
        "-p",
        "no:cacheprovider",
        "--confcutdir",
        str(folder),
        "-c",
        os.devnull,
        "--rootdir",
        str(folder),
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", *options, str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [
        ("I do not feel like it", False, 0),
        ("I do not feel like it", True, 1),
        ("only on the moon", True, 0),
        ("needs root", True, 1 if hasattr(os, "geteuid") and os.geteuid() == 0 else 0),
    ],
)
def test_a_skip_fails_in_ci(tmp_path: Path, reason: str, ci: bool, code: int) -> None:
    got, output = run_suite(tmp_path, SKIPS.format(reason=reason), ci)
    assert got == code, output
    assert code == 0 or f"skipped, which is a failure where CI is set: {reason}" in output


def test_a_module_that_skips_fails_in_ci(tmp_path: Path) -> None:
    source = "import pytest\npytest.importorskip('nonesuch')\ndef test_it() -> None: ...\n"
    got, output = run_suite(tmp_path, source, ci=True)
    assert got not in (0, 5), output


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    source = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it() -> None: assert False\n"
    assert run_suite(tmp_path, source, ci=True)[0] == 0


def test_no_test_is_a_failure(tmp_path: Path) -> None:
    assert run_suite(tmp_path, "", ci=True)[0] == 5


def test_a_task_that_is_left_fails_its_test(tmp_path: Path) -> None:
    source = """
import asyncio
import tests.support.leaks
tests.support.leaks.GRACE_S = 0.01
kept = []

async def forever() -> None:
    await asyncio.Event().wait()

async def test_leaves_a_task() -> None:
    kept.append(asyncio.create_task(forever()))

async def test_ends_its_task() -> None:
    kept.append(asyncio.create_task(asyncio.sleep(0)))

def test_is_not_async() -> None: ...
"""
    got, output = run_suite(tmp_path, source, ci=False)
    assert got == 1, output
    assert "still running after the test" in output
    assert "forever" in output
    assert "ERROR test_it.py::test_leaves_a_task" in output
    assert "3 passed, 1 error" in output
