"""What the congestion controls make of long, lossy and shared paths, and what they do to others on them.

Everything is played on a virtual clock from a seed (path.py): the figures are the same on every machine.
Rates are of payload, of which a line of 1,500-byte packets carries 93 %.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from tests.rtc.sctp.path import MBIT, SLICE_S, Flow, Network, Path

LONG = Path()
SLOW = Path(rate=20 * MBIT)
SHARED = Path(rate=10 * MBIT)
"As `LONG`, with fewer packets to play."


def after_slow_start(path: Path, seconds: float = 10.0, seed: int = 1, **options: Any) -> tuple[float, Flow]:
    """The share of the line that one flow uses after three seconds."""
    network = Network(path, seed=seed)
    flow = network.flow(**options)
    network.run(seconds)
    return flow.rate(3, seconds) / path.rate, flow


def smaller_share(path: Path, first: str, second: str, begins_s: float) -> float:
    """What the flow that got less of a path has of it, in the last 15 of 45 seconds; the median of three."""
    found = []
    for seed in (1, 2, 3):
        network = Network(path, seed=seed)
        flows = [network.flow(congestion=first), network.flow(begins_s, congestion=second)]
        network.run(45)
        rates = [flow.rate(30, 45) for flow in flows]
        assert sum(rates) > 0.8 * path.rate
        found.append(min(rates) / sum(rates))
    return median(found)


@pytest.mark.parametrize(
    ("path", "share"),
    [
        (LONG, 0.9),
        (replace(LONG, loss=0.001), 0.9),
        (replace(LONG, loss=0.01), 0.85),
        (replace(LONG, loss=0.03), 0.75),
        (replace(LONG, loss=0.01, burst=8), 0.75),
        (replace(LONG, delay_s=0.1, loss=0.01), 0.75),
        (Path(delay_s=0.025, rate=10 * MBIT, loss=0.01), 0.85),
        (Path(delay_s=0.005, rate=100 * MBIT, loss=0.01), 0.85),
    ],
    ids=[
        "100 Mbit/s, RTT 100 ms",
        "the same, 0.1 % lost",
        "the same, 1 % lost",
        "the same, 3 % lost",
        "the same, 1 % lost in bursts of 8",
        "100 Mbit/s, RTT 200 ms, 1 % lost",
        "10 Mbit/s, RTT 50 ms, 1 % lost",
        "100 Mbit/s, RTT 10 ms, 1 % lost",
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_loss_costs_a_long_path_little_more_than_what_is_lost(
    path: Path, share: float, seed: int
) -> None:
    used, _ = after_slow_start(path, seed=seed, congestion="bbr")
    assert used > share


def test_the_full_rate_is_reached_within_about_ten_round_trips() -> None:
    network = Network(LONG)
    flow = network.flow(congestion="bbr")
    network.run(4)
    reached = next(at for at, size in enumerate(flow.slices) if size > 0.85 * LONG.rate * SLICE_S) * SLICE_S
    handshake_s = 0.2
    assert reached - handshake_s <= 1.1


def test_a_deep_queue_is_hardly_used() -> None:
    path = replace(LONG, queue_bdp=4)
    network = Network(path)
    network.flow(congestion="bbr")
    network.run(10)
    assert network.mean_wait_s < 0.03
    assert network.dropped == 0


def test_trains_are_milliseconds_long_on_a_paced_path() -> None:
    _, flow = after_slow_start(LONG, congestion="bbr")
    stats = flow.sender.association.stats()
    assert stats.packets_sent > 10 * stats.trains_sent


def test_timers_that_come_late_cost_no_rate() -> None:
    used, _ = after_slow_start(replace(LONG, late_s=0.008, reads_every_s=0.01), congestion="bbr")
    assert used > 0.88


@pytest.mark.parametrize("loss", [0.0, 0.01])
@pytest.mark.parametrize("begins_s", [0.0, 10.0])
def test_two_of_ours_come_to_like_shares(begins_s: float, loss: float) -> None:
    assert smaller_share(replace(SHARED, loss=loss), "bbr", "bbr", begins_s) > 0.35


@pytest.mark.parametrize(
    ("first", "second", "begins_s"), [("bbr", "cubic", 0.0), ("bbr", "cubic", 10.0), ("cubic", "bbr", 10.0)]
)
def test_neither_of_bbr_and_cubic_starves_the_other(first: str, second: str, begins_s: float) -> None:
    assert smaller_share(SHARED, first, second, begins_s) > 0.25


def test_neither_of_bbr_and_cubic_starves_the_other_at_a_deep_queue() -> None:
    assert smaller_share(replace(SHARED, queue_bdp=4), "bbr", "cubic", 0.0) > 0.25


@pytest.mark.parametrize("jitter_s", [0.005, 0.01])
@pytest.mark.parametrize("congestion", ["bbr", "cubic"])
def test_jitter_that_reorders_makes_no_storm(jitter_s: float, congestion: str) -> None:
    path = Path(delay_s=0.025, rate=20 * MBIT, jitter_s=jitter_s)
    used, flow = after_slow_start(path, 20, congestion=congestion)
    assert used > 0.85
    assert flow.resent_share() < 0.01


def test_duplicates_that_the_network_makes_are_no_needless_retransmissions() -> None:
    used, flow = after_slow_start(replace(LONG, duplication=0.01), congestion="bbr")
    assert used > 0.88
    assert flow.resent_share() < 0.005


@pytest.mark.parametrize("congestion", ["bbr", "cubic"])
def test_a_path_that_stopped_for_seconds_is_found_again_within_one(congestion: str) -> None:
    network = Network(replace(SLOW, stops=(4.0, 9.0)))
    flow = network.flow(congestion=congestion)
    network.run(13)
    assert flow.rate(5, 9) < 0.05 * SLOW.rate
    assert flow.rate(9, 10.5) > 0
    assert flow.rate(11, 13) > 0.8 * SLOW.rate


def test_a_path_that_becomes_slower_and_faster_is_followed() -> None:
    network = Network(SLOW)
    flow = network.flow(congestion="bbr")
    network.run(6)
    network.path = replace(SLOW, rate=5 * MBIT)
    network.run(12)
    assert flow.rate(12, 18) > 0.85 * 5 * MBIT
    network.path = SLOW
    network.run(22)
    assert flow.rate(30, 40) > 0.85 * SLOW.rate


def test_a_path_that_becomes_longer_is_followed() -> None:
    network = Network(replace(SLOW, delay_s=0.02))
    flow = network.flow(congestion="bbr")
    network.run(6)
    network.path = replace(SLOW, delay_s=0.08)
    network.run(34)
    assert flow.rate(30, 40) > 0.85 * SLOW.rate


def test_near_paths_get_a_window_and_far_ones_the_model() -> None:
    for delay_s, is_far in ((0.0005, False), (0.02, True)):
        network = Network(replace(SLOW, delay_s=delay_s))
        flow = network.flow(congestion="by distance")
        network.run(1)
        control = flow.sender.association._congestion
        assert vars(control)["is_far"] is is_far
