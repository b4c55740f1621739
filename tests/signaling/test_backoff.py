from __future__ import annotations

from signaling.backoff import Backoff


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(first_s=1, cap_s=5)
    assert [backoff.next(1.0) for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next(1.0) == 1


def test_chance_takes_at_most_half() -> None:
    backoff = Backoff(first_s=8, cap_s=8)
    assert [backoff.next(lot) for lot in (0.0, 0.5, 1.0)] == [4, 6, 8]


def test_a_cap_below_the_first_delay_holds() -> None:
    assert Backoff(first_s=8, cap_s=2).next(1.0) == 2
