from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import plc
from plc.errors import ConfigError
from plc_bench.gaps.twosided import (
    InpaintSettings,
    curve_table,
    draw_gaps,
    lost_parts,
    measure_inpainting,
    result_table,
)
from plc_bench.report.charts import draw_inpainting
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from tests.signals import noise, tones

RATE = 16_000
SETTINGS = InpaintSettings()


def write(path: Path, signal: NDArray[np.float32]) -> Path:
    soundfile.write(path, signal, RATE, subtype="FLOAT")
    return path


def test_gaps_keep_their_context_inside_the_clip() -> None:
    signal = noise(1, 2 * RATE)
    for seed in range(50):
        for start in draw_gaps(signal, SETTINGS, seed):
            assert 2048 <= start <= signal.size - 1024 - 2048
    assert len(draw_gaps(signal, SETTINGS, 0)) == 3
    assert draw_gaps(signal, SETTINGS, 7) == draw_gaps(signal, SETTINGS, 7)
    assert draw_gaps(signal, SETTINGS, 7) != draw_gaps(signal, SETTINGS, 8)


def test_gaps_are_not_drawn_where_the_clip_is_silent() -> None:
    signal = noise(1, 2 * RATE)
    signal[: RATE + RATE // 2] = 0.0
    settings = InpaintSettings(gaps_per_clip=10)
    starts = draw_gaps(signal, settings, 3)
    assert starts
    assert all(rms(signal[start : start + 1024]) >= GAP_RMS_MIN for start in starts)
    assert draw_gaps(0 * signal, settings, 3) == []
    assert draw_gaps(signal[:5000], settings, 3) == []


def test_gaps_are_drawn_inside_the_parts_that_are_given() -> None:
    signal = tones(2, 4 * RATE, RATE)
    settings = replace(SETTINGS, gaps_per_clip=40)
    assert draw_gaps(signal, settings, 3, [(0, signal.size)]) == draw_gaps(signal, settings, 3)
    # The margin is 2048 + 160 samples, the gap 1024: of the parts one place, none, and 101.
    parts = [(100, 5540), (6000, 11000), (12000, 17540)]
    found = set(draw_gaps(signal, settings, 3, parts))
    assert min(found) >= 100 + 2208
    assert found <= {2308, *range(14208, 14309)}
    assert len(found) > 20
    assert draw_gaps(signal, settings, 3, [(100, 5540)]) == [2308] * 40
    assert draw_gaps(signal, settings, 3, []) == []


def test_a_gap_is_filled_alone_and_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = noise(2, RATE)
    seen = []

    def fake_inpaint(
        damaged: NDArray[np.float32], gaps: list[tuple[int, int]], *, sample_rate: int, **_: object
    ) -> NDArray[np.float32]:
        (start, stop), filled = gaps[0], damaged.copy()
        assert sample_rate == RATE
        assert not damaged[start:stop].any(), "what was lost reached the method"
        assert damaged[:start].all()
        assert damaged[stop:].all()
        seen.append((start, damaged.size - stop))
        filled[start:stop] = 0.5
        return filled

    monkeypatch.setattr(plc, "inpaint", fake_inpaint)
    clip = write(tmp_path / "a.wav", signal)
    full = measure_inpainting([clip], InpaintSettings(methods=("lpc",)))
    assert [before for before, _ in seen] == [gap.start for gap in full.gaps]
    assert all(before + 1024 + after == RATE for before, after in seen)
    seen.clear()
    paper = measure_inpainting([clip], InpaintSettings(methods=("lpc",), context="paper"))
    assert set(seen) == {(2048, 2048)}
    assert paper.gaps == full.gaps


def test_the_engine_fills_tones_better_than_nothing(tmp_path: Path) -> None:
    clips = [write(tmp_path / f"{n}.wav", tones(n, RATE, 2 * RATE)) for n in range(2)]
    clips.append(write(tmp_path / "silent.wav", np.zeros(RATE, np.float32)))
    settings = InpaintSettings(methods=("lpc", "auto"), gaps_per_clip=2)
    report = measure_inpainting(clips, settings)
    assert [failure.clip for failure in report.failures] == ["silent.wav"]
    assert "too quiet" in report.failures[0].reason
    assert len(report.gaps) == 4
    assert report.summary("lpc").mean > 10.0
    assert report.summary("auto").mean > 10.0
    assert report.difference("auto").pairs == 4
    assert report.difference("lpc").mean == 0.0


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least a sample"):
        InpaintSettings(gap_ms=0.0)
    with pytest.raises(ConfigError, match="full or paper"):
        InpaintSettings(context="half")
    with pytest.raises(ConfigError, match="no method given"):
        InpaintSettings(methods=())


def test_a_gap_that_no_frame_fits_into_has_the_snr_of_its_samples(tmp_path: Path) -> None:
    clip = write(tmp_path / "a.wav", tones(3, RATE, 2 * RATE))
    settings = InpaintSettings(methods=("lpc", "ar"), gap_ms=20.0, gaps_per_clip=2)
    report = measure_inpainting([clip], settings)
    assert np.isnan([gap.snr_ms_db["ar"] for gap in report.gaps]).all()
    assert report.summary("ar", "snr_db").mean > 10.0
    cells = [cell.text for row in result_table(report).rows for cell in row]
    assert "nan" not in "".join(cells)


def test_a_method_may_name_its_model(tmp_path: Path) -> None:
    clip = write(tmp_path / "a.wav", tones(4, RATE, 2 * RATE) + 0.05 * noise(4, 2 * RATE))
    settings = InpaintSettings(methods=("ar", "auto@model=ar"), gaps_per_clip=1)
    report = measure_inpainting([clip], settings)
    assert report.difference("auto@model=ar").mean == 0.0


def test_curves_have_a_line_for_each_length(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    clip = write(tmp_path / "a.wav", tones(5, RATE, 2 * RATE))
    reports = [
        measure_inpainting(
            [clip], InpaintSettings(methods=("lpc", "ar"), gap_ms=gap_ms, gaps_per_clip=1)
        )
        for gap_ms in (10.0, 40.0)
    ]
    table = curve_table(reports)
    assert [row[0].text for row in table.rows] == ["10 ms, SNR of the samples", "40 ms"]
    mean = reports[1].summary("ar").mean
    assert table.rows[1][2].text.startswith(f"{mean:.2f} (")
    draw_inpainting(tmp_path / "curve.svg", reports)
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_a_stretch_loses_its_share_of_hops(tmp_path: Path) -> None:
    settings = InpaintSettings(
        methods=("zeros", "ar"), gap_ms=402.0, gaps_per_clip=1, hops_lost=0.3
    )
    parts = lost_parts(5000, settings)
    assert len(parts) == 30
    assert all(5000 <= start < stop <= 5000 + 6432 for start, stop in parts)
    assert {stop - start for start, stop in parts} <= {64, 32}  # the last hop is cut
    assert parts == sorted(parts)
    assert [(a + 96, b + 96) for a, b in parts] != lost_parts(5096, settings)
    assert lost_parts(5000, InpaintSettings()) == [(5000, 6024)]
    report = measure_inpainting([write(tmp_path / "a.wav", tones(1, RATE, 2 * RATE))], settings)
    # Of what is lost alone: silence has 0 dB.
    assert report.summary("zeros", "snr_db").mean == pytest.approx(0.0, abs=1e-6)
    assert report.summary("ar", "snr_db").mean > 10.0
    assert "402 ms, of which 30 % is lost" in result_table(report).title
    with pytest.raises(ConfigError, match="hops_lost is 0"):
        InpaintSettings(hops_lost=0.0)
