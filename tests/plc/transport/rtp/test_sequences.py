"""Sequences that jitter buffers are tested with: senders and networks by the second, and limits.

Each packet of 20 ms holds its number, so that what is played tells of what came. Limits are in
packets, and for the delay in milliseconds.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.jitter import Turn
from plc.transport.rtp.packets import RtpPacket, build_rtp
from plc.transport.rtp.playout import Playout
from tests.examples import examples
from tests.plc.configs import playout_of
from tests.plc.transport.streams import FIXED_60, Incoming

RATE, N = 8000, 160
S = N / RATE
Sent = list[tuple[float, bytes]]


def packet(k: int, sequence: int = 0, stamp: int = 0, ssrc: int = 1) -> bytes:
    """Return the k-th packet of a row that begins with these numbers."""
    numbers = (sequence + k) % 2**16, (stamp + k * N) % 2**32, ssrc
    payload = (k + 1).to_bytes(4, "big") + bytes(2 * N - 4)
    return build_rtp(RtpPacket(96, *numbers, payload))


def steady(count: int, period_s: float = S, begin_s: float = 0.0, **numbers: int) -> Sent:
    return [(begin_s + k * period_s, packet(k, **numbers)) for k in range(count)]


@dataclass
class Heard:
    """What was played of a run, and what was told of it."""

    playout: Playout
    numbers: list[int] = field(default_factory=list)
    """Of packets, each once for an unbroken stretch of it."""
    samples: dict[int, int] = field(default_factory=dict)
    delays_s: list[float] = field(default_factory=list)

    @property
    def concealed(self) -> float:
        return self.playout.concealment.concealed_samples / N

    @property
    def skipped(self) -> float:
        return self.playout.received.skipped_samples / N

    def note(self, turn: Turn) -> Turn:
        for part in self.playout.buffer.parts:
            k = int.from_bytes(part.packet.payload[:4], "big") - 1
            if self.numbers[-1:] != [k]:
                self.numbers.append(k)
            self.samples[k] = self.samples.get(k, 0) + part.samples
        return turn

    def is_consistent(self) -> bool:
        """Tell whether counters are what they can be."""
        stats = self.playout.received
        counts = [getattr(stats, name) for name in stats.__slots__]
        ticks, faster = self.playout.stats.ticks, self.playout.received.removed_samples
        blocks = stats.played_samples + stats.lost_samples + stats.silent_samples
        return (
            min(counts) >= 0
            and stats.lost_packets >= 0
            and blocks + stats.late_samples <= (ticks + 4) * self.playout.block + faster
            and min(self.delays_s) >= 0.0
        )


def played(sent: Sent, until_s: float, delay: DelayConfig | None = None, block: int = N) -> Heard:
    """Play what is sent at these times, by a clock that ticks in blocks."""
    playout = playout_of(L16(RATE, 1), block, delay, model="ar")
    heard, buffer = Heard(playout), playout.buffer
    pull = buffer.pull
    buffer.pull = lambda now_s: heard.note(pull(now_s))  # type: ignore[method-assign]  # to listen
    incoming = Incoming(sent)
    for tick in range(round(until_s * RATE / block)):
        now_s = tick * block / RATE
        for at_s, datagram in incoming.until(now_s + 1e-9):
            playout.put(datagram, at_s)
        playout.tick(now_s)
        heard.delays_s.append(playout.delay_s)
        assert heard.is_consistent()
    return heard


# ---- ideal, pauses, bursts ----------------------------------------------------------------------


@pytest.mark.parametrize("delay", [None, FIXED_60])
@pytest.mark.parametrize(("sequence", "stamp"), [(0, 0), (65_500, 2**32 - 3000)])
def test_an_ideal_stream_is_heard_whole(
    delay: DelayConfig | None, sequence: int, stamp: int
) -> None:
    heard = played(steady(500, sequence=sequence, stamp=stamp), 10.0, delay)
    assert heard.numbers == list(range(len(heard.numbers)))
    assert len(heard.numbers) >= 494
    assert heard.concealed == heard.skipped == 0
    assert max(heard.delays_s) <= 0.082


@pytest.mark.parametrize("delay", [None, FIXED_60])
@pytest.mark.parametrize("pause_s", [0.08, 0.4, 1.5])
@pytest.mark.parametrize("counts", [True, False])
def test_pauses_of_dtx_cost_no_packet_and_no_delay(
    delay: DelayConfig | None, pause_s: float, counts: bool
) -> None:
    """Whether stamps count the pause, or not."""
    if delay is not None and pause_s < 0.3 and not counts:
        pytest.skip("so short a pause is taken for a detour that is not to be waited for")
    sent = []
    for k in range(400):
        pause = k // 40 * pause_s
        stamp = round(pause * RATE) if counts else 0
        sent.append((k * S + pause, packet(k, stamp=stamp)))
    heard = played(sent, sent[-1][0] + 0.3, delay)
    assert heard.numbers == list(range(400))
    assert heard.skipped == heard.playout.received.lost_packets == 0
    # What is waited for in a pause is not what a listener has, but for a few blocks behind it.
    assert max(heard.delays_s) <= 0.135
    assert np.median(heard.delays_s) <= 0.106


@pytest.mark.parametrize(("burst", "most_s"), [(2, 0.11), (5, 0.17), (9, 0.25)])
def test_packets_that_come_in_bursts_are_heard_after_the_first_of_them(
    burst: int, most_s: float
) -> None:
    sent = [((k // burst + 1) * burst * S, packet(k)) for k in range(1000)]
    heard = played(sent, 20.0)
    assert len(heard.numbers) >= 1000 - 4 * burst
    assert heard.concealed <= 2 * burst
    assert max(heard.delays_s) <= most_s


def test_one_standstill_of_the_network_is_made_up_for() -> None:
    sent = [(max(at_s, 4.15) if at_s >= 4.0 else at_s, each) for at_s, each in steady(500)]
    heard = played(sent, 10.0)
    assert heard.concealed <= 9
    assert len(heard.numbers) >= 488


# ---- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jitter_s", [0.0, 0.018])
@pytest.mark.parametrize("drift", [-0.06, -0.05, -0.03, -0.01, -0.001, 0.001, 0.01, 0.03, 0.06])
def test_a_sender_of_another_pace_is_heard_with_what_that_takes(
    drift: float, jitter_s: float
) -> None:
    """A slow one needs packets, a fast one has too many."""
    rng, count = np.random.default_rng(1), 1500
    period_s = S / (1.0 + drift)
    sent = [(k * period_s + rng.uniform(0, jitter_s), packet(k)) for k in range(count)]
    until_s = count * period_s
    heard = played(sent, until_s)
    lacking = max(0.0, until_s / S - count)
    assert heard.concealed <= 1.1 * lacking + 10
    assert heard.numbers == sorted(heard.numbers)
    if drift <= 0.0:
        assert heard.skipped == 0
        assert len(heard.numbers) >= 0.98 * count
        assert max(heard.delays_s) <= 0.18
    else:
        # What is left over is less than what is played faster: half of it at 0.3 % a second.
        assert heard.skipped <= count * drift
        assert max(heard.delays_s) <= 0.2 + 4 * S


# ---- losses, lateness, order --------------------------------------------------------------------


@pytest.mark.parametrize("delay", [None, FIXED_60])
@pytest.mark.parametrize("burst", [1, 3])
def test_what_is_lost_is_concealed_and_nothing_else(delay: DelayConfig | None, burst: int) -> None:
    lost = {k + j for k in range(20, 480, 23) for j in range(burst)}
    sent = [each for k, each in enumerate(steady(500)) if k not in lost]
    heard = played(sent, 10.0, delay)
    assert heard.concealed <= len(lost) + 1
    assert heard.numbers == [k for k in range(heard.numbers[-1] + 1) if k not in lost]
    assert heard.playout.received.lost_packets == len(lost)


def test_packets_late_by_less_than_the_delay_are_heard_in_their_place() -> None:
    sent = [(at_s + 0.045 * (k % 7 == 3), each) for k, (at_s, each) in enumerate(steady(500))]
    heard = played(sent, 10.0, FIXED_60)
    assert heard.numbers == list(range(len(heard.numbers)))
    assert heard.concealed == 0


def test_packets_late_by_more_are_left_out_and_cost_their_own_time() -> None:
    sent = [(at_s + 0.15 * (k % 50 == 30), each) for k, (at_s, each) in enumerate(steady(500))]
    heard = played(sent, 10.0, FIXED_60)
    assert heard.numbers == [k for k in range(heard.numbers[-1] + 1) if k % 50 != 30]
    assert heard.playout.received.late_packets == 10
    assert heard.concealed == 10


@pytest.mark.parametrize("spike_s", [0.1, 0.2, 0.4])
def test_spikes_of_the_network_leave_the_delay_bounded(spike_s: float) -> None:
    """All that is sent in the time of a spike comes at its end."""
    sent = []
    for at_s, each in steady(1000):
        held_s = at_s - at_s % 2.0 + spike_s if at_s >= 2.0 else 0.0
        sent.append((max(at_s, held_s), each))
    heard = played(sent, 20.0)
    assert heard.concealed <= 9 * (spike_s / S + 2)
    assert max(heard.delays_s) <= 0.2 + 4 * S
    assert len(heard.numbers) >= 1000 - 9 * spike_s / S


def test_reordered_packets_are_heard_in_order() -> None:
    rng = np.random.default_rng(2)
    sent = [(at_s + rng.uniform(0.0, 0.055), each) for at_s, each in steady(1000)]
    heard = played(sent, 20.0, FIXED_60)
    assert heard.numbers == list(range(len(heard.numbers)))
    assert heard.concealed <= 2


# ---- doubles and new beginnings -----------------------------------------------------------------


@pytest.mark.parametrize("later_s", [0.0, 0.001, 0.02, 0.07, 0.3, 1.0])
@pytest.mark.parametrize("pause_s", [0.0, 1.5])
def test_doubles_are_refused_however_late_and_also_in_a_pause(
    later_s: float, pause_s: float
) -> None:
    """Those of what was sent last come when nothing else does."""
    stamp = round(pause_s * RATE)
    sent = steady(150) + [(k * S + pause_s, packet(k, stamp=stamp)) for k in range(150, 300)]
    heard = played(sent + [(at_s + later_s, each) for at_s, each in sent], 6.0 + pause_s)
    assert heard.numbers == list(range(len(heard.numbers)))
    assert len(heard.numbers) >= 294
    assert heard.playout.received.source_changes == 0
    assert heard.playout.received.lost_samples == 0


@pytest.mark.parametrize("delay", [None, FIXED_60])
@pytest.mark.parametrize(("first", "gap_s"), [(10, 0.1), (120, 0.0), (120, 0.5), (400, 0.0)])
@pytest.mark.parametrize("numbers", [(0, 0), (-3, -3 * N), (5, 5 * N), (65_500, 0), (0, 12_345)])
def test_a_new_beginning_costs_five_packets_at_most(
    delay: DelayConfig | None, first: int, gap_s: float, numbers: tuple[int, int]
) -> None:
    """With the same numbers and stamps, or with others."""
    if numbers == (65_500, 0) and first == 10:
        pytest.skip("by numbers that have not been, and no later than the largest delay")
    again = steady(300, begin_s=first * S + gap_s, sequence=numbers[0], stamp=numbers[1])
    heard = played(steady(first) + again, again[-1][0], delay)
    assert heard.concealed <= gap_s / S + 5
    # 0 to 299 are of the second row, too; it may begin with the sixth.
    assert {*range(max(first, 5), 290)} <= set(heard.numbers)
    second = heard.numbers[heard.numbers.index(first - 1) + 1 :]
    assert second[0] <= 5
    assert second == list(range(second[0], second[-1] + 1))


def test_a_new_beginning_behind_doubles_of_the_network_is_followed_too() -> None:
    sent = steady(100) + steady(300, begin_s=100 * S)
    heard = played(sent + [(at_s + 0.03, each) for at_s, each in sent], 400 * S)
    second = heard.numbers[heard.numbers.index(99) + 1 :]
    assert second[0] <= 10
    assert second == list(range(second[0], second[-1] + 1))


@pytest.mark.parametrize("outage_s", [1.0, 60.0, 400.0, 700.0])
def test_a_stream_goes_on_after_an_outage_of_any_length(outage_s: float) -> None:
    """Of more than half a turn of numbers, or a turn, and of stamps."""
    count = round(outage_s / S)
    for factor in (1, 37, 101):  # so many times longer, by the numbers alone
        gone = count * factor
        after = [(2.0 + outage_s + k * S, packet(100 + gone + k)) for k in range(150)]
        sent = steady(100) + after
        playout = playout_of(L16(RATE, 1), N, FIXED_60, model="ar")
        for at_s, each in sent:
            playout.put(each, at_s)
            playout.tick(at_s)
            if at_s == after[0][0]:
                assert playout.received.lost_packets >= 0
        assert playout.received.played_samples >= 240 * N


# ---- any legal sender ---------------------------------------------------------------------------


def _arrivals(rng: np.random.Generator) -> Iterator[tuple[int, float, bytes]]:
    """Yield number, time and packet of a sender that pauses, through a network that jitters."""
    now_s, sequence, stamp = 0.0, int(rng.integers(2**16)), int(rng.integers(2**32))
    clock, loss, still = 1.0 + rng.uniform(-2e-4, 2e-4), rng.choice([0.0, 0.05]), rng.random() < 0.3
    twice, most_s = rng.random() < 0.3, rng.choice([0.0, 0.01, 0.05])
    for k in range(500):
        if k > 5 and rng.random() < 0.01:
            pause = int(rng.integers(20, 80))
            now_s += pause * S
            stamp += 0 if still else pause * N
        payload = (k + 1).to_bytes(4, "big") + bytes(2 * N - 4)
        each = build_rtp(RtpPacket(96, sequence % 2**16, stamp % 2**32, 1, payload))
        at_s = now_s * clock + rng.uniform(0.0, most_s)
        if k < 3 or rng.random() >= loss:
            yield k, at_s, each
            if twice:
                yield k, at_s + rng.uniform(0.0, 0.4), each
        now_s, sequence, stamp = now_s + S, sequence + 1, stamp + N


@examples(40, few=10)
@given(st.integers(0, 2**32 - 1))
def test_what_came_in_time_is_heard_once_and_in_order(seed: int) -> None:
    sent = list(_arrivals(np.random.default_rng(seed)))
    heard = played([each[1:] for each in sent], max(each[1] for each in sent) + 0.2,
                   DelayConfig(mode=DelayMode.FIXED, delay_ms=80.0))  # fmt: skip
    assert heard.numbers == sorted(set(heard.numbers))
    # Those that come in disorder before the source is believed begin no row.
    assert {k for k, _, _ in sent} - {0, 1, 2} <= set(heard.numbers)
    assert max(heard.samples.values()) <= N


STAMPS: dict[str, Callable[[int], int]] = {
    f"{share:g} times": lambda k, share=share: int(k * N * share)
    for share in (0.0, 0.5, 0.9, 1.1, 1.8, 2.0, 11.25)
} | {
    "random": lambda k: int(np.random.default_rng(k).integers(2**32)),
    "back in time": lambda k: -k * N,
    "20 ms ahead each second": lambda k: k * N + k // 50 * N,
    "wrong in midstream": lambda k: k * N if k < 300 else 300 * N + (k - 300) * 288,
}  # fmt: skip


@pytest.mark.parametrize("delay", [None, FIXED_60])
@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("stamps", STAMPS)
def test_packets_are_heard_by_their_numbers_where_stamps_are_wrong(
    stamps: str, burst: int, delay: DelayConfig | None
) -> None:
    rng = np.random.default_rng(4)
    sent = []
    for k in range(1000):
        at_s = k // burst * burst * S + (rng.uniform(0.0, 0.01) if burst == 1 else 0.0)
        payload = (k + 1).to_bytes(4, "big") + bytes(2 * N - 4)
        sent.append((at_s, build_rtp(RtpPacket(96, k, STAMPS[stamps](k) % 2**32, 1, payload))))
    heard = played(sent, 20.0, delay)
    assert sum(n == N for n in heard.samples.values()) >= 950
    assert heard.numbers == sorted(set(heard.numbers))
    assert heard.delays_s[-1] <= 0.22


def test_of_two_sources_with_the_same_numbers_one_is_heard() -> None:
    rival = steady(200, begin_s=1.007, ssrc=2)
    heard = played(steady(300) + rival, 6.0)
    assert heard.numbers == list(range(len(heard.numbers)))
    assert heard.playout.received.source_changes == 0


def test_the_chain_of_everything_is_followed() -> None:
    """Wraps next to new beginnings, pauses and doubles, one after another."""
    parts = itertools.count()
    sent: Sent = []
    begin_s = 0.0
    for sequence, stamp in ((65_480, 2**32 - 100 * N), (65_480, 2**32 - 100 * N), (10, 0), (9, N)):
        row = steady(100, begin_s=begin_s, sequence=sequence, stamp=stamp)
        sent += row + ([(at_s + 0.01, each) for at_s, each in row] if next(parts) == 2 else [])
        begin_s = row[-1][0] + S + 0.06
    heard = played(sent, begin_s)
    assert len(heard.numbers) >= 400 - 4 * 6
    assert heard.concealed <= 4 * 8
