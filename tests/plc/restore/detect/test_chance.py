"""Rests and gates that damage does not explain, and damage that looks like them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Finding, detect
from plc.restore.detect import chance
from plc.restore.detect.chance import is_chosen
from plc.restore.detect.findings import REGULAR
from plc.restore.detect.plausible import weigh
from plc_bench.restore.sounds import Signal, Studio
from tests.examples import some
from tests.signals import tones

RATE = 16_000
SECONDS = 9


def _sequence(s: Studio, on_ms: float, rests_ms: tuple[float, ...], sound: str) -> Signal:
    """Return notes that are cut, as samplers and organs do, with rests between them."""

    def line() -> Iterator[Signal]:
        while True:
            ms = on_ms * s.rng.choice([1, 1, 2, 3]) - s.rng.choice(rests_ms)
            hertz = 90.0 * 2 ** (s.rng.integers(36) / 12)
            turns = s.time(ms) * hertz
            if sound == "triangle":
                yield 0.5 * (2 * np.abs(2 * (turns % 1) - 1) - 1)
            elif sound == "organ":
                yield 0.2 * sum((np.sin(2 * np.pi * k * turns) for k in (1, 2, 3, 4)), turns * 0)
            else:
                yield s.harmonics(hertz, ms)
            yield s.rest(s.rng.choice(rests_ms))

    return s.joined(line())


def _drums(s: Studio) -> Signal:
    """Return a drum machine whose samples are shorter than their sound."""
    sounds = s.kick(260.0), s.drum(200.0), s.hat(80.0)
    steps = s.rng.integers(0, 9, 16)

    def step(number: int) -> Signal:
        which = steps[number % 16] if number % 4 else 0
        return sounds[which][: s.of(s.rng.uniform(60.0, 110.0))] if which < 3 else s.rest(1.0)

    return s.every(131.0, step, 6.0)


def _spoken(s: Studio) -> Signal:
    return s.speech(s.rest, (40.0, 300.0)) + s.coloured(None, 1.0, 0.003)


def _gated(s: Studio, sound: Signal, threshold_db: float, hold_ms: float) -> Signal:
    """Return a sound behind a gate that has no fade."""
    level = np.sqrt(np.convolve(np.square(sound), np.ones(s.of(6.0)) / s.of(6.0), "same"))
    is_open = np.convolve(level > 10 ** (threshold_db / 20), np.ones(s.of(hold_ms) + 1))
    return sound * (is_open[: sound.size] > 0)


def _alarm(s: Studio) -> Signal:
    pair = 0.4 * s.tone(740.0, 210.0), 0.4 * s.tone(925.0, 210.0)
    return s.joined(each for n in range(99) for each in (pair[n % 2], s.rest(17.0)))


def _dialled(s: Studio) -> Signal:
    """Return six digits in silence."""
    parts = [s.rest(1500.0)]
    for low, high in ((697, 1209), (770, 1477), (941, 1336), (852, 1209), (697, 1477), (770, 1336)):
        parts += [0.22 * (s.tone(low, 90.0) + s.tone(high, 90.0)), s.rest(70.0)]
    return s.joined(parts)


HEALTHY: dict[str, Callable[[Studio], Signal]] = {
    "drum machine, samples cut": _drums,
    "sampler, notes cut": lambda s: _sequence(s, 160.0, (12.0, 24.0, 55.0), "harmonics"),
    "organ, keyed hard": lambda s: _sequence(s, 420.0, (40.0, 60.0, 90.0, 140.0), "organ"),
    "bass of a chip": lambda s: _sequence(s, 150.0, (20.0, 40.0, 60.0, 100.0), "triangle"),
    "alarm of two tones": _alarm,
    "six digits dialled": _dialled,
    "speech, gate without hold": lambda s: _gated(s, _spoken(s), -30.0, 0.0),
    "speech, gate with hold": lambda s: _gated(s, _spoken(s), -30.0, 60.0),
}


def recording(make: Callable[[Studio], Signal], seed: int) -> NDArray[np.float32]:
    """Return SECONDS of 16 bits."""
    made = make(Studio(np.random.default_rng(seed), RATE, SECONDS * RATE))
    rows: NDArray[np.float32] = np.round(np.clip(made, -1, 1) * 32767).astype(np.float32)
    return rows / np.float32(32768)


def holes_of(x: NDArray[np.float32]) -> list[int]:
    """Return the lengths of its silences of 5 to 150 ms."""
    edges = np.flatnonzero(np.diff(np.concatenate([[1], x, [1]]) != 0)).reshape(-1, 2)
    lengths = np.diff(edges, axis=1).ravel().tolist()
    return [each for each in lengths if 0.005 * RATE <= each <= 0.15 * RATE]


def filled(x: NDArray[np.float32]) -> list[Finding]:
    return [each for each in detect(x, sample_rate=RATE) if not each.doubt]


@some("seed", [21, 22])
@some("kind", HEALTHY, 4)
def test_what_a_rest_or_a_gate_made_silent_is_left_as_it_is(kind: str, seed: int) -> None:
    assert filled(recording(HEALTHY[kind], seed)) == []


@some("kind", HEALTHY, 2)
def test_holes_of_the_same_lengths_in_sound_that_goes_on_are_damage(kind: str) -> None:
    rng = np.random.default_rng(3)
    lengths = holes_of(recording(HEALTHY[kind], 21))[:12]
    x = tones(5, RATE, SECONDS * RATE)
    places = RATE // 2 + np.arange(len(lengths)) * (8 * RATE // len(lengths))
    places += rng.integers(0, 5 * RATE // len(lengths), len(lengths))
    for place, length in zip(places, lengths, strict=True):
        x[place : place + length] = 0.0
    found = filled(x)
    hit = [any(abs(each.start - place) < 50 for each in found) for place in places]
    assert sum(hit) >= 0.9 * len(lengths)
    assert len(found) == sum(hit)


def with_silence(lengths_ms: list[float], starts_ms: list[float]) -> NDArray[np.float32]:
    x = tones(6, RATE, SECONDS * RATE)
    for length_ms, start_ms in zip(lengths_ms, starts_ms, strict=True):
        start = round(start_ms * RATE / 1000)
        x[start : start + round(length_ms * RATE / 1000)] = 0.0
    return x


def test_one_long_rest_is_doubted_unless_sound_goes_on_or_shorter_damage_is_around() -> None:
    x = with_silence([250.0], [4300.0])
    assert len(filled(x)) == 1
    x[72_800:] = 0.3 * tones(8, RATE, x.size - 72_800)
    assert filled(x) == []
    for length_ms in (20.0, 100.0, 150.0):
        assert len(filled(with_silence([length_ms], [4300.0]))) == 1
    assert len(filled(with_silence([250.0, 20.0], [4300.0, 5500.0]))) == 2


def test_few_rests_between_beats_are_doubted_and_lost_packets_are_not() -> None:
    beat_ms, beats = 60_000 / 137 / 2, np.array([5, 9, 12, 19, 27])
    rests_ms = [beat_ms / 2, beat_ms / 4, beat_ms / 2, beat_ms / 4, beat_ms / 2]
    starts = [each * beat_ms - rest_ms for each, rest_ms in zip(beats, rests_ms, strict=True)]
    assert filled(with_silence(rests_ms, starts)) == []
    packets = np.random.default_rng(4).choice(np.arange(10, 80), 5, replace=False)
    packets_ms = [float(each) for each in 100 * np.sort(packets) + 20 * np.arange(5)]
    assert len(filled(with_silence([20.0, 40.0, 20.0, 80.0, 60.0], packets_ms))) == 5


@some("hertz", [147.3, 220.9, 311.7])
def test_a_steady_note_of_many_harmonics_repeats_nothing(hertz: float) -> None:
    rate = 44_100
    x = np.zeros(4 * rate)
    for start, semitones in ((0, 0), (rate, 3), (2 * rate, 7), (3 * rate, 5)):
        turns = np.arange(rate) * hertz * 2 ** (semitones / 12) / rate
        harmonics = range(1, int(0.45 * rate / hertz / 2 ** (semitones / 12)))
        x[start : start + rate] = 0.2 * sum(np.sin(2 * np.pi * k * turns) / k for k in harmonics)
    found = detect((np.round(x * 32767) / 32768).astype(np.float32), sample_rate=rate)
    assert [each for each in found if each.kind == "repeat" and not each.doubt] == []


@pytest.mark.parametrize("holes", [3, 8, 40])
def test_chance_is_true_to_its_name(holes: int) -> None:
    """Of ranks that are drawn, as many are found unlikely as is said."""
    rng = np.random.default_rng(holes)
    said = np.array([chance._chance(each) for each in rng.random((4000, holes))])
    for likely in (0.5, 0.1, 0.01):
        assert np.mean(said < likely) <= 1.3 * likely + 3 * np.sqrt(likely / 4000)
    assert chance._chance(np.full(holes, 0.02)) < 1e-4


@some("holes, apart_ms, length_ms", [(20, 75, 20), (20, 13, 5)])
def test_a_burst_of_losses_is_one_draw(holes: int, apart_ms: int, length_ms: int) -> None:
    """Its holes lie in sound that is alike."""
    chosen = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        swell = 10 ** (0.4 * np.sin(2 * np.pi * (0.25 * np.arange(8 * RATE) / RATE + rng.random())))
        x = (0.4 * tones(seed, RATE, 8 * RATE) * swell).astype(np.float32)
        starts = rng.integers(RATE, 6 * RATE) + np.arange(holes) * (apart_ms * RATE // 1000)
        stops = starts + length_ms * RATE // 1000
        found = [
            Finding(int(a), int(b), "silence", 1.0) for a, b in zip(starts, stops, strict=True)
        ]
        for each in found:
            x[each.start : each.stop] = 0.0
        chosen += is_chosen(x, found, RATE)
    assert chosen <= 2


@some("grid_s", [2048 / 48e3, 0.12, 0.02, 0.045, 0.08, 0.1], 2)
def test_packets_lost_on_any_grid_lie_on_no_beats(grid_s: float) -> None:
    doubted = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        lost = np.isin(np.arange(int(60 / grid_s)), rng.choice(int(60 / grid_s), 40, replace=False))
        edges = np.flatnonzero(np.diff(lost, prepend=False, append=False)) * grid_s * 48e3
        spans = np.rint(edges).astype(int).reshape(-1, 2).tolist()
        findings = [Finding(start, stop, "silence", 1.0, (0,)) for start, stop in spans]
        weighed = weigh(findings, 60 * 48_000, 48_000)
        doubted += sum(each.doubt == REGULAR for each in weighed)
    assert doubted <= 0.05 * 400
