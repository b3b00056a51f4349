import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import ConfigError, Detector, Finding, PacketError, detect
from plc.restore.detect import search
from plc.restore.detect.clicks import flatness
from plc.restore.detect.findings import KINDS, Selection, runs
from plc.restore.detect.recorded import detect_file, write_labels
from tests.examples import some
from tests.signals import glide, noise, sine, tones

RATE = 44_100
SECOND = RATE


def music(seconds: float = 4.0, seed: int = 3, rate: int = RATE) -> NDArray[np.float32]:
    """Return a chord that dies away and a voice that goes on."""
    samples = round(seconds * rate)
    return tones(seed, rate, samples, 0.05) + glide(seed + 1, rate, samples)


def ms(length: float) -> int:
    return round(length * RATE / 1000)


def only(findings: list[Finding], start: int, stop: int, slack_ms: float = 1.0) -> Finding:
    """Return the one finding, which must lie at the given place."""
    assert len(findings) == 1, findings
    assert abs(findings[0].start - start) <= ms(slack_ms), (findings, start)
    assert abs(findings[0].stop - stop) <= ms(slack_ms), (findings, stop)
    return findings[0]


@some("length_ms", [5, 150, 20], 2)
@pytest.mark.parametrize("value", [0.0, 0.02])
def test_a_muted_or_stuck_stretch_is_found_to_the_sample(length_ms: float, value: float) -> None:
    x = music()
    start, stop = 60_000, 60_000 + ms(length_ms)
    x[start:stop] = value
    found = only(detect(x, sample_rate=RATE), start, stop, 0.0 if value == 0.0 else 0.1)
    assert (found.kind, found.confidence, found.channels) == ("silence", 1.0, (0,))


@some("length_ms", [10, 120, 40], 2)
def test_a_repeated_block_is_found(length_ms: float) -> None:
    x = music()
    start, length = 60_000, ms(length_ms)
    x[start : start + length] = x[start - length : start]
    assert only(detect(x, sample_rate=RATE), start, start + length).kind == "repeat"


def test_a_block_that_sticks_is_found_from_its_first_copy_on() -> None:
    x = music()
    start, length = 60_000, ms(10)
    x[start : start + 6 * length] = np.tile(x[start - length : start], 6)
    assert only(detect(x, sample_rate=RATE), start, start + 6 * length).kind == "repeat"


@some("length_ms", [20, 60])
def test_a_faded_dropout_is_found_with_its_ramps(length_ms: float) -> None:
    x = music()
    start, length, ramp = 60_000, ms(length_ms), ms(4)
    gain = np.zeros(length)
    gain[:ramp], gain[-ramp:] = np.linspace(1, 0, ramp), np.linspace(0, 1, ramp)
    x[start : start + length] *= gain
    assert only(detect(x, sample_rate=RATE), start, start + length, 3.0).kind == "dropout"


def test_a_click_is_found() -> None:
    x = music()
    x[60_000] += 0.6
    assert only(detect(x, sample_rate=RATE), 60_000, 60_001).kind == "click"


@some("gain", [0.02, 1.0, 0.1])
@some("length, off", [(1, 0), (20, 2), (60, 2), (2, 2), (5, 2)], 3)
def test_of_a_click_those_samples_are_told_that_it_damaged(
    length: int, off: int, gain: float
) -> None:
    x = np.float32(gain) * music() + noise(4, 4 * SECOND, 1e-4)
    shape = np.random.default_rng(length).uniform(0.4, 1.0, length) * (-1.0) ** np.arange(length)
    for start in (60_000, 90_000, 120_000):
        x[start : start + length] += (0.5 * shape).astype(np.float32)
    found = detect(x, sample_rate=RATE)
    assert [each.kind for each in found] == ["click"] * 3
    for each, start in zip(found, (60_000, 90_000, 120_000), strict=True):
        assert abs(each.start - start) <= off
        assert abs(each.stop - start - length) <= off


