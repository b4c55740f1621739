"""Nothing is left running: after an async test no task is left but the test's own.

Pytest's hook and fixture; tests/conftest.py imports them.
"""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

GRACE_S = 10.0
"Seconds in which a task that is already ending may end: only a leak ever takes them."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Async tests get the fixture, first of all: so it looks when the other fixtures are closed."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(_innermost(item.obj)):
            item.fixturenames.insert(0, "no_task_is_left")


def _innermost(test: object) -> object:
    """The function itself where hypothesis has wrapped it."""
    return getattr(getattr(test, "hypothesis", None), "inner_test", test)


@pytest_asyncio.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    async with watched():
        yield


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Fail where a task of the running loop is left that was not there before."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE_S)
    if left:
        pytest.fail("still running after the test:\n" + "\n".join(map(_stack, left)), pytrace=False)


def _stack(task: asyncio.Task[object]) -> str:
    out = io.StringIO()
    task.print_stack(file=out)
    return out.getvalue()
