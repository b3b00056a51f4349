from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Finding, detect
from plc.restore.detect.findings import LONG
from plc.restore.detect.plausible import weigh
from plc.restore.detect.rhythm import on_beats
from plc_bench.restore.damage import through
from plc_bench.restore.kinds import undamaged
from plc_bench.restore.sounds import Studio
from tests.examples import some
from tests.signals import glide, sine, tones

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


@some("kind", QUICK, 3)
def test_an_undamaged_recording_is_left_alone(kind: str) -> None:
    signal = undamaged(kind, RATE)
    changed = np.zeros(len(signal), np.bool_)
    for each in detect(signal, sample_rate=RATE):
        if not each.doubt:
            changed[each.start : each.stop] = True
    assert changed.mean() <= 0.01


def test_lost_packets_of_a_tenth_are_damage() -> None:
    rng = np.random.default_rng(5)
    x = tones(3, RATE, 6 * RATE)
    lost = np.flatnonzero(rng.random(280) < 0.1) + 10
    for packet in lost:
        x[packet * 320 : (packet + 1) * 320] = 0.0
    found = detect(x, sample_rate=RATE)
    assert len(found) > 10
    assert not any(each.doubt for each in found if each.kind == "silence")


@some("step_ms", [20, 30])
def test_lost_packets_of_a_tenth_are_meant_so_in_a_sound_that_never_changes(step_ms: int) -> None:
    studio, step = Studio(np.random.default_rng(5), RATE, 6 * RATE), step_ms * RATE // 1000
    lost = np.repeat(studio.rng.random(6 * RATE // step) < 0.12, step)[: 6 * RATE]
    organ = studio.harmonics(196.0) + studio.harmonics(294.0)
    for x, meant in ((0.3 * studio.tone(440.0), True), (organ, True), (studio.music(), False)):
        found = detect((x[: lost.size] * ~lost).astype(np.float32), sample_rate=RATE)
        assert len(found) > 10
        assert {bool(each.doubt) for each in found} == {meant}


@some("floor_db", [-200.0, -50.0, -95.0, -70.0, -60.0], 2)
def test_a_click_in_a_pause_is_found_and_the_pause_stays(floor_db: float) -> None:
    x = tones(3, RATE, 4 * RATE)
    x[24_000:31_000] = 0.0
    x += (10 ** (floor_db / 20) * np.random.default_rng(1).standard_normal(x.size)).astype("f4")
    x[27_000] += 0.3
    clicks = [each for each in detect(x, sample_rate=RATE) if each.kind == "click"]
    assert any(each.start <= 27_000 < each.stop for each in clicks)


def in_a_pause(click: NDArray[np.float32], places: Sequence[int]) -> list[Finding]:
    """Return the clicks that are found in a pause with one at each of the places."""
    x = tones(3, RATE, 12 * RATE)
    x[2 * RATE : 10 * RATE] = 0.0
    x += (1e-3 * np.random.default_rng(1).standard_normal(x.size)).astype("f4")
    for place in places:
        x[place : place + click.size] += click
    found = detect(x, sample_rate=RATE)
    return [
        each
        for each in found
        if any(each.start <= place + click.size and place <= each.stop for place in places)
        and each.kind == "click"
    ]


@some("seconds", [(0.5, 2.5, 4.5), (0.5,)])
@pytest.mark.parametrize("dither", [0.0, 1 / 32768])
def test_impulses_in_silence_are_what_was_recorded(
    seconds: tuple[float, ...], dither: float
) -> None:
    rng = np.random.default_rng(3)
    steps = rng.random(6 * RATE) - rng.random(6 * RATE) if dither else np.zeros(6 * RATE)
    x = (np.round(steps) * dither).astype(np.float32)
    x[[round(each * RATE) for each in seconds]] = 0.9
    found = detect(x, sample_rate=RATE)
    assert len(found) == len(seconds)
    assert all(each.doubt for each in found)


def ringing(hertz: float) -> NDArray[np.float32]:
    """Return a click as a mouth makes it: of one resonance, and over within a millisecond."""
    time_s = np.arange(24) / RATE
    wave = np.sin(2 * np.pi * hertz * time_s) * np.exp(-time_s / 2.5e-4)
    click: NDArray[np.float32] = (0.1 * wave / np.abs(wave).max()).astype(np.float32)
    return click


@some("hertz", [900.0, 600.0, 1200.0])
def test_a_single_click_of_few_frequencies_is_doubted(hertz: float) -> None:
    [found] = in_a_pause(ringing(hertz), [80_000])
    assert found.doubt


def test_many_clicks_of_few_frequencies_are_damage() -> None:
    places = [40_003, 57_011, 61_503, 90_020, 101_017, 133_333, 140_211]
    found = in_a_pause(ringing(900.0), places)
    assert len(found) == len(places)
    assert not any(each.doubt for each in found)


@some("container", ["mp3", "wav", "ogg"])
@some("floor_db", [-60.0, -95.0, -70.0, -50.0])
def test_a_single_click_in_a_pause_is_not_doubted_after_coding(
    container: str, floor_db: float
) -> None:
    x = tones(3, RATE, 4 * RATE)
    x[24_000:31_000] = 0.0
    x += (10 ** (floor_db / 20) * np.random.default_rng(1).standard_normal(x.size)).astype("f4")
    x[27_000] += 0.1
    found = detect(through(container, x, RATE), sample_rate=RATE)
    clicks = [each for each in found if each.kind == "click" and each.start <= 27_000 < each.stop]
    assert clicks
    assert not any(each.doubt for each in clicks)


@some("shape", ["sine", "triangle", "organ"], 3)
@some("rate", [16_000, 48_000])
def test_short_notes_of_a_synthesizer_are_no_repeated_blocks(shape: str, rate: int) -> None:
    waves = {
        "sine": lambda turns: np.sin(2 * np.pi * turns),
        "triangle": lambda turns: 2 * np.abs(2 * (turns % 1) - 1) - 1,
        "organ": lambda turns: sum(np.sin(2 * np.pi * k * turns) / k for k in (1, 2, 4)) / 1.75,
    }
    samples = rate // 10
    ramp = np.minimum(np.arange(samples), samples - np.arange(samples)) / (0.003 * rate)
    # At these rates each repeats itself to the sample after some periods.
    line = np.random.default_rng(1).choice([262, 294, 330, 349, 392, 440, 494, 523, 880], 40)
    line[1:][np.diff(line) == 0] = 587  # a note struck twice is said again
    notes = [waves[shape](np.arange(samples) * hertz / rate) for hertz in line]
    x = 0.3 * np.concatenate(notes) * np.tile(np.minimum(1, ramp), len(notes))
    found = detect((np.round(x * 32767) / 32768).astype(np.float32), sample_rate=rate)
    assert not [each for each in found if not each.doubt]


@some("length_ms", [12, 5, 25])
def test_a_stuck_block_of_a_tone_is_damage(length_ms: int) -> None:
    rate = 48_000
    x = (0.3 * np.sin(2 * np.pi * 443.7 * np.arange(4 * rate) / rate)).astype(np.float32)
    start, block = 2 * rate, length_ms * rate // 1000
    x[start : start + 3 * block] = np.tile(x[start - block : start], 3)
    assert [each for each in detect(x, sample_rate=rate) if not each.doubt]


def found_at(second: float, kind: str, confidence: float, seam: bool = False) -> Finding:
    start = round(second * RATE)
    return Finding(
        start=start, stop=start + 20, kind=kind, confidence=confidence, channels=(0,), seam=seam
    )


def test_what_is_doubted_itself_makes_nothing_else_sure() -> None:
    repeat, seam = found_at(1.0, "repeat", 0.6), found_at(3.0, "click", 0.8, seam=True)
    assert [bool(each.doubt) for each in weigh([repeat, seam], 9 * RATE, RATE)] == [True, True]
    other = found_at(5.0, "click", 0.8, seam=True)
    among = weigh([repeat, seam, other], 9 * RATE, RATE)
    assert [bool(each.doubt) for each in among] == [False] * 3


@pytest.mark.parametrize("kind", ["repeat", "silence", "dropout"])
@some("confidence", [0.84, 0.52])
def test_certain_clicks_make_no_hole_and_no_repeat_sure(kind: str, confidence: float) -> None:
    clicks = [found_at(each, "click", 0.99) for each in (1.0, 2.3, 6.1)]
    unsure = [found_at(4.0, kind, confidence), found_at(5.1, "click", confidence)]
    among = weigh([*clicks[:2], *unsure, clicks[2]], 9 * RATE, RATE)
    assert [bool(each.doubt) for each in among] == [False, False, True, False, False]
    assert not any(
        each.doubt for each in weigh([*unsure, found_at(6.0, kind, 0.99)], 9 * RATE, RATE)
    )


def test_long_blocks_without_a_jump_are_doubtful_alone_and_damage_beside_others() -> None:
    starts = (16_000, 68_000, 130_000)
    blocks = [Finding(each, each + 1_300, "repeat", 1.0, (0,)) for each in starts]
    assert all(each.doubt for each in weigh(blocks, 10 * RATE, RATE))
    jump = replace(blocks[1], stutter=True)
    among = weigh([blocks[0], jump, found_at(6.0, "silence", 1.0)], 10 * RATE, RATE)
    assert not any(each.doubt for each in among)


@some("rate", [16_000, 22_050, 44_100])
@some("length_ms, period_ms", [(20, 400), (5, 100), (10, 200)], 2)
def test_packets_that_are_lost_regularly_are_damage_and_longer_cuts_a_gate(
    rate: int, length_ms: int, period_ms: int
) -> None:
    x = tones(3, rate, 8 * rate)
    for times, doubted in ((1, False), (4, True)):
        y, starts_ms = x.copy(), range(700, 7_300, period_ms)
        for start_ms in starts_ms:
            y[start_ms * rate // 1000 : (start_ms + times * length_ms) * rate // 1000] = 0.0
        holes = [each for each in detect(y, sample_rate=rate) if each.kind == "silence"]
        assert len(holes) >= 0.9 * len(starts_ms)
        assert {bool(each.doubt) for each in holes} == {doubted}


def test_regular_holes_of_a_sound_cards_buffer_are_damage() -> None:
    found = cut(tones(3, RATE, 12 * RATE), [0.7, 3.2, 5.7, 8.2, 10.7], 512 / RATE)
    assert [bool(each.doubt) for each in found] == [False] * 5


def test_what_a_recorder_wrote_is_damage_however_regular() -> None:
    x = tones(3, RATE, 8 * RATE)
    for start in range(8000, 7 * RATE, 4000):
        x[start : start + 320] = -0.9
    found = detect(x, sample_rate=RATE)
    assert sum(each.written for each in found) == 26
    assert not any(each.doubt for each in found)


def test_short_zeros_on_a_grid_of_frames_are_damage() -> None:
    x = 0.6 * tones(3, 8000, 10 * 8000)
    for start in range(4000, 76_000, 2000):
        x[start : start + 10] = 0.0
    found = detect(x, sample_rate=8000)
    assert len(found) >= 15
    assert not any(each.doubt for each in found)


def test_a_recording_of_clicks_alone_has_no_damage() -> None:
    rng = np.random.default_rng(4)
    x = (0.001 * rng.standard_normal(8 * RATE)).astype("f4")
    for place in rng.integers(RATE, 7 * RATE, 24):
        x[place : place + 20] += 0.7 * np.exp(-np.arange(20) / 5).astype("f4")
    assert detect(x, sample_rate=RATE) == []


def test_steps_between_constant_levels_are_no_damage() -> None:
    levels = np.array([0.3, 0.0, -0.5, 0.0, 0.7, -0.2, 0.0, 0.4] * 10, np.float32)
    assert detect(np.repeat(levels, 240), sample_rate=RATE) == []


def test_a_rest_before_a_beat_is_no_damage() -> None:
    x = np.zeros(6 * RATE, np.float32)
    burst = np.random.default_rng(2).standard_normal(11_000) * np.exp(-np.arange(11_000) / 1900)
    for start in (2000, 17_000, 45_000, 62_000):
        x[start : start + 11_000] = 0.3 * burst
    assert detect(x, sample_rate=RATE) == []


def test_nearly_silent_holes_in_mp3_are_found_and_not_doubted() -> None:
    rate = 44_100
    rng = np.random.default_rng(6)
    x = 0.5 * tones(4, rate, 12 * rate) + 0.01 * rng.standard_normal(12 * rate).astype("f4")
    starts = [rate + 20_000 * number + int(rng.integers(0, 8000)) for number in range(20)]
    for start in starts:
        length = int(rng.integers(900, 4000))
        x[start : start + length] = 10 ** (-70 / 20) * rng.standard_normal(length)
    found = detect(through("mp3", x.astype(np.float32), rate), sample_rate=rate)
    hit = [any(abs(each.start - start) < 100 for each in found) for start in starts]
    assert sum(hit) >= 18
    assert len(found) == sum(hit)
    assert not any(each.doubt for each in found)


def test_blocks_said_again_between_seams_are_found_and_not_doubted() -> None:
    rate = 32_000
    rng = np.random.default_rng(7)
    x = glide(4, rate, 20 * rate) + 0.02 * rng.standard_normal(20 * rate).astype("f4")
    parts, places, until, held = [], [], 0, 0
    for number in range(12):
        start = int(rate * (1 + 1.5 * number + rng.uniform(0, 1)))
        length = int(rng.integers(200, 1800))
        parts += [x[until:start], x[start - length : start]]
        places.append((start + held, start + held + length))
        until, held = start, held + length
    signal = np.concatenate([*parts, x[until:]]).astype(np.float32)
    found = detect(signal, sample_rate=rate)
    assert {(each.start, each.stop) for each in found} <= set(places)
    assert len(found) >= 8
    assert not any(each.doubt for each in found)


def test_a_slow_metronome_is_doubted_and_a_scratch_that_turns_is_not() -> None:
    turns_s = {True: np.full(9, 1.2), False: 1.2 * np.random.default_rng(8).normal(1.0, 1e-3, 9)}
    for even, apart_s in turns_s.items():
        x = tones(3, RATE, 13 * RATE)
        for place_s in 1.0 + np.cumsum(apart_s):
            x[round(place_s * RATE)] += 0.5
        found = [each for each in detect(x, sample_rate=RATE) if each.kind == "click"]
        assert len(found) >= 8
        assert {bool(each.doubt) for each in found} == {even}


@some("turns_a_minute", [100 / 3, 45.0, 78.0, 50 / 3])
def test_clicks_of_a_scratch_come_again_with_each_turn_and_are_damage(
    turns_a_minute: float,
) -> None:
    x = tones(3, RATE, 20 * RATE)
    places = np.rint(np.arange(0.7, 19.0, 60.0 / turns_a_minute) * RATE).astype(int)
    x[places] += 0.5
    found = [each for each in detect(x, sample_rate=RATE) if each.kind == "click"]
    assert len(found) >= 0.8 * len(places)
    assert not any(each.doubt for each in found)


def cut(x: NDArray[np.float32], starts_s: Sequence[float], length_s: float) -> list[Finding]:
    """Return the findings in a sound that is cut off at some places."""
    y = x.copy()
    for start_s in starts_s:
        y[round(start_s * RATE) : round((start_s + length_s) * RATE)] = 0.0
    return detect(y, sample_rate=RATE)


@some("length_s, period_s", [(0.02, 0.5), (0.06, 2.0), (0.03, 1.0), (0.04, 1.5)], 2)
def test_regular_holes_of_a_packet_are_damage_where_sound_goes_on(
    length_s: float, period_s: float
) -> None:
    starts_s = np.arange(0.75, 11.5, period_s)
    found = cut(tones(3, RATE, 12 * RATE), starts_s.tolist(), length_s)
    assert len(found) == len(starts_s)
    assert not any(each.doubt for each in found)


@some("seed", [1, 2, 3])
def test_equal_stops_of_a_steady_tone_are_meant_so_where_they_are_a_tenth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for starts_s in (np.arange(0.5, 9.5, 0.5), 0.3 + np.cumsum(rng.uniform(0.3, 0.8, 15))):
        found = cut(sine(330.0, RATE, 10 * RATE), starts_s.tolist(), 0.06)
        assert len(found) == len(starts_s)
        assert all(each.doubt for each in found)


def test_cuts_of_drawn_lengths_are_meant_so_where_they_are_a_tenth() -> None:
    starts_s, length_s = (1.0, 2.1, 3.4, 4.2, 5.1), (0.068, 0.118, 0.134, 0.121, 0.158)
    for times, doubted in ((1.0, True), (0.4, False)):
        x = tones(3, RATE, 6 * RATE)
        for start_s, each_s in zip(starts_s, length_s, strict=True):
            x[round(start_s * RATE) : round((start_s + times * each_s) * RATE)] = 0.0
        found = [each for each in detect(x, sample_rate=RATE) if each.kind == "silence"]
        assert [bool(each.doubt) for each in found] == [doubted] * 5


@some("rate", [16_000, 44_100])
@some("seed", [1, 2])
def test_a_single_impulse_in_loud_music_with_drums_is_damage(rate: int, seed: int) -> None:
    studio = Studio(np.random.default_rng(seed), rate, 4 * rate)
    x = studio.music() + 0.3 * studio.every(370.0, lambda n: studio.drum(150.0))
    x *= 0.2 / np.std(x)
    x[2 * rate + rate // 7] += 0.5
    [found] = detect(np.clip(x, -1.0, 1.0).astype(np.float32), sample_rate=rate)
    assert (found.kind, found.doubt) == ("click", "")
    assert found.start <= 2 * rate + rate // 7 < found.stop


def test_blocks_of_a_steady_voice_that_are_said_again_are_found_to_the_sample() -> None:
    rate = 44_100
    x, length = glide(3, rate, 6 * rate), round(0.02 * rate)
    places = [round((0.7 + 0.8 * k) * rate) + 37 * k for k in range(6)]
    for place in places:
        x[place : place + length] = x[place - length : place]
    found = [each for each in detect(x, sample_rate=rate) if not each.doubt]
    assert [(each.start, each.stop) for each in found] == [(a, a + length) for a in places]


def test_regular_rests_between_other_notes_are_no_packets() -> None:
    notes = [(0.5, 2.0)[n % 2] * tones(20 + n, RATE, RATE) for n in range(12)]
    found = cut(np.concatenate(notes), [n - 0.04 for n in range(1, 12)], 0.04)
    assert len(found) >= 8
    assert all(each.doubt for each in found)


@some("length_s", [1.5, 0.3, 1.0])
def test_few_long_silences_are_filled_where_sound_goes_on(length_s: float) -> None:
    for starts_s in ([4.3], [4.3, 12.1]):
        found = cut(tones(3, RATE, 16 * RATE), starts_s, length_s)
        assert [bool(each.doubt) for each in found] == [False] * len(starts_s)
    found = cut(tones(3, RATE, 16 * RATE), [1.1, 4.3, 6.9, 10.2, 12.1, 14.0], length_s)
    assert len(found) == 6
    assert all(each.doubt for each in found)


def test_a_silence_that_is_too_long_to_fill_is_listed() -> None:
    [found] = cut(tones(3, RATE, 12 * RATE), [4.3], 2.0)
    assert found.doubt == LONG


def test_a_hole_is_doubtful_where_a_recording_has_more_silences_of_its_own() -> None:
    x = tones(3, RATE, 12 * RATE)
    gain = np.ones(x.size, np.float32)
    few = np.ones(x.size, np.float32)
    for start_s in (1.0, 3.0, 7.0, 9.0):  # faded on both sides, which is no hole
        faded = np.concatenate(
            [np.linspace(1, 0, 4_800), np.zeros(4_800), np.linspace(0, 1, 4_800)]
        )
        gain[round(start_s * RATE) :][: faded.size] = faded
    few[: 2 * RATE] = gain[: 2 * RATE]
    x[83_200:] = 0.3 * tones(8, RATE, x.size - 83_200)
    for own, doubted in ((x, False), (x * few, False), (x * gain, True)):
        found = cut(own, [5.2], 0.05)
        assert [bool(each.doubt) for each in found if each.start == 83_200] == [doubted]


def placed(kind: str, a_second: float, length_s: float, grid_s: float) -> list[Finding]:
    """Return findings of one kind at drawn places of 20 s, or of a grid."""
    rng = np.random.default_rng(4)
    count = round(20 * a_second)
    starts_s = np.arange(count) / a_second + rng.uniform(0.0, 0.7 / a_second, count)
    if grid_s:
        starts_s = grid_s * np.rint(starts_s / grid_s)
    return [
        Finding(round(each * RATE), round((each + length_s) * RATE), kind, 1.0, (0,))
        for each in starts_s
    ]


@pytest.mark.parametrize(
    ("kind", "few", "many", "length_s", "share_s"),
    [
        ("silence", 1.0, 3.0, 0.013, 0.055),
        ("dropout", 1.0, 2.0, 0.02, 0.1),
        ("repeat", 0.7, 1.5, 0.02, 0.12),
        ("click", 3.0, 6.0, 0.0005, 0.003),
    ],
)
def test_more_places_a_second_than_damage_has_are_a_property_of_the_recording(
    kind: str, few: float, many: float, length_s: float, share_s: float
) -> None:
    def doubted(a_second: float, length_s: float, grid_s: float = 0.0) -> set[bool]:
        found = placed(kind, a_second, length_s, grid_s)
        return {bool(each.doubt) for each in weigh(found, 20 * RATE, RATE)}

    assert doubted(few, length_s) == {False}
    assert doubted(many, length_s) == {True}
    assert doubted(few * 0.9 if kind == "click" else few, share_s) == {kind != "silence"}
    if kind == "silence":
        assert doubted(many, 0.02, 0.02) == {False}


@some("start", [0.37, 0.0])
def test_places_on_the_beats_of_a_tempo_are_told_from_drawn_ones(start: float) -> None:
    rng = np.random.default_rng(11)
    beats = np.array([3, 8, 11, 26, 30, 39, 44, 46])
    times_s = start + 0.125 * beats + rng.uniform(-1e-3, 1e-3, beats.size)
    assert on_beats(times_s, 0.004, (0.05, 0.7)).all()
    assert not on_beats(times_s * 8, 0.004, (0.05, 0.7)).any()
    for _ in range(20):
        assert not on_beats(np.sort(rng.uniform(0.0, 6.0, 8)), 0.004, (0.05, 0.7)).any()


def test_where_a_tone_is_cut_before_silence_is_no_click() -> None:
    x = 0.3 * np.sin(2 * np.pi * 425.0 * np.arange(4 * RATE) / RATE).astype("f4")
    for start in (9_003, 27_011, 47_101):
        x[start : start + 12_000] = 0.0
    assert [each for each in detect(x, sample_rate=RATE) if each.kind == "click"] == []


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["game", "lead of two pulses, filtered"])
def test_what_a_synthesizer_plays_is_left_alone(kind: str) -> None:
    found = detect(undamaged(kind, 44_100), sample_rate=44_100)
    assert [each for each in found if not each.doubt] == []