@some("rate", [16_000, RATE])
@some("seed", [1, 2, 3])
def test_of_loud_clicks_in_quiet_sound_nothing_but_these_is_told(rate: int, seed: int) -> None:
    x = np.float32(0.02) * music(5.0, seed, rate)
    places = [round(second * rate) for second in (1.0, 2.2, 2.203, 3.7)]
    x[places] += np.array([0.78, -0.6, 0.7, 0.4], np.float32)
    found = detect(x, sample_rate=rate)
    assert [(each.start, each.stop, each.kind) for each in found] == [
        (place, place + 1, "click") for place in places
    ]


def test_a_certain_click_beside_a_hole_is_told_besides() -> None:
    x = music()
    x[60_000:60_882] = 0.0
    x[60_882 + ms(3)] += 0.9
    hole, click = detect(x, sample_rate=RATE)
    assert (hole.kind, hole.start, hole.stop) == ("silence", 60_000, 60_882)
    assert (click.kind, click.start, click.stop) == ("click", 60_882 + ms(3), 60_883 + ms(3))


@some("level_db", [-40, 0, -20, -30], 2)
def test_damage_is_found_however_quiet_the_recording_is(level_db: int) -> None:
    x = music()
    x[40_000:40_882], fade = 0.0, np.zeros(882, np.float32)
    fade[:100], fade[-100:] = np.linspace(1, 0, 100), np.linspace(0, 1, 100)
    x[80_000:80_882] *= fade
    x[120_000:120_882] = x[119_118:120_000]
    x = np.rint(x * 10 ** (level_db / 20) * 2**15).astype(np.int16)
    found = detect(x, sample_rate=RATE)
    assert [each.kind for each in found] == ["silence", "dropout", "repeat"]
    for each, start in zip(found, (40_000, 80_000, 120_000), strict=True):
        assert abs(each.start - start) + abs(each.stop - start - 882) <= ms(4)


