"""Long gaps: distances, and a report from clips to its table."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc.errors import ConfigError
from plc_bench.papers import long_gaps
from plc_bench.papers.long_gaps import (
    LongGapSettings,
    batch_s,
    draw_fills,
    measure_long_gaps,
    result_table,
    score_clip,
    spectral_distance_db,
)
from tests.plc.papers.test_gacela import write_generator
from tests.signals import noise, tones

RATE = 22_050


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count levels of a few bands as notes: the transcriber is an extra."""

    def frames(signal: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
        parts = signal[: signal.size // 256 * 256, 0].reshape(-1, 256)
        return np.log10(np.abs(np.fft.rfft(parts))[:, 1:9] + 1e-3)

    monkeypatch.setattr(long_gaps, "note_frames", frames)


def write(folder: Path, name: str, signal: NDArray[np.float32]) -> Path:
    soundfile.write(folder / name, signal, RATE, subtype="FLOAT")
    return folder / name


def repeating(seed: int) -> NDArray[np.float32]:
    """Return 5.2 s of noise that repeats every 1.3 s."""
    return np.tile(noise(seed, round(1.3 * RATE)), 4)


def test_the_spectral_distance_of_a_gain_is_the_gain() -> None:
    x = noise(2, 8000)
    assert spectral_distance_db(x, x) == 0.0
    assert spectral_distance_db(0.5 * x, x) == pytest.approx(6.02, abs=0.01)


@pytest.mark.usefixtures("listener")
def test_every_fill_is_scored_beside_what_was_there(tmp_path: Path) -> None:
    model = write_generator(tmp_path)
    clips = [write(tmp_path, f"{seed}.wav", repeating(seed)) for seed in range(7)]
    report = measure_long_gaps(clips, LongGapSettings(gap_ms=350.0, model=model))
    assert (report.gaps, report.failures) == (7, [])
    found = report.scores
    assert list(found) == ["truth", "gacela", "auto", "fade"]
    assert found["truth"]["fad"].value == pytest.approx(0.0, abs=1e-6)
    assert found["truth"]["lsd_db"].value == found["truth"]["level_db"].value == 0.0
    # Noise that repeats is copied, and prediction of it fades.
    assert found["auto"]["lsd_db"].value < 3.0 < found["fade"]["lsd_db"].value
    assert found["auto"]["fad"].value < found["fade"]["fad"].value
    assert found["fade"]["level_db"].high < -6.0
    assert report.variants_db is not None
    assert 0.0 < report.variants_db.low <= report.variants_db.value
    assert len(result_table(report).rows) == 4


@pytest.mark.usefixtures("listener")
def test_gaps_beyond_the_network_are_scored_without_it(tmp_path: Path) -> None:
    model = write_generator(tmp_path)
    clip = write(tmp_path, "a.wav", repeating(3))
    found = score_clip(clip, LongGapSettings(gap_ms=900.0, model=model))
    assert list(found.fills) == ["truth", "auto", "fade"]
    report = measure_long_gaps([clip], LongGapSettings(gap_ms=900.0, model=model))
    assert report.variants_db is None
    assert len(result_table(report).rows) == 3
    # Of one clip there are no intervals.
    cells = [each["lsd_db"].text() for each in report.scores.values()]
    assert all(re.fullmatch(r"-?\d+\.\d\d", cell) for cell in cells)


@pytest.mark.usefixtures("listener")
def test_a_whole_piece_has_a_gap_every_five_seconds_where_it_sounds(tmp_path: Path) -> None:
    piece = np.tile(noise(4, round(1.3 * RATE)), 13)  # 16.9 s
    settings = LongGapSettings(gap_ms=300.0, model=write_generator(tmp_path))
    made, gaps = long_gaps.filled_by_all(write(tmp_path, "a.wav", piece), settings)
    middles = [(start + stop) / 2 / RATE for start, stop in gaps]
    assert middles == pytest.approx([16.9 / 6, 16.9 / 2, 16.9 * 5 / 6], abs=1e-3)
    known = np.ones(piece.size, np.bool_)
    for start, stop in gaps:
        known[start:stop] = False
        assert not np.array_equal(made["auto"][start:stop], made["fade"][start:stop])
    assert np.array_equal(made["fade"][known], made["truth"][known])
    piece[9 * RATE :] = 0.0
    quieter = write(tmp_path, "b.wav", piece)
    found = score_clip(quieter, settings)
    assert found.gaps == 2
    # Whoever hears the whole of it notices a fade before a copy of what repeats.
    grades = [found.fills[name].peaq for name in ("truth", "auto", "fade")]
    assert grades[0] > -0.1 > grades[2] < grades[1]


def test_a_step_is_counted_in_usual_ones() -> None:
    truth = tones(4, RATE, 4 * RATE)
    stepped = truth.copy()
    gap = 2 * RATE, 2 * RATE + 8000
    usual = float(np.sqrt(np.mean(np.diff(truth[gap[0] - 441 : gap[0]]) ** 2)))
    # Down to nothing at the other edge.
    stepped[gap[0] : gap[1]] += np.linspace(50.0 * usual, 0.0, 8000, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_gaps, "note_frames", lambda signal, rate: np.zeros((400, 2)))
        scored = long_gaps._scored(truth, stepped, [gap])
    assert scored.step == pytest.approx(50.0, rel=0.1)


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gap is 20 ms; give 50 to 5000"):
        LongGapSettings(gap_ms=20.0)
    clip = write(tmp_path, "short.wav", noise(5, 2 * RATE))
    with pytest.raises(ConfigError, match=r"short\.wav is too short or too quiet"):
        score_clip(clip, LongGapSettings(model=write_generator(tmp_path)))


def test_a_batch_is_timed(tmp_path: Path) -> None:
    assert 0.0 < batch_s(write_generator(tmp_path), 2) < 10.0


def test_fills_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    clip = write(tmp_path, "a.wav", repeating(6))
    settings = LongGapSettings(gap_ms=300.0, model=write_generator(tmp_path))
    draw_fills(tmp_path / "fills.png", clip, settings)
    assert (tmp_path / "fills.png").read_bytes().startswith(b"\x89PNG")
