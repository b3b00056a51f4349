"""What becomes of each part of a burst, told by the counters of a stream.

At 16 kHz a burst of tones is played at full level for 60 ms, one of a voice for 80 ms; the fade
takes 100 ms, and a bridge spans 60 ms at most.
"""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer
from plc.engine.stream.stats import Stats
from plc_kernels.stream.layout import FADE_MS, RECOVERY_MS, STEADY_HOLD_MS, UNSTEADY_HOLD_MS
from tests.signals import content, tones, voice

RATE = 16_000
PACKET = 160
"""10 ms."""
CROSSFADE = round(RATE * RECOVERY_MS / 1000)
FADED = round(RATE * (STEADY_HOLD_MS + FADE_MS) / 1000)
LEAD = 60
"""Packets received before the first loss."""


def played(
    pattern: str, lookahead: int = 0, packet: int = PACKET, method: Any = "ar"
) -> tuple[Stats, NDArray[np.float32], NDArray[np.float32]]:
    """Push a lead and a pattern, x for lost; return counters, what was played and the signal."""
    concealer = Concealer(RATE, 1, packet, lookahead, method=method, budget_ms=float("inf"))
    trace = "." * (LEAD * PACKET // packet) + pattern
    signal = tones(1, RATE, len(trace) * packet)
    packets = signal.reshape(-1, packet, 1)
    out = [
        concealer.push(None if fate == "x" else x) for fate, x in zip(trace, packets, strict=True)
    ]
    whole = np.concatenate([*out, concealer.flush()])[lookahead * packet :, 0]
    return concealer.stats, whole[LEAD * PACKET :], signal[LEAD * PACKET :]


# Pattern and packets of lookahead; then bursts, and packets concealed, bridged and silent.
CASES = {
    "packets in order are played": ("....", 0, (0, 0, 0, 0)),
    "lookahead does not change that": ("....", 2, (0, 0, 0, 0)),
    "a loss is extended into": ("..x..", 0, (1, 1, 0, 0)),
    "or bridged": ("..x..", 1, (1, 1, 1, 0)),
    "a burst goes on": ("..xxxx..", 0, (1, 4, 0, 0)),
    "a gap is bridged as a whole": ("..xxxx..", 4, (1, 4, 4, 0)),
    "where the far side is far, its end is": ("..xxxx..", 2, (1, 4, 2, 0)),
    "a bridge spans the hold": ("..xxxxxx...", 7, (1, 6, 6, 0)),
    "a quarter of a gap of music is known": ("..xxxxxx..", 6, (1, 6, 5, 0)),
    "what is longer is extended until it does": ("..xxxxxxx..", 7, (1, 7, 6, 0)),
    "a bridge begins within the hold": ("..xxxxxx...", 1, (1, 6, 1, 0)),
    "not once the level falls": ("..xxxxxxx..", 1, (1, 7, 0, 0)),
    "a loss after a bridge is a new one": ("..x.x..", 1, (2, 2, 2, 0)),
    "the fade is still a prediction": ("." + 16 * "x" + "..", 0, (1, 16, 0, 0)),
    "beyond it there is noise": ("." + 17 * "x" + "..", 0, (1, 17, 0, 1)),
    "whatever is known of the far side": ("." + 19 * "x" + "..", 3, (1, 19, 0, 3)),
    "nothing follows at the end": ("...xx", 2, (1, 2, 0, 0)),
}


@pytest.mark.parametrize(("pattern", "lookahead", "expected"), CASES.values(), ids=CASES)
def test_what_is_played(pattern: str, lookahead: int, expected: tuple[int, int, int, int]) -> None:
    stats, _, _ = played(pattern, lookahead)
    bursts, concealed, bridged, silent = expected
    assert stats.concealment_events == bursts
    assert stats.concealed_samples == PACKET * concealed
    assert stats.bridged_samples == PACKET * bridged
    assert stats.silent_concealed_samples == PACKET * silent
    assert stats.rung_samples["noise"] == PACKET * silent


@pytest.mark.parametrize("lost", [1, 3, 16, 40])
def test_the_first_samples_after_a_burst_are_blended_and_no_others(lost: int) -> None:
    stats, out, signal = played(".." + lost * "x" + "....")
    begin = PACKET * (2 + lost)
    assert stats.crossfaded_samples == CROSSFADE
    np.testing.assert_array_equal(out[: 2 * PACKET], signal[: 2 * PACKET])
    assert not np.array_equal(out[begin:][:CROSSFADE], signal[begin:][:CROSSFADE])
    np.testing.assert_array_equal(out[begin + CROSSFADE :], signal[begin + CROSSFADE :])


def test_a_bridge_runs_into_what_follows_without_a_crossfade() -> None:
    stats, out, signal = played("..xx...", 2)
    assert stats.crossfaded_samples == 0
    lost = slice(2 * PACKET, 4 * PACKET)
    assert not np.array_equal(out[lost], signal[lost])
    np.testing.assert_array_equal(np.delete(out, lost), np.delete(signal, lost))


def test_next_to_nothing_is_not_bridged_to() -> None:
    stats, _, _ = played("..x...", 1, packet=80)
    assert (stats.bridged_samples, stats.concealed_samples) == (0, 80)
    assert stats.crossfaded_samples == CROSSFADE


def test_a_crossfade_goes_on_in_the_next_packet() -> None:
    whole, _, _ = played("x...", packet=32)
    again, _, _ = played("x.x...", packet=32)
    assert whole.crossfaded_samples == CROSSFADE
    assert whole.concealment_events == 1
    # A loss before its end is a burst of its own.
    assert again.concealment_events == 2
    assert again.crossfaded_samples == 32 + CROSSFADE


def test_a_loss_within_the_crossfade_may_be_bridged() -> None:
    stats, _, _ = played("xxxx.x......", 6, packet=32)
    assert stats.concealment_events == 2
    assert stats.bridged_samples == 32


def test_a_bridge_is_played_to_its_end_even_past_the_fade() -> None:
    packet = 7 * PACKET  # 70 ms: a bridge may be as long as a packet
    stats, _, _ = played("x...", 1, packet=packet, method="burg:5/30")
    assert stats.bridged_samples == packet
    assert stats.silent_concealed_samples == 0


def test_a_burst_holds_its_level_then_fades() -> None:
    longer, out, signal = played(".." + 30 * "x" + "..")
    gap, truth = out[2 * PACKET :][:FADED], signal[2 * PACKET :][:FADED]
    ratio = [
        float(np.std(gap[k : k + PACKET]) / np.std(truth[k : k + PACKET]))
        for k in range(0, FADED, PACKET)
    ]
    assert min(ratio[:6]) > 0.7
    assert ratio[6] > ratio[9] > ratio[12] > ratio[15]
    assert ratio[15] < 0.2
    assert longer.longest_burst_samples == 30 * PACKET


def test_a_voice_fades_later() -> None:
    assert UNSTEADY_HOLD_MS > STEADY_HOLD_MS
    rng = np.random.default_rng(3)
    syllable = [rng.uniform(0.1, 1.0) * tones(k, RATE, 800, 0.3) for k in range(40)]
    hiss = [rng.uniform(0.01, 0.3) * rng.standard_normal(800) for _ in range(40)]
    pairs = zip(syllable, hiss, strict=True)
    signal = np.concatenate([part for pair in pairs for part in pair]).astype(np.float32)
    concealer = Concealer(RATE, 1, PACKET, method="ar", budget_ms=float("inf"))
    for packet in signal.reshape(-1, PACKET, 1):
        concealer.push(packet)
    for _ in range(20):
        concealer.push(None)
    assert concealer.stats.silent_concealed_samples == (20 - 18) * PACKET


@pytest.mark.parametrize("method", ["ar", "auto"])
@pytest.mark.parametrize("fall_db_per_s", [100.0, 200.0])
def test_a_word_that_ends_gets_no_louder(method: Any, fall_db_per_s: float) -> None:
    """A voice that has been falling for 80 ms is not played on above the level it fell to."""
    lead = content("speech", RATE, 4 * RATE)[:, 0]
    ending = 1.5 * voice(RATE, 0.6, 120.0, 0.3)
    falling_s = np.maximum(np.arange(ending.size) / RATE - 0.2, 0.0)
    ending *= (10.0 ** (-fall_db_per_s * falling_s / 20.0)).astype(np.float32)
    signal = np.concatenate([lead, ending])
    begin = lead.size + 28 * PACKET
    concealer = Concealer(RATE, 1, PACKET, method=method, budget_ms=math.inf)
    out = np.concatenate(
        [
            concealer.push(None if at >= begin else signal[at : at + PACKET, None])
            for at in range(0, signal.size, PACKET)
        ]
    )
    levels = np.square(out[begin - PACKET :, 0].reshape(-1, PACKET)).mean(1)
    assert 10.0 * np.log10(levels[1:].max() / levels[0]) < 2.0
    assert 10.0 * np.log10(levels[20:].max() / levels[0]) < -10.0


@pytest.mark.parametrize("method", ["ar", "auto"])
@pytest.mark.parametrize(
    ("rate", "packet", "known"), [(8000, 160, 1), (16_000, 320, 2), (48_000, 480, 2)]
)
def test_a_tone_that_has_just_begun_keeps_its_level(
    method: Any, rate: int, packet: int, known: int
) -> None:
    """20 ms of two tones (of DTMF) are played on at their level until the fade."""
    silent, packets = rate // packet, 60 * rate // (1000 * packet)
    time_s = np.arange((known + packets) * packet) / rate
    signal = 0.2 * (np.sin(2 * np.pi * 697 * time_s) + np.sin(2 * np.pi * 1209 * time_s))
    noise = 1e-4 * np.random.default_rng(0).standard_normal(silent * packet + signal.size)
    noise[silent * packet :] += signal
    whole = noise.astype(np.float32).reshape(-1, packet, 1)
    concealer = Concealer(rate, 1, packet, method=method, budget_ms=math.inf)
    for k, heard in enumerate(whole):
        lost = k >= silent + known
        played = concealer.push(None if lost else heard)
        if lost:
            level_db = 10 * np.log10(np.square(played).mean() / np.square(heard).mean())
            assert abs(level_db) < 3.0, k - silent - known
