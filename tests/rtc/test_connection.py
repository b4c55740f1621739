"""Connections of our own: made, met, and closed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from p2pshare.errors import SharingNotAvailable
from p2pshare.rtc import Channels, PeerConnection
from tests.rtc.test_channels import CONTROL, Ear
from tests.support.needs import needs_command, needs_namespaces


async def meet() -> list[str]:
    """Two connections meet and exchange a message; returns the offer's candidates."""
    one, two = PeerConnection(), PeerConnection()
    one_ear, two_ear = Ear(), Ear()
    one_channels, two_channels = Channels(one.pc, one_ear), Channels(two.pc, two_ear)
    one_channels.open(CONTROL)
    two_channels.open(CONTROL)
    offer = await one.create_offer()
    await one.accept_answer(await two.accept_offer(offer))
    await one_ear.until("opened", CONTROL)
    one_channels.send(CONTROL, b"hello")
    await two_ear.until("message", CONTROL, b"hello")
    for each in (one, two):
        await each.close()
        await each.close()
    return [line for line in offer["sdp"].splitlines() if line.startswith("a=candidate")]


async def test_two_connections_meet_by_their_descriptions() -> None:
    candidates = await meet()
    assert candidates
    assert not any(" srflx" in line for line in candidates), "no server was asked"


OFFLINE = """
import asyncio
from tests.rtc.test_connection import meet
print(*asyncio.run(meet()), sep="\\n")
"""


@needs_namespaces()
@needs_command("ip", "unshare")
def test_without_a_network_they_meet_on_loopback() -> None:
    lo_up = f'ip link set lo up && exec "{sys.executable}" -c "$0"'
    command = ["unshare", "--net", "sh", "-c", lo_up, OFFLINE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "127.0.0.1" in result.stdout


@pytest.mark.parametrize("description", [None, {}, {"type": "offer", "sdp": "v=0"}, {"type": "answer"}])
async def test_a_bad_offer_is_refused(description: Any) -> None:
    connection = PeerConnection()
    with pytest.raises(SharingNotAvailable, match="description"):
        await connection.accept_offer(description)
    await connection.close()


async def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    one, two, three = PeerConnection(), PeerConnection(), PeerConnection()
    for each in (one, two):
        Channels(each.pc, Ear()).open(CONTROL)
    answer = await two.accept_offer(await one.create_offer())
    with pytest.raises(SharingNotAvailable):
        await three.accept_answer(answer)
    for each in (one, two, three):
        await each.close()
