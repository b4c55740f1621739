"""The data path on every event loop that is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import pytest

from p2pshare.rtc.datapath import RTCPeerConnection, accelerate
from tests.rtc.datapath.peers import connected, messages, ours, send_all, stock, transport_of
from tests.rtc.datapath.test_relay import relayed
from tests.rtc.datapath.turn import TurnServer

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if find_spec("uvloop") is not None:
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=LOOPS[request.param])


async def _transfer(*, takes_over: bool) -> None:
    make = stock if takes_over else ours
    async with connected(make, make) as (left, right, (channel,), incoming):
        planned = messages(30, 6)
        await send_all(channel, planned[:10])
        if takes_over:
            assert accelerate(left)
            assert accelerate(right)
        await send_all(channel, planned[10:])
        assert await incoming.inboxes["one"].has(30) == planned


async def _transfer_through_a_relay() -> None:
    async with TurnServer() as server:
        make = partial(relayed, RTCPeerConnection, server)
        async with connected(make, make) as (left, _, (channel,), incoming):
            planned = messages(30, 6)
            await send_all(channel, planned)
            assert await incoming.inboxes["one"].has(30) == planned
            assert transport_of(left).stats().is_relayed


def test_content_arrives_through_a_relay(runner: asyncio.Runner) -> None:
    with runner:
        runner.run(_transfer_through_a_relay())


@pytest.mark.parametrize("takes_over", [False, True], ids=["from the start", "taken over"])
def test_content_arrives(runner: asyncio.Runner, takes_over: bool) -> None:
    with runner:
        runner.run(_transfer(takes_over=takes_over))
