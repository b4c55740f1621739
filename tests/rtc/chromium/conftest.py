"""One browser for the folder, on one event loop; a page and a connection of ours for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.rtc.chromium.peer import ChromiumPeer, new_peer
from tests.rtc.datapath.peers import Incoming, Pc, ours
from tests.support.chromium import running_browser
from tests.support.leaks import watched


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="package")
async def no_task_is_left(browser: Browser) -> AsyncIterator[None]:
    """As for every test, on the loop of this folder; the browser's own tasks are there before."""
    async with watched():
        yield


@pytest_asyncio.fixture(loop_scope="package")
async def peer(browser: Browser) -> AsyncIterator[ChromiumPeer]:
    async with new_peer(browser) as peer:
        yield peer


@pytest_asyncio.fixture(loop_scope="package")
async def pc() -> AsyncIterator[Pc]:
    pc = ours()
    yield pc
    await pc.close()


@pytest.fixture
def incoming(pc: Pc) -> Incoming:
    """The channels that the page opens."""
    return Incoming(pc)


@pytest.fixture(params=[False, True], ids=["we offer", "chromium offers"])
def chromium_offers(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
