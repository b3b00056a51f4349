"""The jitter buffer: what it plays is right, whatever comes in and in whatever order."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plc.errors import ConfigError
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.jitter import JitterBuffer, JitterConfig, Turn
from plc.transport.rtp.outcomes import Verdict
from plc.transport.rtp.packets import RtpPacket
from tests.examples import examples, is_deep
from tests.plc.transport.streams import Incoming, delay_s

RATE = 8000
PACKET = 160
TICK_S = PACKET / RATE

FIXED = DelayMode.FIXED


def make(
    mode: DelayMode = DelayMode.ADAPTIVE, delay_ms: float = 0.0, block: int = PACKET, **more: float
) -> JitterBuffer:
    settings = {"max_delay_ms": 200.0, "safety": 0.5} | more
    return JitterBuffer(
        JitterConfig(
            clock_rate=RATE,
            block=block,
            delay=DelayConfig(mode=mode, delay_ms=delay_ms, **settings),
        )
    )


def rtp(
    k: int, sequence: int = 0, timestamp: int = 0, ssrc: int = 1, samples: int = PACKET
) -> RtpPacket:
    """Return the k-th packet of a stream that begins at these numbers; its payload says which."""
    return RtpPacket(
        0, (sequence + k) % 2**16, (timestamp + k * samples) % 2**32, ssrc, k.to_bytes(4, "big")
    )


class Run:
    """A buffer with a clock: packets by arrival time, ticks at a steady pace."""

    def __init__(self, buffer: JitterBuffer) -> None:
        self.buffer = buffer
        self.turns: list[Turn] = []
        self.played: list[int | None] = []
        self.delays_s: list[float] = []
        self.tick = 0

    def feed(
        self,
        arrivals: Iterable[tuple[float, RtpPacket]],
        until_s: float,
        samples: int = PACKET,
    ) -> "Run":
        incoming = Incoming(arrivals)
        while (now_s := self.tick * self.buffer.block / RATE) < until_s:
            for at_s, packet in incoming.until(now_s):
                self.buffer.put(packet, samples, at_s)
            self.delays_s.append(delay_s(self.buffer.receiver, now_s))
            turn = self.buffer.pull(now_s)
            self.turns.append(turn)
            played = self.buffer.parts[0].packet.payload if turn is Turn.PLAY else None
            self.played.append(None if played is None else int.from_bytes(played, "big"))
            self.tick += 1
        return self

    def numbers(self) -> list[int]:
        return [k for k in self.played if k is not None]

    def count(self, turn: Turn) -> int:
        return self.turns.count(turn)


def steady(count: int, lost: Iterable[int] = (), **numbers: int) -> list[tuple[float, RtpPacket]]:
    gone = set(lost)
    return [(k * TICK_S, rtp(k, **numbers)) for k in range(count) if k not in gone]


# ---- order, loss, lateness ----------------------------------------------------------------------


def test_the_rest_of_a_late_packet_is_played() -> None:
    arrivals = steady(50)
    arrivals[20] = (20 * TICK_S + 0.0501, arrivals[20][1])
    run = Run(make(FIXED, 40.0, block=PACKET // 4)).feed(arrivals, 50 * TICK_S)
    assert 1 <= run.count(Turn.LOST) < 4
    assert run.played.count(20) == 4 - run.count(Turn.LOST)
    assert run.buffer.stats.merged_packets == 1


def test_a_stall_delays_the_stream_instead_of_dropping_it() -> None:
    # Packets 30 to 33 come together, 60 ms late; the delay grows, and nothing is lost.
    arrivals = [(max(at_s, 33 * TICK_S) if 30 <= k <= 33 else at_s, packet)
                for k, (at_s, packet) in enumerate(steady(80))]  # fmt: skip
    run = Run(make(safety=0.0)).feed(arrivals, 80 * TICK_S)
    assert run.count(Turn.LOST) == 0
    assert run.count(Turn.HOLD) >= 1
    assert set(range(40, 60)) <= set(run.numbers())
    assert run.numbers() == sorted(run.numbers())


def test_a_lost_packet_costs_no_delay_even_if_nothing_is_buffered() -> None:
    # With next to no delay every loss is first met as an empty buffer.
    lost = range(20, 400, 13)
    run = Run(make(safety=0.0)).feed(steady(400, lost), 400 * TICK_S)
    played = run.numbers()
    assert played == [k for k in range(played[-1] + 1) if k not in lost]
    assert run.delays_s[-1] <= run.delays_s[10] + TICK_S
    assert run.buffer.stats.lost_samples == PACKET * sum(k <= played[-1] for k in lost)


# ---- pauses, restarts, jumps --------------------------------------------------------------------


def test_a_pause_with_a_packet_lost_at_its_end_is_a_loss() -> None:
    after = [(k * TICK_S, rtp(k)) for k in range(44, 60)]
    run = Run(make(FIXED, 40.0)).feed(steady(40) + after, 60 * TICK_S)
    assert run.buffer.stats.silent_samples == 0
    assert run.buffer.stats.lost_samples == 4 * PACKET


@pytest.mark.parametrize("mode", [DelayMode.ADAPTIVE, FIXED])
@pytest.mark.parametrize("lost", [(), (45,)])
def test_a_pause_with_comfort_noise_is_silence_only_if_nothing_else_is_missing(
    mode: DelayMode, lost: tuple[int, ...]
) -> None:
    # Packets 40 to 49 are of another payload type; after them the audio goes on.
    buffer = make(mode, 60.0)
    run = Run(buffer).feed(steady(40), 40 * TICK_S)
    for k in range(40, 50):
        if k not in lost:
            buffer.pass_over(rtp(k), k * TICK_S)
        run.feed((), (k + 1) * TICK_S)
    run.feed([(k * TICK_S, rtp(k)) for k in range(50, 80)], 80 * TICK_S)
    stats = buffer.stats
    assert stats.lost_packets == len(lost)
    assert stats.packets_received == 80 - len(lost)
    assert stats.silent_samples == (0 if lost else 10 * PACKET)
    assert stats.lost_samples == (10 * PACKET if lost else 0)
    assert {*range(36), *range(50, 70)} <= set(run.numbers())


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("mode", [DelayMode.ADAPTIVE, FIXED])
def test_telephone_events_between_audio_cost_it_nothing_in_whatever_order_they_come(
    mode: DelayMode, loss: float
) -> None:
    """They have numbers, and take no time; audio numbered before may come behind one."""
    rng = np.random.default_rng(4)
    arrivals: list[tuple[float, int, int | None]] = []
    k = 0
    for number in range(800):
        is_event = number % 8 == 5
        if number < 5 or rng.random() >= loss:
            arrived_s = k * TICK_S + (rng.uniform(0.0, 0.04) if number > 4 else 0.0)
            arrivals.append((arrived_s, number, None if is_event else k))
        k += not is_event
    buffer = make(mode, 80.0, safety=1.0)
    incoming = Incoming(arrivals)
    for tick in range(k + 10):
        for arrived_s, number, place in incoming.until(tick * TICK_S):
            if place is None:  # its stamp is that of the event's begin
                buffer.pass_over(RtpPacket(101, number, number // 40, 1, b"0123"), arrived_s)
            else:
                buffer.put(RtpPacket(0, number, place * PACKET, 1, b""), PACKET, arrived_s)
        buffer.pull(tick * TICK_S)
        for part in buffer.parts:
            assert part.packet.start == PACKET * (
                part.packet.sequence - (part.packet.sequence + 2) // 8
            )
    audio = sum(place is not None for _, _, place in arrivals)
    assert buffer.stats.source_changes == buffer.stats.foreign_packets == 0
    assert buffer.stats.played_samples == audio * PACKET


def test_packets_without_audio_of_other_sources_and_strays_are_not_counted() -> None:
    buffer = make(FIXED, 40.0)
    buffer.pass_over(rtp(0), 0.0)
    Run(buffer).feed(steady(20), 20 * TICK_S)
    for packet in (rtp(20, ssrc=2), rtp(20, sequence=30_000), rtp(20, sequence=-1000)):
        buffer.pass_over(packet, 20 * TICK_S)
    assert buffer.stats.packets_received == buffer.stats.packets_expected == 20


@pytest.mark.parametrize("mode", [DelayMode.ADAPTIVE, FIXED])
def test_what_is_missing_between_two_sources_is_no_pause_in_whatever_order_they_come(
    mode: DelayMode,
) -> None:
    after = [(k * TICK_S, rtp(k, sequence=500, ssrc=2)) for k in range(90, 130)]
    # The first packet comes after the two that are believed.
    after[0] = (92.5 * TICK_S, after[0][1])
    run = Run(make(mode, 80.0)).feed(steady(40) + after, 130 * TICK_S)
    assert run.buffer.stats.source_changes == 1
    assert run.buffer.stats.silent_samples == 0
    assert run.buffer.stats.lost_samples >= 40 * PACKET


@pytest.mark.parametrize("mode", [DelayMode.ADAPTIVE, FIXED])
@pytest.mark.parametrize(
    ("sequence", "timestamp", "ssrc"),
    [
        (30_000, 2**31 + 5, 2),  # another source
        (30_000, 2**31 + 5, 1),  # everything jumps
        (30_000, 0, 1),  # the sequence number jumps
        (0, 2**30, 1),  # the timestamp jumps ahead
        (0, -(2**30), 1),  # and back
    ],
)
@pytest.mark.parametrize("gap_ticks", [0, 1, 10, 5000])
def test_a_sender_that_starts_over_is_followed(
    mode: DelayMode, sequence: int, timestamp: int, ssrc: int, gap_ticks: int
) -> None:
    after = [
        ((k + gap_ticks) * TICK_S, rtp(k, sequence, timestamp % 2**32, ssrc))
        for k in range(100, 200)
    ]
    run = Run(make(mode, 60.0)).feed(steady(100) + after, (200 + gap_ticks) * TICK_S)
    second = [k for k in run.numbers() if k >= 100]
    # Not more than what the delay could not cover is missing, and nothing comes twice.
    assert second[0] <= 102
    assert second == list(range(second[0], second[-1] + 1))
    assert second[-1] >= 190
    assert run.buffer.ssrc == ssrc
    assert max(run.delays_s) <= 0.2 + 3 * TICK_S


def test_a_packet_of_another_source_in_between_changes_nothing() -> None:
    strange = [(k * TICK_S + 0.001, rtp(k, 777, 12345, ssrc=9)) for k in range(10, 90)]
    alone = Run(make(FIXED, 60.0)).feed(steady(100), 100 * TICK_S)
    mixed = Run(make(FIXED, 60.0)).feed(steady(100) + strange, 100 * TICK_S)
    assert mixed.played == alone.played
    assert mixed.buffer.stats.foreign_packets >= 79


def test_of_several_sources_that_share_a_port_the_first_one_is_played() -> None:
    arrivals = steady(60)
    for ssrc in (2, 3):
        arrivals += steady(60, ssrc=ssrc, sequence=100 * ssrc, timestamp=7 * ssrc)
    run = Run(make(FIXED, 40.0)).feed(arrivals, 60 * TICK_S)
    assert run.buffer.ssrc == 1
    assert run.numbers() == list(range(58))
    assert (run.buffer.stats.lost_samples, run.buffer.stats.source_changes) == (0, 0)
    assert run.buffer.stats.foreign_packets >= 2 * 58


def test_stray_packets_of_the_known_source_change_nothing() -> None:
    rng = np.random.default_rng(1)
    strays = [
        (k * TICK_S + 0.001, rtp(int(rng.integers(5000, 60_000)), timestamp=2**31))
        for k in range(10, 90)
    ]
    alone = Run(make(FIXED, 60.0)).feed(steady(100), 100 * TICK_S)
    mixed = Run(make(FIXED, 60.0)).feed(steady(100) + strays, 100 * TICK_S)
    assert mixed.played == alone.played


def test_packets_may_change_their_length_in_midstream() -> None:
    buffer = make(FIXED, 100.0)
    at_s, sequence, timestamp = 0.0, 0, 0
    arrivals: list[tuple[float, RtpPacket, int]] = []
    for samples in [160] * 20 + [80] * 40 + [320] * 20 + [96] * 40:
        arrivals.append((at_s, RtpPacket(0, sequence, timestamp, 1, b""), samples))
        at_s, sequence, timestamp = at_s + samples / RATE, sequence + 1, timestamp + samples
    incoming, turns = Incoming(arrivals), []
    for tick in range(int(at_s / TICK_S)):
        for arrived_s, packet, samples in incoming.until(tick * TICK_S):
            buffer.put(packet, samples, arrived_s)
        turns.append(buffer.pull(tick * TICK_S))
    begin = turns.index(Turn.PLAY)
    assert set(turns[begin:]) == {Turn.PLAY}


# ---- redundancy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(160, 40), (40, 160), (240, 20), (480, 160), (20, 480)])
@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("lost", [(), (-1,), (0,), (-1, 0)])
def test_where_lengths_change_late_and_lost_packets_leave_the_others_in_their_place(
    lengths: tuple[int, int], late: int, lost: tuple[int, ...]
) -> None:
    """What is missing when the first packet of another length comes may have either length."""
    buffer = make(FIXED, 100.0, block=80)
    stamps = [*range(0, 8000, lengths[0])]
    change = len(stamps)
    stamps += [*range(stamps[-1] + lengths[0], 16_000, lengths[1])]
    samples = [lengths[k >= change] for k in range(len(stamps))]
    # Each is sent once it is complete; late ones come behind the first of the other length.
    arrivals = [
        (
            (
                stamps[change] + samples[change] + 0.5
                if change - late <= k < change
                else stamps[k] + samples[k]
            )
            / RATE,
            k,
        )
        for k in range(len(stamps))
        if k - change not in lost
    ]
    played: dict[int, int] = {}
    incoming = Incoming(sorted(arrivals))
    for tick in range(16_000 // 80 + 10):
        for arrived_s, k in incoming.until(tick * 80 / RATE):
            buffer.put(RtpPacket(0, k, stamps[k], 1, bytes(k % 251)), samples[k], arrived_s)
        buffer.pull(tick * 80 / RATE)
        for part in buffer.parts:
            assert part.packet.start == stamps[part.packet.sequence]
            played[part.packet.sequence] = played.get(part.packet.sequence, 0) + part.samples
    for k in range(change - 5, change + 5):
        assert played.get(k, 0) == (samples[k] if k - change not in lost else 0)


def test_a_packet_takes_the_place_of_its_redundant_copy() -> None:
    buffer = make(FIXED, 80.0)
    for k in (0, 1, 3):
        buffer.put(rtp(k), PACKET, k * TICK_S)
    copy = b"copy"
    assert buffer.put_redundant(rtp(3), PACKET, 0, copy, PACKET) is Verdict.ACCEPTED
    assert buffer.put(rtp(2), PACKET, 4 * TICK_S) is Verdict.ACCEPTED
    run = Run(buffer)
    run.tick = 4
    assert run.feed([], 8.5 * TICK_S).numbers() == [0, 1, 2, 3]


# ---- delay --------------------------------------------------------------------------------------


@pytest.mark.parametrize("jitter_s", [0.005, 0.03, 0.08])
def test_the_delay_grows_to_what_the_jitter_asks_for(jitter_s: float) -> None:
    rng = np.random.default_rng(7)
    arrivals = [(k * TICK_S + rng.uniform(0, jitter_s), rtp(k)) for k in range(6000)]
    run = Run(make(safety=0.5)).feed(arrivals, 5900 * TICK_S)
    late = sum(turn is not Turn.PLAY for turn in run.turns[3000:])
    assert late <= 0.01 * 3000
    assert run.buffer.receiver.target_s < jitter_s + 0.01


def test_a_sudden_detour_is_followed_within_a_second() -> None:
    arrivals = [(k * TICK_S + (0.15 if k >= 200 else 0.0), rtp(k)) for k in range(600)]
    for mode in (DelayMode.ADAPTIVE, FIXED):
        run = Run(make(mode, 40.0)).feed(arrivals, 600 * TICK_S)
        assert set(run.turns[260:]) == {Turn.PLAY}


@pytest.mark.parametrize("samples", [40, 160, 480])
@pytest.mark.parametrize("detour_s", [0.04, 0.06, 0.08, 0.1])
@pytest.mark.parametrize(("mode", "safety"), [(FIXED, 0.5), (DelayMode.ADAPTIVE, 0.0),
                                              (DelayMode.ADAPTIVE, 0.5)])  # fmt: skip
def test_a_detour_just_beyond_the_delay_costs_no_more_than_a_long_one(
    mode: DelayMode, safety: float, detour_s: float, samples: int
) -> None:
    """No packet is played for its end alone, or thrown away for being as late as those before."""
    period_s, count = samples / RATE, 16 * RATE // samples
    arrivals = [
        (k * period_s + detour_s * (k >= count // 2), rtp(k, samples=samples)) for k in range(count)
    ]
    buffer = make(mode, 60.0, block=80, safety=safety)
    Run(buffer).feed(arrivals, 16.5, samples)
    assert buffer.stats.played_samples >= (count - 2) * samples - 0.125 * RATE


@pytest.mark.parametrize("seed", range(8))
def test_losses_alone_move_no_packet_from_where_its_stamp_says(seed: int) -> None:
    """Nothing is there when the next one comes, as if that were late."""
    rng = np.random.default_rng(seed)
    arrivals: list[tuple[float, int, int, int]] = []
    stamp = gone = 0
    while stamp < 8 * RATE:
        samples = 24 if stamp < 2 * RATE else PACKET
        gone = gone - 1 if gone else 3 * (stamp > 0.2 * RATE and rng.random() < 0.1)
        if not gone:
            at_s = (stamp + samples) / RATE + rng.uniform(0.0, 0.005)
            arrivals.append((at_s, samples, stamp, len(arrivals)))
        else:
            arrivals.append((math.inf, samples, stamp, len(arrivals)))
        stamp += samples
    incoming = Incoming(sorted(arrivals))
    buffer = make(block=80)
    for tick in range(8 * RATE // 80):
        for at_s, samples, stamp, number in incoming.until(tick * 80 / RATE):
            buffer.put(RtpPacket(0, number, stamp, 1, b"x"), samples, at_s)
        buffer.pull(tick * 80 / RATE)
        for part in buffer.parts:
            assert part.packet.start == arrivals[part.packet.sequence][2]


def test_the_fixed_delay_is_held_again_after_a_detour_that_it_just_bears() -> None:
    """Of each heap the first packet is too late then, and those behind it are not."""

    def came_s(k: int) -> float:
        return math.ceil(k * TICK_S / 0.06) * 0.06 + 0.08 * (k >= 200)

    run = Run(make(FIXED, 100.0)).feed([(came_s(k), rtp(k)) for k in range(900)], 900 * TICK_S)
    settled = [k for k in run.numbers() if 450 <= k < 890]
    assert settled == [*range(450, 890)]
    assert run.delays_s[-1] <= 0.1 + 2 * TICK_S


def drift_for(
    hours: float, ppm: float, jitter_s: float, packet: int, mode: DelayMode
) -> tuple[JitterBuffer, np.ndarray]:
    """Play a stream whose clock is ``ppm`` fast; return the buffer and the delay at each tick."""
    buffer = make(mode, 120.0, packet, safety=1.0, max_delay_ms=1000.0)
    tick_s = packet / RATE
    count = round(hours * 3600.0 / tick_s)
    jitters = np.random.default_rng(11).uniform(0, jitter_s, 2 * count).tolist()
    delays = np.zeros(count)
    next_k = 0
    arrival_s = jitters[0]
    period_s = tick_s * (1.0 - ppm * 1e-6)
    for tick in range(count):
        now_s = tick * tick_s
        while arrival_s <= now_s:
            number = RtpPacket(0, next_k & 0xFFFF, next_k * packet & 0xFFFFFFFF, 1, b"")
            buffer.put(number, packet, arrival_s)
            next_k += 1
            arrival_s = next_k * period_s + jitters[next_k]
        while not buffer.receiver.play(now_s):
            if buffer.pull(now_s) is not Turn.WAIT:
                buffer.receiver.append()
        delays[tick] = buffer.receiver.played_delay_s
    return buffer, delays


@pytest.mark.parametrize(("ppm", "mode"), [(-500, DelayMode.ADAPTIVE), (500, FIXED)])
def test_hours_of_drift_leave_the_delay_where_it_was(ppm: float, mode: DelayMode) -> None:
    # 24 h at 500 ppm are 43 s, and 4 h are 7 s.
    packet = 24 * PACKET
    buffer, delays = drift_for(24.0 if is_deep() else 4.0, ppm, 0.02, packet, mode)
    settled = delays[1000:]
    # What is measured wavers by the jitter: few packets so long come in the window of the base.
    assert np.ptp(settled) < 0.03
    assert settled.max() < buffer.receiver.target_s + packet / RATE + 0.02
    assert buffer.stats.lost_samples <= 10 * packet
    assert buffer.stats.skipped_samples <= packet  # what was late when the first block was due


# ---- anything at all ----------------------------------------------------------------------------


@examples(200)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**16 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 3),
            st.integers(-5, 20_000),
            st.floats(0, 1e6),
        ),
        max_size=40,
    )
)
def test_any_numbers_at_any_time_are_taken(
    packets: list[tuple[int, int, int, int, float]],
) -> None:
    buffer = make()
    now_s = 0.0
    for sequence, timestamp, ssrc, samples, step_s in packets:
        now_s += step_s
        verdict = buffer.put(RtpPacket(0, sequence, timestamp, ssrc, b""), samples, now_s)
        assert isinstance(verdict, Verdict)
        assert isinstance(buffer.pull(now_s), Turn)
    assert buffer.receiver.units <= len(packets)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="clock_rate"):
        JitterConfig(clock_rate=0, block=1)
    with pytest.raises(ConfigError, match="block"):
        JitterConfig(clock_rate=8000, block=8001)
    with pytest.raises(ConfigError, match="safety"):
        JitterConfig(clock_rate=8000, block=160, delay=DelayConfig(safety=2.0))


# ---- what senders do ----------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "gone"), [(PACKET, (10, 11)), (3 * PACKET, ())])
def test_a_second_source_does_not_take_the_stream_between_packets_of_the_first(
    samples: int, gone: tuple[int, ...]
) -> None:
    period_s = samples / RATE
    own = [(k * period_s, rtp(k, samples=samples)) for k in range(100) if k not in gone]
    rival = [(k * period_s / 3 + 0.015, rtp(k, 5000, ssrc=2)) for k in range(9, 300)]
    run = Run(make(FIXED, 120.0, block=samples)).feed(own + rival, 100 * period_s, samples)
    played = run.numbers()
    assert played == [k for k in range(played[-1] + 1) if k not in gone]
    assert len(played) >= 90
    assert run.buffer.stats.source_changes == 0


def test_the_first_source_is_back_at_once() -> None:
    rival = [(k * TICK_S + 0.001, rtp(k, 5000, 777, ssrc=2)) for k in range(100)]
    run = Run(make(FIXED, 60.0)).feed(steady(100, range(20, 40)) + rival, 44 * TICK_S)
    assert (run.buffer.ssrc, run.buffer.stats.source_changes) == (1, 2)


def test_numbers_that_fall_by_few_while_stamps_go_on_are_followed() -> None:
    after = [(k * TICK_S, rtp(k, sequence=-60)) for k in range(100, 200)]
    run = Run(make(FIXED, 60.0)).feed(steady(100) + after, 200 * TICK_S)
    played = run.numbers()
    assert len(played) >= 195
    assert played == sorted(played)
    assert run.buffer.stats.duplicate_packets == 0


@pytest.mark.parametrize("samples", [8, 1])
def test_packets_that_are_late_by_time_are_no_restart_however_short(samples: int) -> None:
    period_s = samples / RATE
    count, held = round(1.0 / period_s), round(0.02 / period_s)
    first = count // 2
    arrivals = [(k * period_s, rtp(k, samples=samples)) for k in range(count)]
    for k in range(first, first + held):
        arrivals[k] = (arrivals[first][0] + 0.17, arrivals[k][1])
    buffer = make(FIXED, 20.0, block=80)
    run = Run(buffer).feed(arrivals, 1.0, samples)
    assert buffer.stats.source_changes == 0
    assert run.delays_s[-1] == pytest.approx(0.02, abs=0.011)


def test_packets_without_audio_are_a_pause_and_no_loss() -> None:
    buffer = make(FIXED, 40.0)
    run = Run(buffer).feed(steady(40), 40 * TICK_S)
    for k in range(40, 65):
        empty = RtpPacket(0, k, k * PACKET, 1, b"")
        assert buffer.put(empty, 0, k * TICK_S) is Verdict.EMPTY
        run.feed([], (k + 1) * TICK_S)
    run.feed([(k * TICK_S, rtp(k)) for k in range(65, 100)], 100 * TICK_S)
    stats = buffer.stats
    assert (stats.lost_packets, stats.lost_samples) == (0, 0)
    assert stats.silent_samples == 25 * PACKET


MODES = [DelayMode.ADAPTIVE, FIXED]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("gap_s", [0.15, 0.4, 1.0, 3.5])
@pytest.mark.parametrize("lost", [0, 1, 3, 8])
def test_the_onset_of_a_sentence_is_played_where_stamps_stood_still(
    mode: DelayMode, gap_s: float, lost: int
) -> None:
    """However many of its first packets were lost: not one that came is."""
    arrivals = [
        (k * TICK_S + k // 50 * gap_s, rtp(k)) for k in range(500) if k < 50 or k % 50 >= lost
    ]
    run = Run(make(mode, 60.0)).feed(arrivals, arrivals[-1][0] + 0.1)
    stats = run.buffer.stats
    came = sum(1 for k in range(490) if k < 50 or k % 50 >= lost)
    assert stats.played_samples >= came * PACKET
    assert stats.lost_packets == 9 * lost
    assert stats.late_packets == stats.source_changes == 0
    if not lost:
        assert stats.silent_samples >= 8 * (gap_s - 0.08) * RATE


@pytest.mark.parametrize("drained", [math.inf, 4.0, 1.5])
@pytest.mark.parametrize("stall_s", [0.15, 0.6, 1.0, 2.0])
def test_the_delay_is_the_fixed_one_again_once_what_was_held_up_has_come(
    stall_s: float, drained: float
) -> None:
    """However slowly that comes in: so many times as fast as it was sent."""
    arrivals, free_s = [], 2.0 + stall_s
    for at_s, packet in steady(600):
        if at_s >= 2.0:
            at_s = max(at_s, free_s)
            free_s = at_s + TICK_S / drained
        arrivals.append((at_s, packet))
    run = Run(make(FIXED, 60.0, max_delay_ms=2000.0)).feed(arrivals, 600 * TICK_S)
    is_over = round((2.0 + stall_s * (1.0 + 1.0 / (drained - 1.0)) + 0.5) / TICK_S)
    # The base may be below that of before by as much as the packets that came last were sooner.
    assert max(run.delays_s[is_over:]) <= 0.06 + 4 * TICK_S
    assert run.delays_s[-1] <= 0.06 + 2 * TICK_S + 1e-9
    assert set(run.turns[is_over + 10 :]) == {Turn.PLAY}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stalls_at_s", [(), (0.2,), (0.5, 1.5, 4.0)])
@pytest.mark.parametrize("jitter_s", [0.0, 0.03])
def test_stamps_that_count_both_channels_lose_what_others_would(
    mode: DelayMode, stalls_at_s: tuple[float, ...], jitter_s: float
) -> None:
    """Also while the network stands still before their speed is known."""
    rng = np.random.default_rng(3)
    packet, late = 80, {}
    for channels in (1, 2):
        arrivals = []
        for k in range(600):
            at_s = 0.01 * k + rng.uniform(0.0, jitter_s)
            for stall_s in stalls_at_s:
                at_s = stall_s + 0.3 if stall_s <= at_s < stall_s + 0.3 else at_s
            arrivals.append((at_s, RtpPacket(0, k, channels * packet * k, 1, b"")))
        buffer = make(mode, 60.0, block=packet)
        Run(buffer).feed(arrivals, 6.0, packet)
        late[channels] = buffer.stats.late_packets + buffer.stats.duplicate_packets
        assert buffer.stats.played_samples >= (0.97 - 0.06 * len(stalls_at_s)) * 600 * packet
    assert late[2] <= late[1] + 14


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("jitter_s", [0.0, 0.015])
def test_stamps_that_jump_without_a_pause_make_no_hole(mode: DelayMode, jitter_s: float) -> None:
    rng = np.random.default_rng(5)
    arrivals = [
        (k * TICK_S + rng.uniform(0.0, jitter_s), rtp(k, timestamp=k // 20 * PACKET))
        for k in range(400)
    ]
    run = Run(make(mode, 60.0)).feed(arrivals, 395 * TICK_S)
    assert run.buffer.stats.silent_samples == 0
    assert {*range(5, 380)} <= set(run.numbers())
    assert run.delays_s[-1] <= 0.1


@pytest.mark.parametrize(
    ("share", "burst"),
    [(1.8, 12), (1.8, 6), (1.2, 4), (0.5, 1), (0.0, 1), (0.5, 6), (0.0, 10), (0.9, 10)],
)
def test_stamps_of_another_speed_than_the_samples_are_not_believed(
    share: float, burst: int
) -> None:
    arrivals = [
        (k // burst * burst * TICK_S, RtpPacket(0, k, int(share * k * PACKET), 1, bytes([k % 251])))
        for k in range(1200)
    ]
    run = Run(make()).feed(arrivals, 1200 * TICK_S)
    # Stamps that stand still in heaps are told after a second, of 24.
    assert run.buffer.stats.played_samples >= 0.95 * 1200 * PACKET


def _sent(seed: int) -> tuple[list[tuple[float, RtpPacket]], float]:
    """Return what a sender with losses, pauses, restarts and a clock of its own sends."""
    rng = np.random.default_rng(seed)
    clock, loss, still = 1 + rng.uniform(-5e-4, 5e-4), rng.choice([0.0, 0.05]), rng.random() < 0.5
    at_s, number, stamp = 0.0, int(rng.integers(2**16)), int(rng.integers(2**32))
    arrivals = []
    for k in range(600):
        if k % 300 > 4 and rng.random() < 0.01:
            pause = int(rng.integers(10, 60))
            at_s += pause * TICK_S
            stamp += 0 if still else pause * PACKET
        if k == 300:
            number, stamp = int(rng.integers(2**16)), int(rng.integers(2**32))
        if rng.random() >= loss or k % 300 < 5:
            packet = RtpPacket(0, number % 2**16, stamp % 2**32, 1, k.to_bytes(4, "big"))
            arrivals.append((at_s * clock + rng.uniform(0.0, 0.019), packet))
        at_s, number, stamp = at_s + TICK_S, number + 1, stamp + PACKET
    return arrivals, at_s


@examples(60, few=12)
@given(st.integers(0, 2**32 - 1))
@example(1048576)  # three packets lost before the first of a sentence
@example(7133)
def test_what_any_sender_sends_is_played_if_it_came_in_time(seed: int) -> None:
    arrivals, ends_s = _sent(seed)
    buffer = make(FIXED, 80.0)
    played: dict[bytes, int] = {}
    incoming = Incoming(arrivals)
    for tick in range(round((ends_s + 1.0) / TICK_S)):
        for arrived_s, packet in incoming.until(tick * TICK_S):
            buffer.put(packet, PACKET, arrived_s)
        buffer.pull(tick * TICK_S)
        for part in buffer.parts:
            heard = part.packet.payload
            played[heard] = played.get(heard, 0) + part.samples
        assert buffer.receiver.units <= 50
    # The first packet of a row waits for the second, and may be late by then.
    firsts = {k.to_bytes(4, "big") for k in (0, 300)}
    sent = {packet.payload for _, packet in arrivals} - firsts
    assert {each for each in sent if played.get(each) != PACKET} == set()
