import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import plc
from plc.errors import ConfigError
from plc_bench.quality import causal
from plc_bench.quality.causal import QualitySettings, measure_quality
from tests.signals import tones

RATE = 16_000


def clips(folder: Path, count: int, seconds: float = 2.0) -> list[Path]:
    paths = []
    for number in range(count):
        path = folder / f"clip{number}.wav"
        signal = tones(number, RATE, round(RATE * seconds))
        soundfile.write(path, signal, RATE, subtype="FLOAT")
        paths.append(path)
    return paths


def fake_conceal(
    signal: NDArray[np.float32], lost: NDArray[np.bool_], *, method: str, **settings: object
) -> NDArray[np.float32]:
    """Leave the holes, or fill them with a constant that the method names."""
    assert settings["packet_samples"] == 160
    gap = np.repeat(lost, 160)
    assert not signal[gap].any(), "what was lost reached the method"
    filled = signal.copy()
    filled[gap] = float(method)
    return filled


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plc, "conceal", fake_conceal)
    monkeypatch.setattr(causal, "check_methods", lambda *_: None)


@pytest.mark.usefixtures("fake")
def test_methods_meet_the_same_losses_and_zeros_score_0_db(tmp_path: Path) -> None:
    settings = QualitySettings(methods=("0", "0.0", "1"), metrics=("nmse", "zeros"))
    report = measure_quality(clips(tmp_path, 3), settings)
    assert [clip.clip for clip in report.clips] == ["clip0.wav", "clip1.wav", "clip2.wav"]
    for clip in report.clips:
        assert clip.packets == 200
        assert 0 < clip.lost < 60
        assert clip.scores["0"]["nmse"] == 0.0
        assert clip.scores["0"] == clip.scores["0.0"]
        assert clip.scores["1"]["nmse"] > 10.0
        assert clip.scores["0"]["zeros"] > 0.0
    difference = report.difference("1", "nmse")
    assert difference.share_better == 1.0
    assert difference.mean < -10.0


@pytest.mark.usefixtures("fake")
def test_a_clips_losses_do_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    settings = QualitySettings(methods=("0.5",))
    paths = clips(tmp_path, 3)
    together = measure_quality(paths, settings)
    alone = measure_quality(paths[1:2], settings)
    assert together.clips[1] == alone.clips[0]
    other = measure_quality(paths[1:2], QualitySettings(methods=("0.5",), seed=1))
    assert other.clips[0].scores != alone.clips[0].scores


@pytest.mark.usefixtures("fake")
def test_a_bad_clip_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    paths = clips(tmp_path, 2)
    paths[0].write_bytes(b"no audio")
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(100), RATE)
    report = measure_quality([*paths, short], QualitySettings(methods=("0",)))
    assert [clip.clip for clip in report.clips] == ["clip1.wav"]
    assert [failure.clip for failure in report.failures] == ["clip0.wav", "short.wav"]
    assert "shorter than a packet" in report.failures[1].reason


@pytest.mark.usefixtures("fake")
def test_an_undefined_score_is_left_out_and_counted(tmp_path: Path) -> None:
    paths = clips(tmp_path, 1)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    report = measure_quality([*paths, silent], QualitySettings(methods=("0", "0.5")))
    assert report.summary("0", "nmse").left_out == 1
    assert report.summary("0", "nmse").mean == 0.0
    assert report.difference("0.5", "nmse").pairs == 1


def test_a_score_that_says_nothing_of_a_peer_is_not_shown() -> None:
    values = {"nmse": -1.0, "plcmos": 4.0}
    settings = QualitySettings(methods=("zeros", "neteq"), metrics=("nmse", "plcmos"))
    both = {"zeros": values, "neteq": values}
    report = causal.QualityReport(settings, [causal.ClipScores("a.wav", RATE, 9, 1, both)], [])
    _, nmse, plcmos = (list(column.cells) for column in causal.mean_table(report).columns)
    assert nmse == ["-1.00", "-", "-", "-", "-"]
    assert plcmos == ["4.00", "4.00", "+0.00", "-", "0 % of 1"]
    (row,) = zip(*(column.cells for column in causal.clip_table(report).columns), strict=True)
    assert row == ("a.wav", "1/9", "-1.00", "-", "4.00", "4.00")


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown metric nmsee; there are nmse"):
        QualitySettings(metrics=("nmsee",))
    with pytest.raises(ConfigError, match="none given"):
        QualitySettings(metrics=())
    with pytest.raises(ConfigError, match="no method given"):
        QualitySettings(methods=())
    with pytest.raises(ConfigError, match="@ahead is not understood"):
        QualitySettings(methods=("ar@ahead",))


def test_the_engine_beats_silence_on_tones(tmp_path: Path) -> None:
    settings = QualitySettings(methods=("auto", "zeros"), metrics=("nmse", "lsd"))
    paths = clips(tmp_path, 2, seconds=1.0)
    report = measure_quality(paths, settings)
    assert not report.failures
    assert report.summary("zeros", "nmse").mean == pytest.approx(0.0, abs=0.5)
    # Decaying harmonics over noise 20 dB below: measured -13 dB.
    assert report.summary("auto", "nmse").mean < -8.0
    assert report.difference("zeros", "lsd").share_better == 1.0
    assert not math.isnan(report.difference("zeros", "nmse").mean)
    assert measure_quality(paths, settings, jobs=2) == report
