from __future__ import annotations

from p2pshare.rtc.sctp import AssociationConfig
from p2pshare.rtc.sctp.tx.congestion import Acknowledgement
from p2pshare.rtc.sctp.tx.cubic import Cubic
from p2pshare.rtc.sctp.tx.pacing import Pacer
from tests.rtc.sctp.link import Conditions, Pair

BIG = AssociationConfig(receive_window=4 << 20)


def goodput(conditions: Conditions, seconds: float, warm_s: float) -> float:
    """Bytes a second that arrive after a time of warming up."""
    pair = Pair(
        BIG, BIG, conditions=conditions, back=Conditions(delay_s=conditions.delay_s), seed=1
    ).connect()
    receiver = pair.right.association
    end = pair.now + warm_s + seconds
    begun = 0

    def feed() -> bool:
        while pair.left.association.buffered(1) < 1 << 20:
            pair.send(pair.left, 1, bytes(65_536))
        pair.right.events.clear()
        pair.left.events.clear()
        return False

    def run(until_s: float) -> None:
        while pair.now < until_s:
            feed()
            pair.run(0.005)

    run(end - seconds)
    begun = receiver.stats().bytes_received
    run(end)
    return (receiver.stats().bytes_received - begun) / seconds


def test_a_long_path_with_a_queue_of_one_bandwidth_delay_product_is_used_to_nine_tenths() -> None:
    line = 2_500_000.0  # 20 Mbit/s; the packets' own overhead is 4 %
    conditions = Conditions(delay_s=0.05, rate=line, queue=250_000)
    assert goodput(conditions, 8, warm_s=4) > 0.9 * 0.96 * line


def test_a_short_path_with_a_shallow_queue_is_used_well() -> None:
    line = 2_500_000.0
    assert goodput(Conditions(delay_s=0.005, rate=line, queue=25_000), 4, warm_s=2) > 0.8 * line


def ack(
    now: float, acked: int, *, rtt: float = 0.05, limited: bool = True, cumulative: int = 0
) -> Acknowledgement:
    return Acknowledgement(
        now=now,
        acked=acked,
        flight=0,
        rtt_s=rtt,
        smoothed_rtt_s=rtt,
        min_rtt_s=rtt,
        cumulative=cumulative,
        next_tsn=cumulative + 100,
        was_limited=limited,
        is_recovering=False,
        delivery_rate=None,
        rate_is_limited=False,
    )


def test_one_acknowledgement_for_a_train_opens_the_window_as_far_as_many() -> None:
    one, many = Cubic(1_000, 10), Cubic(1_000, 10)
    one.on_acknowledgement(ack(1.0, 8_000))
    for _ in range(8):
        many.on_acknowledgement(ack(1.0, 1_000))
    assert one.window == many.window == 18_000


def test_the_window_does_not_grow_unless_it_was_the_limit() -> None:
    cubic = Cubic(1_000, 10)
    cubic.on_acknowledgement(ack(1.0, 8_000, limited=False))
    assert cubic.window == 10_000


def test_a_loss_cuts_to_seven_tenths_and_growth_comes_back_to_where_it_was() -> None:
    cubic = Cubic(1_000, 100)
    cubic.on_loss(1.0, 100_000)
    assert cubic.window == 70_000
    now = 1.0
    while cubic.window < 99_000:
        now += 0.05
        cubic.on_acknowledgement(ack(now, cubic.window))
        assert now < 10
    assert now > 1.5


def test_a_cut_that_was_needless_is_taken_back_once() -> None:
    cubic = Cubic(1_000, 100)
    cubic.on_loss(1.0, 100_000)
    cubic.undo(1.1)
    assert cubic.window == 100_000
    cubic.on_timeout(1.2)
    cubic.on_timeout(1.6)
    cubic.undo(1.7)
    cubic.undo(1.8)
    assert cubic.window == 100_000
    assert cubic.is_in_slow_start


def test_a_timeout_begins_again_with_few_packets() -> None:
    cubic = Cubic(1_000, 100)
    cubic.on_timeout(1.0)
    assert cubic.window == 4_000
    assert cubic.is_in_slow_start


def test_rising_delay_ends_slow_start_before_loss_does() -> None:
    cubic = Cubic(1_000, 10)
    rtt, tsn = 0.05, 0
    for round_ in range(30):
        for _ in range(8):
            tsn += 13
            cubic.on_acknowledgement(ack(1 + round_ * rtt, cubic.window // 8, rtt=rtt, cumulative=tsn))
        if round_ > 4:
            rtt += 0.01
        if not cubic.is_in_slow_start:
            break
    assert not cubic.is_in_slow_start
    assert round_ < 20


def test_pacing_spreads_trains_and_lets_a_fast_path_alone() -> None:
    pacer = Pacer()
    pacer.sent(50_000, 1_000_000.0, 1.0)
    due = pacer.wait(1.0)
    assert due is not None
    assert 1.04 < due < 1.06
    assert pacer.wait(due) is None
    fast = Pacer()
    for _ in range(10):
        assert fast.wait(1.0) is None
        fast.sent(50_000, 1e9, 1.0)
    assert Pacer.train(1e9, 1_000, 45) == 45
    assert Pacer.train(1e5, 1_000, 45) == 2
