from __future__ import annotations

import pytest

from signaling import errors
from signaling.errors import ErrorCode, RefusedError, SignalingError, refusal


@pytest.mark.parametrize("code", [*ErrorCode, "from_tomorrow"])
def test_every_refusal_keeps_its_code_and_reads_as_one_printable_line(code: str) -> None:
    error = refusal(code, "because\x1b[2J", room="r\n", name="n\u202e")
    assert error.code == code
    assert isinstance(error, RefusedError)
    assert str(error).isprintable()


def test_every_error_has_a_sentence() -> None:
    for error in (
        errors.NameTaken("bob", "lobby"),
        errors.RoomFull("lobby", "64 peers are in it"),
        errors.PeerGone("0" * 20),
        errors.NotConnected("the client is closed"),
        errors.Unreachable("ws://127.0.0.1:1/ws", "Connection refused"),
        errors.MessageTooLarge(2000, 1000, field="payload"),
        errors.CannotListen("127.0.0.1", 80, "Permission denied"),
    ):
        assert isinstance(error, SignalingError)
        assert len(str(error)) > 20
    assert str(errors.NameTaken("bob", "lobby")) == "the name 'bob' is taken in room 'lobby'; choose another"
    assert (
        str(errors.MessageTooLarge(2000, 1000, field="payload")) == "payload: 2,000 bytes, the limit is 1,000"
    )
