from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.sctp.ranges import Ranges

SPANS = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda span: (span[0], span[0] + span[1]))


def numbers(spans: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in spans for n in range(first, last + 1)}


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "through"]), SPANS)), SPANS)
def test_ranges_are_sets_of_numbers(steps: list[tuple[str, tuple[int, int]]], probe: tuple[int, int]) -> None:
    ranges, model = Ranges(), set[int]()
    for step, (first, last) in steps:
        if step == "add":
            ranges.add(first, last)
            model |= numbers([(first, last)])
        elif step == "remove":
            ranges.remove(first, last)
            model -= numbers([(first, last)])
        else:
            ranges.remove_through(first)
            model = {n for n in model if n > first}
        assert numbers(list(ranges)) == model
        assert ranges.count == len(model)
        assert all(a + 1 < b for a, b in zip(ranges.lasts, ranges.firsts[1:], strict=False))
    inside = numbers([probe]) & model
    assert numbers(ranges.within(*probe)) == inside
    assert numbers(ranges.holes(*probe)) == numbers([probe]) - model
    assert [n for n in range(80) if n in ranges] == sorted(model)
