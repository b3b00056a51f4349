import numpy as np
import pytest
from numpy.typing import NDArray

from plc import detect
from plc.restore.detect.clicks import residual
from plc.restore.detect.findings import Finding
from plc.restore.detect.seams import is_seam, is_stutter, jumps_at
from tests.signals import glide, tones

RATE = 32_000
LENGTH = 320


def sound(seconds: float = 16.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(7)
    samples = round(seconds * RATE)
    return (glide(4, RATE, samples) + 0.02 * rng.standard_normal(samples)).astype(np.float32)


def put_in(period_s: float) -> tuple[NDArray[np.float32], list[int]]:
    """Say a block again at equal distances in what comes out; the recording gets longer."""
    x = sound()
    parts, places, until, made = [], [], 0, 0
    while True:
        place = until + round(period_s * RATE) - (LENGTH if until else 0)
        if place > x.size - RATE:
            break
        parts += [x[until:place], x[place - LENGTH : place]]
        places.append(made + place - until)
        made += place - until + LENGTH
        until = place
    return np.concatenate([*parts, x[until:]]), places


def test_a_block_that_was_put_in_is_a_seam_and_a_wave_that_recurs_is_none() -> None:
    x, places = put_in(2.0)
    errors = residual(x, RATE)
    blocks = [Finding(place, place + LENGTH, "repeat", 1.0) for place in places]
    assert sum(is_seam(x, each, RATE, errors) for each in blocks) >= 0.6 * len(blocks)
    assert all(jumps_at(errors, each, RATE)[1] < 1.0 for each in blocks)
    for place in places:
        assert not is_seam(x, Finding(place + 5000, place + 5320, "repeat", 1.0), RATE, errors)
    steady = tones(3, RATE, 4 * RATE)
    wave = Finding(RATE, RATE + LENGTH, "repeat", 1.0)
    assert not is_seam(steady, wave, RATE, residual(steady, RATE))


def test_a_long_block_that_takes_the_place_of_another_is_a_stutter() -> None:
    x = sound()
    for ms, stutters in ((20, 0), (60, 3)):
        block = ms * RATE // 1000
        places = range(RATE, x.size - RATE, RATE)
        y = x.copy()
        for place in places:
            y[place : place + block] = x[place - block : place]
        blocks = [Finding(place, place + block, "repeat", 1.0) for place in places]
        errors = residual(y, RATE)
        assert sum(is_stutter(each, RATE, errors) for each in blocks) >= stutters
        assert not stutters or not any(
            is_seam(y, each, RATE, errors) and is_stutter(each, RATE, errors) for each in blocks
        )


@pytest.mark.parametrize("period_s", [0.3, 0.7])
def test_blocks_put_in_regularly_are_found_and_not_doubted(period_s: float) -> None:
    x, places = put_in(period_s)
    filled = [each for each in detect(x, sample_rate=RATE) if not each.doubt]
    found = [any(abs(each.start - place) < 40 for each in filled) for place in places]
    assert sum(found) >= 0.9 * len(places)
    assert len(filled) == sum(found)


def test_a_regular_stutter_is_doubted() -> None:
    x = sound()
    block = round(0.0625 * RATE)
    for start in range(RATE, x.size - RATE, RATE):
        x[start : start + block] = x[start - block : start]
    found = detect(x, sample_rate=RATE)
    assert len(found) >= 10
    assert all(each.doubt for each in found)
