"""The tables: complete, and the same for both sides."""

from __future__ import annotations

import pytest

from p2pshare.protocol import frames as f
from p2pshare.protocol.schema import SCHEMA
from p2pshare.protocol.states import ALWAYS, JOB, LINK, STREAM, JobState, LinkState


def test_every_frame_belongs_to_control_or_to_streams() -> None:
    on_control = frozenset().union(*LINK.values())
    assert on_control | STREAM == set(SCHEMA)
    assert not on_control & STREAM


def test_nothing_is_read_before_authentication_but_its_steps() -> None:
    assert LINK[LinkState.GREETING] == ALWAYS | {f.Hello}
    assert LINK[LinkState.AUTHENTICATING] == ALWAYS | {f.Hello, f.Auth}
    assert f.Auth not in LINK[LinkState.OPEN]
    assert not LINK[LinkState.CLOSED]


@pytest.mark.parametrize("state", JobState)
def test_nothing_happens_to_a_job_that_is_over(state: JobState) -> None:
    frames = [frame for known, frame in JOB if known is state]
    assert bool(frames) is not state.is_over


def test_only_giving_up_ends_a_job_by_a_frame_of_its_own() -> None:
    ends = {(frame, after) for (before, frame), after in JOB.items() if after is not before}
    assert ends == {(f.Reset, JobState.RESET), (f.Stop, JobState.STOPPED)}
