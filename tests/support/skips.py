"""In continuous integration (``CI`` is set) nothing skips in silence: a skipped test is a failed one.

Excepted are reasons that hold for the platform (`only_on`), and, where the tests do not run as root, what
the machine lacks (`tests.support.needs`): nothing could be installed or mounted there.
Pytest's hooks; tests/conftest.py imports them.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


def may_skip(reason: str) -> bool:
    """Whether a test may skip for this reason."""
    if not os.environ.get("CI"):
        return True
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return reason.startswith("only on ") or (reason.startswith("needs ") and not is_root)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test that skipped; an expected failure (xfail) is none."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge a whole module that skipped (importorskip, pytest.skip(allow_module_level=True))."""
    report = yield
    _judge(report)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped":
        return
    message = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = message.removeprefix("Skipped: ")
    if not may_skip(reason):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure where CI is set: {reason}"
