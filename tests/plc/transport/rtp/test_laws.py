"""What holds for any schedule of arrivals: what came is played, and the delay is what is needed."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.jitter import PACKETS_MAX, JitterBuffer, JitterConfig, Turn
from plc.transport.rtp.packets import RtpPacket
from tests.examples import examples
from tests.plc.transport.streams import Incoming, delay_s

RATE, N, BLOCK = 16_000, 320, 160
S = N / RATE
Arrivals = Iterable[tuple[float, RtpPacket]]


def packet(k: int, stamp: int | None = None, samples: int = N) -> RtpPacket:
    """Return the k-th packet; its payload is its number."""
    stamp = k * samples if stamp is None else stamp
    return RtpPacket(0, k % 2**16, stamp % 2**32, 1, k.to_bytes(4, "big"))


class Run:
    """A buffer whose blocks are pulled at their time."""

    def __init__(self, *, rate: int = RATE, block: int = BLOCK, **delay: object) -> None:
        config = DelayConfig(**delay)  # type: ignore[arg-type]  # settings by name
        self.buffer = JitterBuffer(JitterConfig(clock_rate=rate, block=block, delay=config))
        self.rate = rate
        self.turns: list[Turn] = []
        self.heard: dict[int, int] = {}
        """Samples that were played of each packet."""
        self.delays_s: list[float] = []

    def feed(self, arrivals: Arrivals, until_s: float, samples: int = N) -> "Run":
        incoming = Incoming(arrivals)
        block = self.buffer.block
        for tick in range(len(self.turns), round(until_s * self.rate / block)):
            now_s = tick * block / self.rate
            for at_s, each in incoming.until(now_s + 1e-9):
                self.buffer.put(each, samples, at_s)
            self.turns.append(self.buffer.pull(now_s))
            for part in self.buffer.parts:
                k = int.from_bytes(part.packet.payload, "big")
                self.heard[k] = self.heard.get(k, 0) + part.samples
            self.delays_s.append(delay_s(self.buffer.receiver, now_s))
        return self

    @property
    def made_up_ms(self) -> float:
        stats = self.buffer.stats
        made_up = stats.lost_samples + stats.late_samples + stats.silent_samples
        return 1000.0 * made_up / self.rate


def steady(count: int, held_up: Callable[[int], float] = lambda k: 0.0) -> Arrivals:
    return [(k * S + held_up(k), packet(k)) for k in range(count)]


# ---- nothing was lost on the network ------------------------------------------------------------

MINORITIES: dict[str, Callable[[int], float]] = {
    "every second one, from 5 s on": lambda k: 0.07 * (k % 2) * (k * S >= 5.0),
    "every second one, from the first on": lambda k: 0.07 * (k % 2),
    "one in ten, from 20 s on": lambda k: 0.1 * (k % 10 == 3) * (k * S >= 20.0),
    "one in twenty": lambda k: 0.15 * (k % 20 == 7) * (k * S >= 10.0),
    "one in three, by turns": lambda k: 0.06 * (k % 3 == 1) + 0.03 * (k % 3 == 2),
}


@pytest.mark.parametrize("held_up", MINORITIES.values(), ids=MINORITIES)
def test_a_minority_that_is_slower_is_waited_for_within_two_seconds(
    held_up: Callable[[int], float],
) -> None:
    run = Run().feed(steady(3000, held_up), 60.0)
    assert run.made_up_ms <= 300.0
    assert run.buffer.stats.late_packets <= 4
    late = [k for k in range(2950) if run.heard.get(k) != N]
    assert not late or (max(late) - min(late)) * S <= 2.0


@pytest.mark.parametrize("count", [3, 5, 8])
@pytest.mark.parametrize("begins", [0, 100])
def test_packets_in_reverse_within_the_delay_are_played(count: int, begins: int) -> None:
    sent = [
        ((k // count * count + count - 1) * S, packet(k // count * count + count - 1 - k % count))
        if k >= begins
        else (k * S, packet(k))
        for k in range(800)
    ]
    run = Run().feed(sent, 15.9)
    assert run.buffer.stats.foreign_packets == run.buffer.stats.source_changes == 0
    assert {k for k in range(begins + 2 * count, 750) if run.heard.get(k) != N} == set()


@pytest.mark.parametrize(
    ("off", "samples", "rate"), [(4, 960, 48_000), (20, 960, 48_000), (1, 160, 8000)]
)
def test_stamps_a_few_samples_off_their_grid_make_no_hole(
    off: int, samples: int, rate: int
) -> None:
    rng = np.random.default_rng(3)
    sent = [
        (k * samples / rate + rng.uniform(0.0, 0.004),
         packet(k, k * samples + int(rng.integers(-off, off + 1))))
        for k in range(600)
    ]  # fmt: skip
    run = Run(rate=rate, block=rate // 100).feed(sent, 590 * samples / rate, samples)
    assert run.made_up_ms == 0.0
    assert {run.heard[k] for k in range(500)} == {samples}


@pytest.mark.parametrize(("samples", "grain"), [(320, 80), (320, 160), (480, 320), (551, 220)])
def test_stamps_that_are_rounded_make_no_hole_once_that_is_known(samples: int, grain: int) -> None:
    for shift in (0, grain // 2, grain - 1):
        sent = [
            (k * samples / RATE, packet(k, (k * samples + shift) // grain * grain))
            for k in range(1000)
        ]
        run = Run().feed(sent, 990 * samples / RATE, samples)
        assert run.made_up_ms <= 1000.0 * 2 * grain / RATE
        assert {run.heard[k] for k in range(50, 900)} == {samples}


@pytest.mark.parametrize("jitter_s", [0.0, 0.018, 0.04])
@pytest.mark.parametrize("slow", [0.01, 0.03, 0.06])
def test_of_a_slow_sender_no_packet_is_left_out(slow: float, jitter_s: float) -> None:
    rng = np.random.default_rng(2)
    sent = [(k * S * (1.0 + slow) + rng.uniform(0.0, jitter_s), packet(k)) for k in range(1500)]
    until_s = 1490 * S * (1.0 + slow)
    run = Run().feed(sent, until_s)
    assert run.buffer.stats.skipped_samples == 0
    assert len([k for k in range(5, 1400) if run.heard.get(k) != N]) <= 5
    assert run.made_up_ms <= 1000.0 * (slow * 1500 * S + 0.3)


@pytest.mark.parametrize("ppm", [-500.0, 0.0, 500.0])
@pytest.mark.parametrize("pause_s", [30.0, 900.0])
def test_the_onset_behind_a_long_pause_is_whole(pause_s: float, ppm: float) -> None:
    clock = 1.0 / (1.0 + ppm * 1e-6)
    sent = [(k * S * clock, packet(k)) for k in range(250)]
    ahead = round(pause_s * RATE)
    sent += [((k * S + pause_s) * clock, packet(k, k * N + ahead)) for k in range(250, 400)]
    run = Run().feed(sent, sent[-1][0])
    assert run.buffer.stats.late_packets == 0
    assert {k for k in range(250, 390) if run.heard.get(k) != N} == set()


def test_one_packet_with_a_wrong_stamp_moves_nothing() -> None:
    for off_s in (-50.0, -2.1, -0.5, 0.5, 2.1, 50.0):
        sent = [(k * S, packet(k, k * N + round(off_s * RATE) * (k == 200))) for k in range(600)]
        run = Run().feed(sent, 11.8)
        assert {k for k in range(570) if run.heard.get(k) != N} <= {200, 201}
        assert run.delays_s[-1] <= 0.06


# ---- the delay ----------------------------------------------------------------------------------


def test_one_packet_that_is_late_does_not_raise_the_aim_and_two_do() -> None:
    def aim_s(*late: int) -> float:
        run = Run().feed(steady(200, lambda k: 0.12 * (k in late)), 3.0)
        return run.buffer.receiver.target_s

    assert aim_s(60) == aim_s() < 0.04
    assert aim_s(60, 90) >= 0.12


def test_after_a_standstill_sound_is_heard_again_at_once() -> None:
    for still_s in (0.5, 1.5, 5.0):
        sent = [(k * S + still_s * (k >= 200), packet(k)) for k in range(500)]
        run = Run().feed(sent, 9.8 + still_s)
        again = round((200 * S + still_s + 0.2) / (BLOCK / RATE))
        assert Turn.PLAY in run.turns[again - 20 : again]
        assert len([k for k in range(200, 450) if run.heard.get(k) == N]) >= 248


# ---- any schedule -------------------------------------------------------------------------------


@examples(300, few=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    mode=st.sampled_from(list(DelayMode)),
    block=st.sampled_from([40, 100, 160, 320, 480]),
    safety=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_what_is_played_and_made_up_adds_up(
    seed: int, mode: DelayMode, block: int, safety: float
) -> None:
    """Lost, doubled, reordered, held up, with wrong stamps and pauses."""
    rng = np.random.default_rng(seed)
    sent, at_s, stamp = [], 0.0, 0
    loss, wild = rng.choice([0.0, 0.1, 0.4]), rng.choice([0.0, 0.02])
    for k in range(300):
        if rng.random() < 0.02:
            pause_s = rng.exponential(0.5)
            at_s += pause_s
            stamp += round(pause_s * RATE) * int(rng.integers(0, 2))
        off = int(rng.integers(-(10**6), 10**6)) if rng.random() < wild else 0
        for _ in range(1 + (rng.random() < 0.05)):
            if rng.random() >= loss:
                sent.append((at_s + rng.exponential(0.02), packet(k, stamp + off)))
        at_s, stamp = at_s + S, stamp + N
    delay = 0.0 if mode is DelayMode.ADAPTIVE else 40.0
    run = Run(block=block, mode=mode, delay_ms=delay, safety=safety).feed(sent, at_s + 0.5)
    stats = run.buffer.stats
    counts = [getattr(stats, name) for name in stats.__slots__]
    assert min(counts) >= 0
    blocks = len(run.turns) - run.turns.count(Turn.WAIT)
    made_up = stats.lost_samples + stats.late_samples + stats.silent_samples
    assert stats.played_samples + made_up == blocks * block
    assert all(samples <= N for samples in run.heard.values())
    assert run.buffer.receiver.units <= PACKETS_MAX
