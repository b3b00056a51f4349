"""Long gaps of music filled with passages of the recording."""

import json
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import inpaint
from plc.engine.stream.samples import Packet
from plc.files.audio import read_audio
from plc.files.fill import copied, spoken_background
from plc.files.fill.copied import LongGap, Passages, best_lag, gather
from plc.files.fill.gaps import Gap, Hole, Track, tracks_of
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from plc.programs.cli.app import app
from tests.options import ran
from tests.signals import noise, tones

RATE = 16_000
PERIOD = 35_013
"""Samples after which the music repeats: no multiple of the outline's hop."""
GAP = PERIOD + 12_000, PERIOD + 12_000 + 370 * 16
Rows = NDArray[np.float32]


def music(seed: int, times: int = 3) -> Rows:
    """Return decaying chords of a third of a second each, all of it again and again."""
    chords = [tones(10 * seed + k, RATE, PERIOD // 6 + 1) for k in range(6)]
    return np.tile(np.concatenate(chords)[:PERIOD], times)


def snr_db(truth: Packet, made: Packet) -> float:
    error = np.square(truth - made, dtype=np.float64).sum()
    return float(10.0 * np.log10(np.square(truth, dtype=np.float64).sum() / (error + 1e-12)))


def fill(
    x: Rows, gaps: Sequence[tuple[int, int]], variant: int = 0, content: str = "auto"
) -> tuple[Rows, list[LongGap]]:
    """Copy passages into gaps of silence, of all channels; return what was told, too."""
    rows = np.array(x.reshape(len(x), -1).T, order="C")
    received = np.ones(rows.shape[1], np.bool_)
    tracks = tracks_of([Hole(*gap) for gap in gaps], len(x), len(rows))
    for gap in gaps:
        rows[:, slice(*gap)] = 0.0
        received[slice(*gap)] = False
    source = rows.T.copy()
    passages = Passages(RATE, tracks, lambda: [source], variant, content)
    for each in tracks[0].gaps:
        passages.fill(tracks[0], 0, rows, each, received)
    return rows.T.reshape(x.shape), passages.told


def test_what_repeats_is_copied_to_the_sample() -> None:
    truth = music(1)
    damaged = truth.copy()
    damaged[slice(*GAP)] = 0.3
    made = inpaint(damaged, [GAP], sample_rate=RATE)
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    assert snr_db(truth[inside], made[inside]) > 50.0
    assert snr_db(truth[slice(*GAP)], made[slice(*GAP)]) > 20.0
    assert np.array_equal(made[: GAP[0]], truth[: GAP[0]])
    assert np.array_equal(made[GAP[1] :], truth[GAP[1] :])


def test_what_is_told_to_be_speech_is_not_copied_to() -> None:
    filled, told = fill(music(1), [GAP], content="speech")
    assert [gap.reason for gap in told] == ["speech"]
    assert not filled[slice(*GAP)].any()
    assert fill(music(1), [GAP], content="music")[1][0].copied_from is not None


@pytest.mark.parametrize("ms", [110, 740, 1490])
def test_every_length_is_copied(ms: int) -> None:
    truth = music(2)
    gap = PERIOD + 8000, PERIOD + 8000 + 16 * ms
    made, told = fill(truth, [gap])
    inside = slice(gap[0] + 160, gap[1] - 160)
    assert snr_db(truth[inside], made[inside]) > 50.0
    [each] = told
    assert (each.start, each.stop, each.reason) == (*gap, "")
    assert each.copied_from in (gap[0] - PERIOD, gap[0] + PERIOD)


def test_levels_are_bent_to_both_sides() -> None:
    truth = music(3)
    truth[: PERIOD + 4000] *= 0.5
    truth[2 * PERIOD - 4000 :] *= 0.4
    made, _ = fill(truth, [GAP])
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    assert snr_db(truth[inside], made[inside]) > 30.0
    # A rise across the gap is followed.
    truth = music(3)
    line_db = np.interp(np.arange(truth.size), GAP, (0.0, -6.0))
    truth *= (10.0 ** (line_db / 20.0)).astype(np.float32)
    made, _ = fill(truth, [GAP])
    thirds = np.array_split(np.arange(inside.start, inside.stop), 3)
    for third in thirds:
        level_db = 10.0 * np.log10(np.mean(made[third] ** 2) / np.mean(truth[third] ** 2))
        assert abs(level_db) < 1.5


def test_edges_have_no_steps_and_the_level_of_what_is_beside() -> None:
    truth = music(4) + noise(4, 3 * PERIOD, 0.01)
    made = inpaint(truth, [GAP], sample_rate=RATE)
    for place in GAP:
        usual = np.sqrt(np.mean(np.diff(truth[place - 320 : place + 320]) ** 2))
        assert abs(made[place] - made[place - 1]) < 4.0 * usual
        before, behind = (
            10.0 * np.log10(np.mean(made[part] ** 2))
            for part in (slice(place - 320, place), slice(place, place + 320))
        )
        was, is_then = (
            10.0 * np.log10(np.mean(truth[part] ** 2))
            for part in (slice(place - 320, place), slice(place, place + 320))
        )
        assert abs((behind - before) - (is_then - was)) < 2.5


def test_a_mixture_keeps_its_power() -> None:
    for seed in range(5):
        draft, passage = noise(seed, 8000), noise(seed + 50, 8000)
        copied._mix(draft, passage, 3000)
        powers = [np.mean(part**2) for part in np.array_split(draft, 10)]
        np.testing.assert_allclose(powers, 0.01, rtol=0.2)
    same = noise(9, 1000)
    draft = same.copy()
    copied._mix(draft, same, 300)
    np.testing.assert_allclose(draft, same, atol=1e-6)


def test_stereo_has_one_place_for_both_channels() -> None:
    left, right = music(5), music(6)
    truth = np.stack([left, 0.3 * left - right], axis=1)
    made = inpaint(truth, [GAP], sample_rate=RATE)
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    for channel in range(2):
        assert snr_db(truth[inside, channel], made[inside, channel]) > 40.0
    _, [told] = fill(truth, [GAP])
    assert told.channels == (0, 1)


def test_channels_in_opposite_phase_are_filled_as_in_phase() -> None:
    left = music(5)
    for faint in (0.0, 1e-3):
        truth = np.stack([left, faint * music(6) - left], axis=1)
        _, [told] = fill(truth, [GAP])
        assert (told.reason, told.copied_from is None) == ("", False)


def test_a_gap_of_one_channel_leaves_the_other() -> None:
    truth = np.stack([music(7), noise(7, 3 * PERIOD, 0.01)], axis=1)
    made = inpaint(truth, [(*GAP, (0,))], sample_rate=RATE)
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    assert snr_db(truth[inside, 0], made[inside, 0]) > 30.0
    assert np.array_equal(made[:, 1], truth[:, 1])


def test_int16_is_filled_as_float32() -> None:
    truth = music(8)
    integers = np.rint(truth * 32767.0).astype(np.int16)
    made = inpaint(integers, [GAP], sample_rate=RATE)
    assert made.dtype == np.int16
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    assert snr_db(integers[inside].astype(np.float32), made[inside].astype(np.float32)) > 40.0


def test_speech_fades(monkeypatch: pytest.MonkeyPatch) -> None:
    x = music(9)
    monkeypatch.setattr(spoken_background, "speech_around", lambda *around: 0.6)
    made = inpaint(x, [GAP], sample_rate=RATE)
    assert np.array_equal(made, inpaint(x, [GAP], sample_rate=RATE, method="ar"))
    _, told = fill(x, [GAP])
    assert [(each.copied_from, each.reason) for each in told] == [(None, "speech")]


def test_the_bundled_voice_fades() -> None:
    voice, rate = soundfile.read(
        Path(copied.__file__).parents[2] / "data/speech.flac", dtype="float32"
    )
    gap = [(len(voice) // 2, len(voice) // 2 + rate * 37 // 100)]
    made = inpaint(voice, gap, sample_rate=rate)
    assert np.array_equal(made, inpaint(voice, gap, sample_rate=rate, method="ar"))


def alone() -> Rows:
    """Return noise with a chord around the gap that is nowhere else."""
    x = noise(11, 3 * PERIOD, 0.1)
    x[GAP[0] - 3200 : GAP[1] + 3200] = 3.0 * tones(11, RATE, GAP[1] - GAP[0] + 6400)
    return x


def test_what_resembles_nothing_fades() -> None:
    x = alone()
    made = inpaint(x, [GAP], sample_rate=RATE)
    assert np.array_equal(made, inpaint(x, [GAP], sample_rate=RATE, method="ar"))
    _, [told] = fill(x, [GAP])
    assert (told.copied_from, told.reason) == (None, "nothing is similar enough")


@pytest.mark.parametrize(
    ("gaps", "reason"),
    [
        ([(GAP[0], GAP[0] + 1501 * 16)], "longer than 1500 ms"),
        ([GAP, (GAP[1] + 600, GAP[1] + 700)], "less than 40 ms known on a side"),
        ([(600, 8000)], "less than 40 ms known on a side"),
    ],
)
def test_what_cannot_be_copied_says_why(gaps: list[tuple[int, int]], reason: str) -> None:
    _, told = fill(music(12), gaps)
    assert [each.reason for each in told] == [reason]


def test_short_gaps_are_no_long_ones() -> None:
    made, told = fill(music(13), [(GAP[0], GAP[0] + 1600)])
    assert told == []
    assert not made[GAP[0] : GAP[0] + 1600].any()


def test_variants_come_from_other_places() -> None:
    truth = music(14, times=5)
    found = [fill(truth, [GAP], variant) for variant in range(4)]
    places = [told[0].copied_from for _, told in found]
    assert all(
        a is not None and b is not None and abs(a - b) >= 1600
        for k, a in enumerate(places)
        for b in places[:k]
    )
    truth += noise(14, truth.size, 0.01)
    first, second = (inpaint(truth, [GAP], sample_rate=RATE, seed=seed) for seed in range(2))
    assert not np.array_equal(first, second)
    _, [told] = fill(truth, [GAP], 500)
    assert (told.copied_from, told.reason) == (None, "nothing is similar enough")


def test_damaged_samples_beside_a_gap_are_replaced_from_the_same_place() -> None:
    truth = music(15)
    damaged = truth.copy()
    damaged[GAP[0] - 5 : GAP[0]] = 0.0
    damaged[GAP[1] : GAP[1] + 4] = 1.0
    made = inpaint(damaged, [GAP], sample_rate=RATE)
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    assert snr_db(truth[inside], made[inside]) > 50.0


def test_a_passage_has_nothing_of_any_gap() -> None:
    truth = music(16, times=4)
    gaps = [
        GAP,
        (GAP[0] - PERIOD + 100, GAP[0] - PERIOD + 2000),
        (GAP[1] + PERIOD, GAP[1] + PERIOD + 10),
    ]
    made, told = fill(truth, gaps)
    inside = slice(GAP[0] + 160, GAP[1] - 160)
    assert snr_db(truth[inside], made[inside]) > 50.0
    assert told[1].copied_from == GAP[0] + 2 * PERIOD


def test_gaps_are_searched_together() -> None:
    truth = music(17, times=20)
    gaps = [(k * PERIOD + 9000, k * PERIOD + 11_000) for k in range(1, 40, 2) if k < 19]
    gaps += [(k * PERIOD + 20_000, k * PERIOD + 22_000) for k in range(1, 20, 2)]
    tracks = tracks_of([Hole(*gap) for gap in gaps], truth.size, 1)
    read = []

    def blocks() -> Iterator[Rows]:
        read.append(1)
        yield truth[:, None]

    passages = Passages(RATE, tracks, blocks)
    rows, received = truth[None].copy(), np.ones(truth.size, np.bool_)
    for gap in tracks[0].gaps:
        passages.fill(tracks[0], 0, rows, gap, received)
    assert len(passages.told) == len(gaps) == 19
    assert all(each.copied_from is not None for each in passages.told)
    assert len(read) == 1 + 2 * 2


def test_a_long_recording_takes_bounded_memory() -> None:
    seconds, rate = 900, 8000
    gap = Gap(400 * rate, 401 * rate, seconds * rate)
    part = tones(18, rate, 10 * rate)

    def blocks() -> Iterator[Rows]:
        for k in range(seconds // 10):
            yield (part * np.float32(1.0 + 0.01 * (k % 7)))[:, None]

    track = Track((0,), [gap])
    rows = np.tile(part, 3)[None]
    place = Gap(10 * rate, 11 * rate, 30 * rate)
    received = np.ones(rows.shape[1], np.bool_)
    passages = Passages(rate, [track], blocks)
    passages.fill(track, 390 * rate, rows.copy(), place, received)
    again = Passages(rate, [track], blocks)
    tracemalloc.start()
    again.fill(track, 390 * rate, rows, place, received)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Of it 10 kB a second are the outline; 20 the search.
    assert peak < 32_000 * seconds
    assert again.told[0].copied_from is not None


def test_the_best_lag_is_that_of_the_normalised_correlation() -> None:
    joins = [noise(seed, 2 * 260).reshape(2, 260) for seed in (20, 21)]
    sides = [joins[0][:, 37:237] + 0.02, 2.0 * joins[1][:, 37:237]]
    lag, likeness = best_lag(joins, sides)
    a, b = (
        np.concatenate([part.ravel() for part in each]).astype(np.float64)
        for each in ([join[:, 37:237] for join in joins], sides)
    )
    assert lag == 37
    assert likeness == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)
    joins[0][0, 3] = np.nan
    assert best_lag(joins, sides) == (0, -1.0)


@pytest.mark.parametrize("ms", [150, 500, 1000])
def test_next_to_its_joins_a_copy_is_not_worse_than_prediction(ms: int) -> None:
    """Notes that come again a little out of tune, over music that repeats or without it."""
    gained_db = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        t = np.arange(2 * PERIOD // 3) / RATE
        notes = [
            np.exp(-0.5 * t) * np.sin(2.0 * np.pi * 220.0 * k * detuned * t)
            for detuned in 1.0 + 0.01 * rng.uniform(-1.0, 1.0, 6)
            for k in (1 + seed % 3,)
        ]
        truth = (0.1 * np.concatenate(notes)).astype(np.float32)
        truth += 0.2 * (seed % 2) * music(30 + seed, 4)[: truth.size]
        truth += noise(seed, truth.size, 1e-4)
        gap = [(PERIOD + 18_000, PERIOD + 18_000 + 16 * ms)]
        made, alone = (
            inpaint(truth, gap, sample_rate=RATE, model=model, content="music")
            for model in ("auto", "ar")
        )
        start, stop = gap[0]
        ends = np.r_[start : start + RATE // 20, stop - RATE // 20 : stop]
        gained_db.append(snr_db(truth[ends], made[ends]) - snr_db(truth[ends], alone[ends]))
    assert min(gained_db) > -1.0, gained_db


def test_stretches_are_gathered_in_one_pass() -> None:
    x = noise(22, 3000).reshape(1000, 3)
    spans = [(990, 1010), (-5, 7), (100, 400), (250, 260), (1200, 1210)]
    made = gather((x[k : k + 128] for k in range(0, 1000, 128)), spans, (2, 0))
    padded = np.pad(x, ((5, 300), (0, 0)))
    for (start, stop), part in zip(spans, made, strict=True):
        assert np.array_equal(part, padded[start + 5 : stop + 5, [2, 0]].T)


def test_files_are_filled_as_arrays(tmp_path: Path) -> None:
    truth = np.stack([music(23), music(24)], axis=1)
    soundfile.write(tmp_path / "a.wav", truth, RATE, subtype="FLOAT")
    gaps = [GAP, (GAP[0] + PERIOD + 7000, GAP[0] + PERIOD + 9000), (500, 700)]
    report = inpaint_file(
        tmp_path / "a.wav",
        tmp_path / "b.wav",
        [(a / RATE, b / RATE) for a, b in gaps],
        settings=FillSettings(content="music"),
    )
    expected = inpaint(truth, gaps, sample_rate=RATE, content="music")
    np.testing.assert_allclose(read_audio(tmp_path / "b.wav")[0], expected, atol=1e-5)
    assert [each.start for each in report.long_gaps] == [GAP[0], GAP[0] + PERIOD + 7000]
    assert all(each.copied_from is not None for each in report.long_gaps)
    assert report.refined_gaps == 1
    faded = inpaint_file(
        tmp_path / "a.wav",
        tmp_path / "c.wav",
        [(GAP[0] / RATE, GAP[1] / RATE)],
        settings=FillSettings(method="ar"),
    )
    assert faded.long_gaps == ()


def test_the_command_says_what_filled_a_gap_and_from_where(tmp_path: Path) -> None:
    song = music(25) + noise(25, 3 * PERIOD, 0.01)
    soundfile.write(tmp_path / "a.wav", song, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "alone.wav", alone(), RATE, subtype="FLOAT")
    place = f"{GAP[0]}smp-{GAP[1]}smp"

    def run(*arguments: object) -> str:
        result = ran(app, "inpaint", *map(str, arguments), "--gap", place)
        return result.output

    said = run(tmp_path / "a.wav", tmp_path / "b.wav", "--variants", 2)
    begins_s = [(GAP[0] + sign * PERIOD) / RATE for sign in (-1, 1)]
    assert {
        f"at {GAP[0] / RATE:.3f} s, 370 ms: copied from {s:.3f} s" in said for s in begins_s
    } == {True}
    assert "refined" not in said
    assert (tmp_path / "b-1.wav").read_bytes() != (tmp_path / "b-2.wav").read_bytes()
    said = run(tmp_path / "alone.wav", tmp_path / "c.wav")
    assert "370 ms: faded out and in: nothing is similar enough" in said
    told = json.loads(run(tmp_path / "alone.wav", tmp_path / "d.wav", "--json"))["long_gaps"]
    assert told == [
        {
            "start": GAP[0],
            "stop": GAP[1],
            "channels": [0],
            "copied_from": None,
            "reason": "nothing is similar enough",
        }
    ]


@pytest.mark.usefixtures("at_once")
def test_an_archive_and_the_pages_say_what_filled_a_gap_and_from_where(tmp_path: Path) -> None:
    song = music(25) + noise(25, 3 * PERIOD, 0.01)
    for folder in ("tapes", "labels"):
        (tmp_path / folder).mkdir()
    soundfile.write(tmp_path / "tapes/a.wav", song, RATE, subtype="FLOAT")
    (tmp_path / "labels/a.wav.txt").write_text(f"{GAP[0]}smp-{GAP[1]}smp\n")

    def run(*arguments: object) -> str:
        return ran(app, *list(map(str, arguments))).stdout

    begins_s = [(GAP[0] + sign * PERIOD) / RATE for sign in (-1, 1)]
    hows = [f"copied from {begin_s:.3f} s" for begin_s in begins_s]
    repair = ["repair", tmp_path / "tapes", "--out", tmp_path / "out", "--jobs", 1]
    repair += ["--gaps", tmp_path / "labels", "--report"]
    said = run(*repair, tmp_path / "first.html")
    (how,) = [how for how in hows if how in said]
    assert f"a.wav: at {GAP[0] / RATE:.3f} s, 370 ms: {how}" in said
    # The next run leaves what is done, and knows it from its record.
    told = json.loads(run(*repair, tmp_path / "second.html", "--json"))["outcomes"][0]
    assert told["before"]
    assert told["long_gaps"][0]["copied_from"] in [GAP[0] - PERIOD, GAP[0] + PERIOD]
    run(
        *("inpaint", tmp_path / "tapes/a.wav", tmp_path / "b.wav", "--report"),
        *(tmp_path / "third.html", "--gap", f"{GAP[0]}smp-{GAP[1]}smp"),
    )
    for page in ("first", "second", "third"):
        content = (tmp_path / f"{page}.html").read_text()
        assert content.count(how) == 2, page  # in the table, and with what is heard
