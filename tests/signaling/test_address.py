from __future__ import annotations

import pytest

from signaling.address import websocket_url
from signaling.errors import InvalidArgument


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("ws://example.com/ws", "ws://example.com/ws"),
        ("wss://example.com:444", "wss://example.com:444/ws"),
        ("http://example.com:8765/", "ws://example.com:8765/ws"),
        ("https://example.com", "wss://example.com/ws"),
        ("https://example.com/share/ws?x=1#secret", "wss://example.com/share/ws?x=1"),
        ("HTTP://EXAMPLE.com", "ws://example.com/ws"),
        ("localhost:9000", "ws://localhost:9000/ws"),
        ("192.0.2.1", "ws://192.0.2.1:8765/ws"),
        ("[::1]:9000", "ws://[::1]:9000/ws"),
        ("http://[2001:db8::1]/", "ws://[2001:db8::1]/ws"),
        ("laptop.local/there", "ws://laptop.local:8765/there"),
    ],
)
def test_an_address_is_completed(address: str, url: str) -> None:
    assert websocket_url(address) == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "ftp://example.com",
        "ws://",
        "http://:80",
        "host:99999",
        "host:x",
        "ws://a@b",
        "[::1",
        "a b",
        "://x",
        "a\x1bb",
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(InvalidArgument, match="is not the address of a signaling server: ") as caught:
        websocket_url(address)
    assert str(caught.value).isprintable()