@pytest.mark.parametrize("rate", [16_000, 44_100, 192_000])
def test_the_spectrum_of_a_click_is_flat_and_that_of_a_mouth_is_not(rate: int) -> None:
    samples = rate // 1000
    click = np.zeros(samples)
    click[samples // 3] = 0.4
    ring = sine(900.0, rate, samples) * np.exp(-4.0 * np.arange(samples) / samples)
    assert flatness(click, rate) == pytest.approx(1.0)
    assert flatness(ring, rate) < 0.3


@some("value", [np.nan, np.inf, -np.inf, 1e7], 2)
def test_samples_that_are_no_numbers_are_found_exactly(value: float) -> None:
    x = music(2.0)
    x[:30], x[50_000:50_007], x[-3:] = value, value, value
    found = detect(x, sample_rate=RATE)
    spans = [(each.start, each.stop) for each in found]
    assert spans == [(0, 30), (50_000, 50_007), (x.size - 3, x.size)]
    assert {(each.kind, each.confidence) for each in found} == {("invalid", 1.0)}


def test_invalid_samples_over_several_windows_are_one_finding() -> None:
    rate = 8_000
    x = music(25.0, rate=rate)
    x[rate : 23 * rate] = np.nan
    told = [(each.start, each.stop, each.kind) for each in detect(x, sample_rate=rate)]
    assert told == [(rate, 23 * rate, "invalid")]


def test_rests_fades_and_silence_are_no_damage() -> None:
    length = ms(400)
    decay = np.exp(-np.arange(length) / ms(50)) - np.exp(-length / ms(50))
    notes = []
    for seed, rest_ms in enumerate((50, 200, 5, 700, 20, 100, 300)):
        notes += [tones(seed, RATE, length) * decay, np.zeros(ms(rest_ms))]
    x = np.concatenate(notes).astype(np.float32)
    assert detect(x, sample_rate=RATE) == []
    assert detect(np.zeros(RATE, np.float32), sample_rate=RATE) == []
    assert detect(np.zeros(3, np.float32), sample_rate=RATE) == []


@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_undamaged_tones_and_noise_have_no_findings(rate: int) -> None:
    assert detect(tones(1, rate, rate), sample_rate=rate) == []
    assert detect(sine(100.0, rate, rate), sample_rate=rate) == []
    assert detect(noise(2, rate), sample_rate=rate) == []
    square = np.sign(sine(110.0, rate, rate)) * np.float32(0.3)
    assert [each for each in detect(square, sample_rate=rate) if each.kind == "silence"] == []


@pytest.mark.parametrize("rate", [8_000, 192_000])
def test_a_mute_is_found_at_every_rate(rate: int) -> None:
    x = tones(1, rate, rate)
    start, stop = rate // 2, rate // 2 + rate // 50
    x[start:stop] = 0.0
    assert [(each.start, each.stop) for each in detect(x, sample_rate=rate)] == [(start, stop)]


def test_channels_are_looked_at_apart_and_told_together() -> None:
    left, right = music(seed=3), music(seed=9)
    left[50_000:51_000] = 0.0
    right[50_000:51_000] = 0.0
    right[90_000:91_000] = 0.0
    found = detect(np.stack([left, right], axis=1), sample_rate=RATE)
    told = [(each.start, each.stop, each.channels) for each in found]
    assert told == [(50_000, 51_000, (0, 1)), (90_000, 91_000, (1,))]


def test_int16_is_looked_at_like_float32() -> None:
    x = music(2.0)
    x[50_000:51_000] = 0.0
    quantised = np.clip(np.rint(x * 32768), -32768, 32767).astype(np.int16)
    assert only(detect(quantised, sample_rate=RATE), 50_000, 51_000).kind == "silence"


def test_the_findings_do_not_depend_on_the_blocks() -> None:
    rate = 16_000
    x = music(24.0, rate=rate)[:, None]
    places = [3 * rate, 16 * rate - 100, 16 * rate + 500, 23 * rate]
    for place in places:
        x[place : place + 350] = 0.0
    expected = detect(x, sample_rate=rate)
    assert [each.start for each in expected] == places
    detector = Detector(rate, 1)
    found, at = [], 0
    for length in (7, 70_001, 199_983, x.size):
        found += detector.push(x[at : at + length])
        at += length
    assert found + detector.flush() == expected


def test_channels_whose_numbers_are_lost_in_turn_are_told_each() -> None:
    x = np.stack([music(), music(seed=9)], axis=1)
    spans = {(100_000, 100_020): 0, (100_018, 100_060): 1, (100_050, 100_090): 0}
    for (start, stop), channel in spans.items():
        x[start:stop, channel] = np.nan
    found = {(each.start, each.stop): each.channels for each in detect(x, sample_rate=RATE)}
    assert found == {span: (channel,) for span, channel in spans.items()}


def test_a_detector_holds_half_a_minute_at_most() -> None:
    detector = Detector(8_000, 2)
    block = np.zeros((8_000, 2), np.float32)
    for _ in range(50):
        detector.push(block)
        assert len(detector._held) <= 30 * 8_000


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="sample_rate is 4000; supported: 8000 to 768000 Hz"):
        detect(music(1.0), sample_rate=4_000)
    rates: tuple[Any, ...] = (44_100.5, 48_000.0, "48000", None)
    for rate in rates:
        with pytest.raises(ConfigError, match=f"sample_rate is {rate!r}; give an integer"):
            detect(music(1.0), sample_rate=rate)
    with pytest.raises(ConfigError, match="channels is 0"):
        Detector(RATE, 0)
    blocks: tuple[Any, ...] = (
        np.zeros(9, np.float32),
        np.zeros((9, 1), np.float32),
        np.zeros((9, 2)),
        np.zeros((9, 2), np.int16),
        [[0.0, 0.0]],
    )
    for block in blocks:
        with pytest.raises(PacketError, match="block is"):
            Detector(RATE, 2).push(block)
    with pytest.raises(PacketError, match="float32"):
        detect(np.zeros(100), sample_rate=RATE)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    x = music()
    x[60_000:60_500] = 0.0
    x[100_000:100_020] = np.nan
    path = tmp_path / "damaged.wav"
    soundfile.write(path, x, RATE, subtype="FLOAT")
    return path


