"""What a method meets: the same losses of the same clip, and never the lost samples."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc_bench.base.corpus import Clip, find_named_clips
from plc_bench.quality import study, summary
from plc_bench.quality.contenders import Engine
from plc_bench.quality.study import Study, StudySettings
from tests.signals import tones

RATE = 16_000


def write_clips(folder: Path, count: int, seconds: float = 2.0) -> list[Clip]:
    for number in range(count):
        signal = tones(number, RATE, round(RATE * seconds))
        soundfile.write(folder / f"clip{number}.wav", signal, RATE, subtype="FLOAT")
    return find_named_clips([folder])


def settings(*methods: str, metrics: tuple[str, ...] = ("nmse",), seed: int = 0) -> StudySettings:
    return StudySettings(methods=methods, metrics=metrics, seed=seed)


def column(result: Study, method: str, metric: str) -> list[float]:
    return [row.scores[metric] for row in result.rows if row.method == method]


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
    monkeypatch.setattr(Engine, "fill", staticmethod(fake_conceal))
    monkeypatch.setattr(study, "check_methods", lambda *_: None)


@pytest.mark.usefixtures("fake")
def test_methods_meet_the_same_losses_and_zeros_score_0_db(tmp_path: Path) -> None:
    wanted = settings("0", "0.0", "1", metrics=("nmse", "zeros"))
    result = study.run(None, write_clips(tmp_path, 3), wanted)
    assert not result.missing
    assert [row.clip for row in result.rows[::3]] == ["clip0.wav", "clip1.wav", "clip2.wav"]
    for zeros, same, ones in zip(*[iter(result.rows)] * 3, strict=True):
        assert zeros.packets == 200
        assert 0 < zeros.lost < 60
        assert zeros.scores["nmse"] == 0.0
        assert zeros.scores == same.scores
        assert ones.scores["nmse"] > 10.0
        assert zeros.scores["zeros"] > 0.0


@pytest.mark.usefixtures("fake")
def test_a_clips_losses_do_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, 3)
    together = study.run(None, clips, settings("0.5"))
    alone = study.run(None, clips[1:2], settings("0.5"))
    assert together.rows[1] == alone.rows[0]
    other = study.run(None, clips[1:2], settings("0.5", seed=1))
    assert other.rows[0].scores != alone.rows[0].scores


@pytest.mark.usefixtures("fake")
def test_an_undefined_score_is_left_out_and_counted(tmp_path: Path) -> None:
    write_clips(tmp_path, 1)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    result = study.run(None, find_named_clips([tmp_path]), settings("0", "0.5"))
    means, differences = summary.printed_tables(result)
    assert [row[1].text for row in means.rows] == [*("0.00 (1 undefined)", "17.13 (1 undefined)")]
    (over,) = differences.rows
    assert over[1].text.startswith("+")
    assert over[1].text.endswith(", 0 %")


def test_the_engine_beats_silence_on_tones(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, 2, seconds=1.0)
    wanted = settings("auto", "zeros", metrics=("nmse", "lsd"))
    result = study.run(None, clips, wanted)
    assert not result.missing
    assert np.mean(column(result, "zeros", "nmse")) == pytest.approx(0.0, abs=0.5)
    # Decaying harmonics over noise 20 dB below: measured -13 dB.
    assert np.mean(column(result, "auto", "nmse")) < -8.0
    assert max(column(result, "auto", "lsd")) < min(column(result, "zeros", "lsd"))
    assert repr(study.run(None, clips, wanted, jobs=2)) == repr(result)


def test_a_study_in_memory_has_the_scores_of_one_in_a_folder(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, 2, seconds=1.0)
    wanted = settings("zeros", "repeat", metrics=("nmse", "nmse_30ms"))
    kept = study.run(tmp_path / "out", clips, wanted)
    before = sorted(tmp_path.iterdir())
    made = study.run(None, clips, wanted)
    assert repr(made.rows) == repr(kept.rows)
    assert made.settings | {"excerpts": kept.settings["excerpts"]} == kept.settings
    assert sorted(tmp_path.iterdir()) == before
