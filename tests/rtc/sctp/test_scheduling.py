from __future__ import annotations

import pytest

from p2pshare.rtc.sctp import AssociationConfig
from tests.rtc.sctp.link import Conditions, Pair

SLOW = Conditions(rate=1_000_000, delay_s=0.01)


def order_of_completion(config: AssociationConfig, urgent: int | None = None) -> list[int]:
    if urgent is not None:
        config = AssociationConfig(interleaving=config.interleaving, urgent_streams=frozenset({urgent}))
    pair = Pair(config, config, conditions=SLOW).connect()
    for stream in (1, 2, 3):
        for _ in range(4):
            pair.send(pair.left, stream, bytes(65_536))
    pair.run(0.05)
    pair.send(pair.left, 9, b"control")
    pair.settle()
    return [stream for stream, _, _ in pair.right.messages]


@pytest.mark.parametrize("interleaving", [True, False])
def test_streams_take_turns(interleaving: bool) -> None:
    order = order_of_completion(AssociationConfig(interleaving=interleaving))
    bulk = [stream for stream in order if stream != 9]
    assert [sorted(bulk[i : i + 3]) for i in range(0, 12, 3)] == [[1, 2, 3]] * 4


def test_a_short_message_passes_long_ones_that_have_begun_when_they_are_interleaved() -> None:
    assert order_of_completion(AssociationConfig())[0] == 9
    assert order_of_completion(AssociationConfig(interleaving=False)).index(9) <= 4


def test_an_urgent_stream_goes_first() -> None:
    assert order_of_completion(AssociationConfig(interleaving=False), urgent=9).index(9) <= 2


def test_messages_under_way_never_fill_the_peers_memory() -> None:
    small = AssociationConfig(receive_window=300_000, receive_memory=600_000)
    pair = Pair(None, small, conditions=Conditions(delay_s=0.001)).connect()
    for stream in range(40):
        pair.send(pair.left, stream, bytes(120_000))
    pair.settle(60)
    assert len(pair.right.messages) == 40
    assert pair.right.most_held <= 300_000
