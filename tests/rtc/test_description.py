"""What is taken of a stranger's session description, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import SharingNotAvailable
from p2pshare.rtc.description import MAX_CANDIDATES, Role, read_description

PRINT = ":".join(["AB"] * 32)
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 5000 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 192.0.2.1",
        "a=mid:0",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        "a=candidate:f1 1 udp 2130706431 192.0.2.1 34412 typ host",
        "a=ice-ufrag:atsh",
        "a=ice-pwd:IoaKdHwDqrPhxVoKffgC5t",
        f"a=fingerprint:sha-256 {PRINT}",
        "a=setup:actpass",
        "",
    ]
)


def read(sdp: str, role: Role = "offer", **options: bool) -> object:
    return read_description({"type": role, "sdp": sdp}, role, **options)


def with_line(line: str) -> str:
    return OFFER + line + "\r\n"


def test_what_is_read_is_written_the_same() -> None:
    description = read_description({"type": "offer", "sdp": OFFER}, "offer")
    assert description.max_message_size == 262_144
    assert [(each.host, each.port) for each in description.candidates] == [("192.0.2.1", 34412)]
    again = read_description({"type": "offer", "sdp": description.to_sdp()}, "offer")
    assert again == description


@pytest.mark.parametrize(
    "line",
    [
        "a=candidate:f2 1 tcp 1 192.0.2.1 9 typ host tcptype active",
        "a=candidate:f2 1 udp 1 192.0.2.1 80 typ host",
        "a=candidate:f2 1 udp 1 224.0.0.1 5000 typ host",
        "a=candidate:f2 1 udp 1 169.254.1.1 5000 typ host",
        "a=candidate:f2 1 udp 1 0.0.0.0 5000 typ host",
        "a=candidate:f2 1 udp 1 127.0.0.1 5000 typ host",
        "a=candidate:f2 1 udp 1 ::ffff:127.0.0.1 5000 typ host",
        "a=candidate:f2 1 udp 1 ::ffff:169.254.1.1 5000 typ host",
        "a=candidate:f2 1 udp 1 evil.example.com 5000 typ host",
        "a=candidate:f2 1 udp 99999999999 192.0.2.1 5000 typ host",
        "a=candidate:f2 1 udp 1 192.0.2.1 70000 typ host",
        "a=candidate:nonsense",
    ],
)
def test_a_candidate_that_is_of_no_use_is_dropped(line: str) -> None:
    assert len(read_description({"type": "offer", "sdp": with_line(line)}, "offer").candidates) == 1


@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8::7", "fe80::7", "a1b2-c3.local"])
def test_an_address_or_a_local_name_is_taken(host: str) -> None:
    line = f"a=candidate:f2 1 udp 1 {host} 5000 typ srflx raddr 10.0.0.1 rport 1"
    description = read_description({"type": "offer", "sdp": with_line(line)}, "offer")
    assert description.candidates[1].host == host
    assert "10.0.0.1" not in description.to_sdp()


def test_loopback_is_taken_only_where_it_is_asked_for() -> None:
    line = with_line("a=candidate:f2 1 udp 1 ::1 5000 typ host")
    assert len(read_description({"type": "offer", "sdp": line}, "offer").candidates) == 1
    allowed = read_description({"type": "offer", "sdp": line}, "offer", allow_loopback=True)
    assert len(allowed.candidates) == 2


def test_of_ten_thousand_candidates_a_few_are_taken() -> None:
    sdp = OFFER.replace("a=candidate:f1 1 udp 2130706431 192.0.2.1 34412 typ host\r\n", "")
    many = "".join(f"a=candidate:f 1 udp 1 192.0.2.1 {2000 + n} typ host\r\n" for n in range(100))
    description = read_description({"type": "offer", "sdp": sdp + many}, "offer")
    assert len(description.candidates) == MAX_CANDIDATES
    with pytest.raises(SharingNotAvailable, match="bytes"):
        read(sdp + many * 100)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "not an offer"),
        ("offer", "not an offer"),
        ({"type": "answer", "sdp": OFFER}, "not an offer"),
        ({"type": "offer"}, "not an offer"),
        ({"type": "offer", "sdp": 7}, "not an offer"),
        ({"type": "offer", "sdp": ""}, "data section"),
        ({"type": "offer", "sdp": OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"}, "data section"),
        ({"type": "offer", "sdp": OFFER.replace("m=application", "m=video")}, "data section"),
        ({"type": "offer", "sdp": OFFER.replace(PRINT, "AB:CD")}, "fingerprint"),
        (
            {"type": "offer", "sdp": OFFER + f"a=fingerprint:sha-256 {PRINT.replace('A', 'C')}\r\n"},
            "fingerprint",
        ),
        (
            {"type": "offer", "sdp": OFFER.replace("ice-pwd:IoaKdHwDqrPhxVoKffgC5t", "ice-pwd:short")},
            "ice-pwd",
        ),
        ({"type": "offer", "sdp": OFFER.replace("ice-ufrag:atsh", "ice-ufrag:a b c d")}, "ice-ufrag"),
        ({"type": "offer", "sdp": OFFER.replace("setup:actpass", "setup:holdconn")}, "setup"),
        ({"type": "offer", "sdp": OFFER.replace("mid:0", "mid:../x")}, "mid"),
        ({"type": "offer", "sdp": OFFER.replace("sctp-port:5000", "sctp-port:0")}, "sctp-port"),
        ({"type": "offer", "sdp": OFFER.replace("262144", "100")}, "messages of 100 bytes"),
    ],
)
def test_what_is_no_description_is_refused_with_the_reason(value: object, what: str) -> None:
    with pytest.raises(SharingNotAvailable, match=what):
        read_description(value, "offer")


def test_an_answer_names_its_role() -> None:
    with pytest.raises(SharingNotAvailable, match="setup"):
        read(OFFER, "answer")
    read(OFFER.replace("actpass", "active"), "answer")


@given(st.text(max_size=300), st.integers(0, 40))
def test_no_text_raises_anything_else(text: str, at: int) -> None:
    lines = OFFER.split("\r\n")
    lines.insert(at, text)
    try:
        description = read_description({"type": "offer", "sdp": "\r\n".join(lines)}, "offer")
    except SharingNotAvailable:
        return
    assert read_description({"type": "offer", "sdp": description.to_sdp()}, "offer") == description
