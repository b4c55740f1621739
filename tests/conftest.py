"""What holds for every test: profiles of hypothesis, no silent skip in CI, no task left running.

No test may fail because a machine is slow: no profile has a deadline.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.leaks import no_task_is_left, pytest_collection_modifyitems
from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = [
    "no_task_is_left",
    "pytest_collection_modifyitems",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
]

_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _PATIENT, max_examples=100)
settings.register_profile("ci", _PATIENT, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("thorough", _PATIENT, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
