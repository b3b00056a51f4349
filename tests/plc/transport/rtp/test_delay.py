"""The delay that is aimed for, and the speed that brings it there."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from plc.errors import ConfigError
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.jitter import JitterBuffer, JitterConfig, Turn
from plc.transport.rtp.packets import RtpPacket
from plc_kernels.receive import entry, layout, line
from tests.plc.transport.streams import Incoming

RATE, BLOCK, PACKET = 16_000, 320, 320
PACKET_S = PACKET / RATE
Block = np.ndarray[Any, np.dtype[np.int64]]


def open_block(**settings: Any) -> Block:
    config = DelayConfig(**settings)
    return JitterConfig(clock_rate=RATE, block=BLOCK, delay=config).open_receiver().block


def real(block: Block, word: int) -> float:
    return float(block[layout.REALS :].view(np.float64)[word])


def fed(block: Block, transits: Iterable[float], begins: int = 0) -> float:
    """Take packets with these transits in; return the delay aimed for, in seconds."""
    for k, transit_s in enumerate(transits, begins):
        entry.take(block, k, k * PACKET, PACKET, k * PACKET_S + float(transit_s))
    return real(block, layout.TARGET_S)


@pytest.mark.parametrize("safety", [0.0, 0.3, 0.5, 0.8])
def test_the_aim_is_the_quantile_of_the_jitter_that_safety_asks_for(safety: float) -> None:
    jitter_s = np.random.default_rng(1).exponential(0.01, 20_000)
    quantile_s = np.quantile(jitter_s, 1 - DelayConfig(safety=safety).late_share)
    # 1 ms of bins, 2 ms of margin; the newest packets weigh most, and the aim falls reluctantly.
    target_s = fed(open_block(safety=safety), jitter_s)
    assert 0.85 * quantile_s < target_s < 1.6 * quantile_s + 0.003


def test_a_safer_aim_is_a_longer_one() -> None:
    jitter_s = np.random.default_rng(2).exponential(0.01, 5000)
    aims = [fed(open_block(safety=s), jitter_s) for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert aims == sorted(aims)
    assert aims[0] < 0.5 * aims[-1]


def test_the_aim_rises_at_once_and_falls_only_after_a_while() -> None:
    rng = np.random.default_rng(3)
    block = open_block(safety=0.0)
    calm_s = fed(block, rng.uniform(0, 0.01, 1000))
    raised_s = fed(block, rng.uniform(0, 0.08, 100), 1000)
    assert raised_s > 0.04
    assert fed(block, rng.uniform(0, 0.01, 100), 1100) >= raised_s
    assert fed(block, rng.uniform(0, 0.01, 3000), 1200) <= calm_s + 0.002


def test_the_base_follows_a_clock_that_drifts() -> None:
    k = np.arange(30_000)
    for ppm in (-500, 500):
        drift_s = ppm * 1e-6 * k * PACKET_S
        block = open_block()
        assert fed(block, drift_s) < 0.007
        assert abs(real(block, layout.BASE_S) - drift_s[-1]) < 0.0021


def test_modes_differ_in_what_they_add() -> None:
    jitter_s = np.random.default_rng(4).uniform(0, 0.03, 2000)
    adaptive = fed(open_block(), jitter_s)
    headroom = fed(open_block(mode=DelayMode.HEADROOM, delay_ms=15), jitter_s)
    assert headroom == pytest.approx(adaptive + 0.015)
    assert fed(open_block(mode=DelayMode.FIXED, delay_ms=15), jitter_s) == 0.015


def test_the_aim_keeps_to_the_largest_delay() -> None:
    jitter_s = np.random.default_rng(5).uniform(0, 0.5, 2000)
    assert fed(open_block(max_delay_ms=80), jitter_s) == 0.08


def test_before_anything_is_known_a_guess_is_aimed_for() -> None:
    assert fed(open_block(safety=0.0), []) == pytest.approx(0.012)
    assert fed(open_block(safety=1.0), []) == pytest.approx(0.082)
    assert real(open_block(), layout.BASE_S) == math.inf


@pytest.mark.parametrize(
    "settings",
    [{"safety": -0.1}, {"safety": 1.1}, {"delay_ms": -1}, {"delay_ms": 300}, {"max_delay_ms": 0}],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DelayConfig(**settings)  # type: ignore[arg-type]  # one of several floats
    with pytest.raises(ConfigError, match=r"mode is .fixed.; known: .*DelayMode\.FIXED"):
        DelayConfig(mode="fixed")  # type: ignore[arg-type]  # what is wrong


# ---- the speed ----------------------------------------------------------------------------------


def played_for(
    seconds: float, ppm: float = 0.0, falls_s: float = 0.0
) -> tuple[Block, np.ndarray, np.ndarray]:
    """Play a stream whose clock is ``ppm`` fast and whose network is faster after 2 s.

    Returns the block, and of each tick the delay and the speed, less those aimed for.
    """
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=60.0)
    buffer = JitterBuffer(JitterConfig(clock_rate=RATE, block=BLOCK, delay=delay))
    sent, excess, stretch = 0, [], []
    for tick in range(round(seconds / PACKET_S)):
        now_s = tick * PACKET_S
        while (at_s := sent * PACKET_S * (1.0 - ppm * 1e-6)) + falls_s * (at_s < 2.0) <= now_s:
            packet = RtpPacket(0, sent % 2**16, sent * PACKET % 2**32, 1, b"")
            buffer.put(packet, PACKET, at_s + falls_s * (at_s < 2.0))
            sent += 1
        while not buffer.receiver.play(now_s):
            if buffer.pull(now_s) is not Turn.WAIT:
                buffer.receiver.append()
        excess.append(buffer.receiver.played_delay_s - buffer.receiver.target_s - PACKET_S)
        stretch.append(buffer.receiver.step - 1.0)
    return buffer.receiver.block, np.array(excess), np.array(stretch)


@pytest.mark.parametrize("ppm", [-500, -50, 50, 500])
def test_a_drift_is_learnt_and_the_delay_brought_to_its_aim(ppm: float) -> None:
    block, excess, stretch = played_for(600.0, ppm)
    # The base is that of 4 s, in which a clock moves by 2 ms at most.
    assert np.abs(excess[500:]).max() < 0.018
    assert np.abs(excess[-500:]).max() < 0.002
    assert real(block, layout.DRIFT) == pytest.approx(ppm * 1e-6, abs=1e-5)
    assert stretch[-1] == pytest.approx(ppm * 1e-6, abs=2e-5)


def test_a_clock_that_agrees_is_left_alone() -> None:
    _, _, stretch = played_for(60.0)
    assert not stretch.any()


def test_an_excess_without_drift_is_played_off_and_the_rate_is_nominal_again() -> None:
    block, excess, stretch = played_for(120.0, falls_s=0.05)
    assert excess[150:200].max() > 0.03
    assert not block[layout.ENGAGED]
    assert stretch[-1] == 0.0
    assert real(block, layout.LINE_AT) % 1.0 == 0.0
    assert abs(excess[-1]) < 0.002


@pytest.mark.parametrize("jitter_s", [0.0, 0.002])
def test_an_aim_that_fell_is_played_off_and_the_rest_comes_out_bit_for_bit(jitter_s: float) -> None:
    rng = np.random.default_rng(1)
    buffer = JitterBuffer(JitterConfig(clock_rate=RATE, block=BLOCK))
    whole = []
    for tick in range(5000):
        now_s = tick * PACKET_S
        packet = RtpPacket(0, tick, tick * PACKET, 1, b"")
        buffer.put(packet, PACKET, now_s - jitter_s * rng.random())
        while not buffer.receiver.play(now_s):
            if buffer.pull(now_s) is not Turn.WAIT:
                buffer.receiver.append()
        line_at = real(buffer.receiver.block, layout.LINE_AT)
        whole.append(buffer.receiver.step == 1.0 and line_at % 1.0 == 0.0)
    assert not all(whole[:2500])
    assert all(whole[2500:])


def test_the_rate_never_moves_fast_nor_far() -> None:
    _, _, stretch = played_for(100.0, 500.0, falls_s=0.1)
    assert np.abs(stretch).max() <= line._MOST_STRETCH
    # 200 ppm a second: a cent in 3 s.
    assert np.abs(np.diff(stretch)).max() <= 2.001e-4 * PACKET_S


# ---- ten seconds behind a disturbance -----------------------------------------------------------

CALM_S, DISTURBED_S, AFTER_S = 10.0, 20.0, 15.0
DISTURBANCES: dict[str, Callable[[int], float]] = {
    "none": lambda k: 0.0,
    "delays of 0 to 150 ms": lambda k: 0.15 * (k * 7919 % 101 / 100),
    "a way that is 150 ms longer": lambda k: 0.15,
    "one in 40 is late by 150 ms": lambda k: 0.15 * (k % 40 == 7),
}


def delays_of(held_up: Callable[[int], float], pause_s: float) -> np.ndarray:
    """Return the delay of each tick; speech pauses every 2 s and is disturbed for a time."""
    sent = []
    for k in range(3000):
        at_s = k * PACKET_S + k // 100 * pause_s
        late_s = held_up(k) if CALM_S <= at_s < CALM_S + DISTURBED_S else 0.0
        sent.append((at_s + 0.002 * (k % 3) + late_s, k, round(at_s * RATE)))
    incoming = Incoming(sent)
    buffer = JitterBuffer(JitterConfig(clock_rate=RATE, block=BLOCK))
    delays = []
    for tick in range(round((CALM_S + DISTURBED_S + AFTER_S) / PACKET_S)):
        now_s = tick * PACKET_S
        for at_s, k, stamp in incoming.until(now_s + 1e-9):
            buffer.put(RtpPacket(0, k, stamp, 1, b""), PACKET, at_s)
        while not buffer.receiver.play(now_s):
            if buffer.pull(now_s) is not Turn.WAIT:
                buffer.receiver.append()
        delays.append(buffer.receiver.played_delay_s)
    return np.array(delays)


@pytest.mark.parametrize("pause_s", [0.0, 1.2])
@pytest.mark.parametrize("kind", [kind for kind in DISTURBANCES if kind != "none"])
def test_ten_seconds_behind_a_disturbance_the_delay_is_as_without(
    kind: str, pause_s: float
) -> None:
    disturbed = delays_of(DISTURBANCES[kind], pause_s)
    calm = delays_of(DISTURBANCES["none"], pause_s)
    begin, stop = round(CALM_S / PACKET_S), round((CALM_S + DISTURBED_S) / PACKET_S)
    assert disturbed[begin : stop + 50].max() > 0.1
    after = stop + round(10.0 / PACKET_S)
    assert disturbed[after:].max() <= calm[after:].max() + 0.01