def test_a_file_is_looked_at_like_an_array(damaged: Path) -> None:
    done: list[int] = []
    report = detect_file(damaged, progress=lambda samples, _: done.append(samples))
    signal = soundfile.read(damaged, dtype="float32")[0]
    assert list(report.findings) == detect(signal, sample_rate=RATE)
    assert done == sorted(done)
    assert done[-1] == report.samples == signal.size
    told = json.loads(json.dumps(report.as_dict()))
    assert told["counts"] == {"invalid": 1, "silence": 1}
    assert told["findings"][0]["start_s"] == pytest.approx(60_000 / RATE)
    assert set(told["counts"]) <= set(KINDS)


def test_left_out_is_what_was_not_asked_for_and_nothing_else(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click inside other damage is none by itself, and nobody left it out."""
    inner = Finding(start=60_100, stop=60_110, kind="click", confidence=1.0, channels=(0,))
    flush = Detector.flush

    def with_inner(detector: Detector) -> list[Finding]:
        return sorted([*flush(detector), inner], key=lambda each: each.start)

    monkeypatch.setattr(Detector, "flush", with_inner)
    assert detect_file(damaged).left_out == 0
    assert detect_file(damaged, selection=Selection(kinds=("silence",))).left_out == 1


def test_labels_are_as_audacity_reads_them(damaged: Path) -> None:
    labels = damaged.with_suffix(".txt")
    write_labels(labels, detect_file(damaged))
    lines = [line.split("\t") for line in labels.read_text().splitlines()]
    assert [line[2] for line in lines] == ["silence 1.00", "invalid 1.00"]
    assert [float(line[0]) for line in lines] == pytest.approx(
        [60_000 / RATE, 100_000 / RATE], abs=1e-6
    )


def test_places_of_channels_are_compared_with_those_near_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near, known = list[int](), search._join

    def join(found: list[Finding], beside: list[int], each: Finding, channel: int) -> None:
        near.append(len(beside))
        known(found, beside, each, channel)

    monkeypatch.setattr(search, "_join", join)
    signal = np.stack([tones(seed, RATE, RATE // 4) for seed in (1, 2, 3)], axis=1)
    signal[::2, 0] = signal[::2, 1] = signal[5::6, 2] = np.nan
    found = detect(signal, sample_rate=RATE)
    assert {each.channels for each in found if each.kind == "invalid"} == {(0, 1), (2,)}
    assert len(near) > RATE // 4
    assert max(near) <= 1


def test_runs_are_those_of_true() -> None:
    assert list(runs(np.array([1, 1, 0, 0, 1], bool))) == [(0, 2), (4, 5)]
    assert list(runs(np.zeros(0, bool))) == []


def melody(wave: str, seed: int, seconds: float = 4.0) -> NDArray[np.float32]:
    """Return notes of one wave shape, half of them of a whole number of samples a period."""
    rng = np.random.default_rng(seed)
    notes: list[NDArray[np.float64]] = []
    while sum(note.size for note in notes) < seconds * RATE:
        hertz = 220.0 * 2.0 ** (float(rng.integers(-18, 19)) / 12)
        hertz = RATE / round(RATE / hertz) if rng.random() < 0.5 else hertz
        samples = int(RATE * rng.uniform(0.2, 0.8))
        phase = np.arange(samples) * hertz / RATE % 1.0
        shapes = {"square": np.sign(0.5 - phase), "saw": 2.0 * phase - 1.0, "pulse": phase < 0.4}
        edge = np.minimum(1.0, np.arange(samples) / (0.005 * RATE))
        notes.append(0.4 * shapes[wave] * edge * edge[::-1])
    return np.concatenate(notes).astype(np.float32)


@some("wave, most", [("square", 0), ("saw", 0), ("pulse", 12)])
def test_a_wave_of_one_shape_is_a_pattern_and_no_damage(wave: str, most: int) -> None:
    """Of the gaps between pulses, several hundred, a few at the ends of notes are taken for it."""
    for seed in (5, 6):
        assert len(detect(melody(wave, seed), sample_rate=RATE)) <= most


def test_a_mute_within_a_square_wave_is_damage() -> None:
    x = melody("square", 5)
    start, stop = 60_000, 60_000 + ms(20)
    x[start:stop] = 0.0
    assert only(detect(x, sample_rate=RATE), start, stop, 0.1).kind == "silence"
