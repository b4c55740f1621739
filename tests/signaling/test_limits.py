from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.limits import Admission, Limits, TokenBucket


def test_a_burst_is_free_and_then_the_rate_counts() -> None:
    bucket = TokenBucket(rate=10, burst=5, now=0)
    assert [bucket.take(1, 0) for _ in range(5)] == [0] * 5
    assert bucket.take(1, 0) == pytest.approx(0.1)
    assert bucket.take(1, 0) == pytest.approx(0.2)
    assert bucket.take(1, 10) == 0


def test_try_take_leaves_no_debt() -> None:
    bucket = TokenBucket(rate=1, burst=1, now=0)
    assert bucket.try_take(1, 0)
    assert not any(bucket.try_take(1, 0.5) for _ in range(100))
    assert bucket.try_take(1, 1)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3)), max_size=30))
def test_who_waits_as_told_keeps_to_the_rate(takes: list[tuple[float, float]]) -> None:
    bucket, now, total = TokenBucket(rate=4, burst=8, now=0), 0.0, 0.0
    for tokens, pause in takes:
        now += bucket.take(tokens, now)
        total += tokens
        assert total <= 8 + 4 * now + 1e-6
        now += pause


def test_a_clock_that_steps_back_does_no_harm() -> None:
    bucket = TokenBucket(rate=1, burst=1, now=100)
    assert bucket.try_take(1, 100)
    assert not bucket.try_take(1, 50)
    assert not bucket.try_take(1, 100.5)


def test_connections_are_counted_by_address_and_in_all() -> None:
    admission = Admission(Limits(max_connections=3, max_connections_per_address=2))
    assert admission.admit("192.0.2.1", 0) is None
    assert admission.admit("192.0.2.1", 0) is None
    assert "your address has 2" in (admission.admit("192.0.2.1", 0) or "")
    assert admission.admit("192.0.2.2", 0) is None
    assert "the server has 3" in (admission.admit("192.0.2.3", 0) or "")
    admission.release("192.0.2.1")
    assert admission.admit("192.0.2.1", 0) is None
    assert len(admission) == 3


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2:3:4:5", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_what_counts_as_one_address(first: str, second: str, same: bool) -> None:
    admission = Admission(Limits(max_connections_per_address=1))
    assert admission.admit(first, 0) is None
    assert (admission.admit(second, 0) is not None) == same


def test_an_address_that_connects_too_fast_is_refused_until_it_slows_down() -> None:
    admission = Admission(Limits(joins_per_s=1, join_burst=2))
    for _ in range(2):
        assert admission.admit("192.0.2.1", 0) is None
        admission.release("192.0.2.1")
    for _ in range(50):
        assert "too fast" in (admission.admit("192.0.2.1", 0.5) or "")
    assert admission.admit("192.0.2.1", 1) is None


def test_addresses_are_not_remembered_for_ever() -> None:
    admission = Admission(Limits(max_connections=10))
    for number in range(1000):
        address = f"192.0.2.{number % 250}" if number % 2 else f"198.51.100.{number % 250}"
        assert admission.admit(address, 0) is None
        admission.release(address)
    assert len(admission._buckets) <= 10
