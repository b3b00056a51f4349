import numpy as np
import pytest

from plc import detect
from plc_bench.detection.kinds import UNDAMAGED, undamaged
from tests.signals import tones

RATE = 16_000
QUICK = (
    "morse 20 wpm, keyed hard",
    "DTMF 50 ms on and off",
    "two channels in turn",
    "gated snare, 120 ms",
    "phrases, rests of 0.5 s, fades of 10 ms",
    "metronome, clicks of 10 ms",
    "trance gate, edges of 2 ms",
    "staccato, release of 20 ms",
    "chip tune",
)


@pytest.mark.parametrize("kind", QUICK)
def test_an_undamaged_recording_is_left_alone(kind: str) -> None:
    signal = undamaged(kind, RATE)
    changed = np.zeros(len(signal), np.bool_)
    for each in detect(signal, sample_rate=RATE):
        if not each.doubt:
            changed[each.start : each.stop] = True
    assert changed.mean() <= 0.01


def test_there_are_at_least_eighty_kinds() -> None:
    assert len(UNDAMAGED) >= 80


def test_lost_packets_of_a_tenth_are_damage() -> None:
    rng = np.random.default_rng(5)
    x = tones(3, RATE, 6 * RATE)
    lost = np.flatnonzero(rng.random(280) < 0.1) + 10
    for packet in lost:
        x[packet * 320 : (packet + 1) * 320] = 0.0
    found = detect(x, sample_rate=RATE)
    assert len(found) > 10
    assert not any(each.doubt for each in found if each.kind == "silence")


@pytest.mark.parametrize("floor_db", [-200.0, -95.0, -70.0, -60.0, -50.0])
def test_a_click_in_a_pause_is_found_and_the_pause_stays(floor_db: float) -> None:
    x = tones(3, RATE, 4 * RATE)
    x[24_000:31_000] = 0.0
    x += (10 ** (floor_db / 20) * np.random.default_rng(1).standard_normal(x.size)).astype("f4")
    x[27_000] += 0.3
    clicks = [each for each in detect(x, sample_rate=RATE) if each.kind == "click"]
    assert any(each.start <= 27_000 < each.stop for each in clicks)
