"""Folders as others publish them, made here of synthetic clips."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.io import savemat

from plc.errors import AudioFileError, ConfigError
from plc_bench.cli import app
from plc_bench.gaps import published
from tests.options import options, ran
from tests.signals import noise, tones

RATE = 16_000
GAPS = {20: ((4000, 4320), (9000, 9320)), 50: ((5000, 5800),)}


def write(path: Path, signal: NDArray[np.float32]) -> None:
    soundfile.write(path, signal, RATE, subtype="PCM_16")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A clean clip, and outputs of three programs; one of them changed the whole clip."""
    clean = (tones(1, RATE, 12_000) + noise(1, 12_000, 1e-3)).astype(np.float32)
    write(tmp_path / "a01_horn_clean.wav", clean)
    for length, gaps in GAPS.items():
        muted, half = clean.copy(), clean.copy()
        for start, stop in gaps:
            muted[start:stop] = 0.0
            half[start:stop] *= 0.5
        write(tmp_path / f"a01_horn_{length}_muted.wav", muted)
        write(tmp_path / f"a01_horn_{length}_half.wav", half)
        write(tmp_path / f"a01_horn_{length}_anchor.wav", 0.9 * muted)
    write(tmp_path / "a01_horn_notes.wav", clean)  # no output: no length in its name
    return tmp_path


def test_gaps_are_where_outputs_differ(clips: Path) -> None:
    cases = published.find_cases(clips)
    assert {case.gap_ms: case.gaps for case in cases} == GAPS
    assert all(set(case.outputs) == {"muted", "half", "anchor"} for case in cases)
    assert [case.gap_ms for case in published.find_cases(clips, [50])] == [50]


def test_what_others_made_is_scored_beside_ours(clips: Path) -> None:
    given = options(methods="ar,janssen", gap_ms=20)
    done = ran(app, "papers", "published", str(clips), *given)
    assert "20 ms" in done.output
    scores = [published.score_case(case, ("ar",)) for case in published.find_cases(clips, [20])]
    (score,), table = scores, published.result_table(scores, ("ar",))
    assert [row[0].text for row in table.rows] == ["ar", "anchor", "half", "muted"]
    assert [row[1].text for row in table.rows[2:]] == ["6.0", "0.0"]
    assert score.snr_db["muted"] == pytest.approx(0.0, abs=0.01)
    assert score.snr_db["half"] == pytest.approx(20 * np.log10(2), abs=0.05)
    assert score.snr_db["ar"] > 15.0


def test_the_gaps_of_the_ebus_clips_are_those_of_the_published_program(tmp_path: Path) -> None:
    samples = 160_000
    held = {name: noise(k, samples, 0.1)[:, None] for k, name in enumerate(published.SQAM_CLIPS)}
    savemat(tmp_path / published.SQAM, {"fs": 44_100, **held})
    cases = published.find_cases(tmp_path, [5, 10])
    assert [(case.clip, case.gap_ms) for case in cases][:3] == [
        ("a08_violin", 5),
        ("a08_violin", 10),
        ("a16_clarinet", 5),
    ]
    # MATLAB's rand begins with 0.8147, 0.9058; a segment has 14487.5 samples, rounded.
    segment, gap = 14_488, 221
    first = 22_050 + round(2801 + 0.814723686393179 * (segment - 5600 - gap)) - 1
    second = 22_050 + segment + round(2801 + 0.905791937075619 * (segment - 5600 - gap)) - 1
    assert cases[0].gaps[:2] == ((first, first + gap), (second, second + gap))
    # The second clip's begin where the generator is after ten lengths of the first.
    assert cases[2].gaps[0] != cases[0].gaps[0]
    one = published.Case("x", 5, 44_100, cases[0].clean, cases[0].gaps, {}, each=True)
    assert published.score_case(one, ("zeros",)).snr_db["zeros"] == pytest.approx(0.0)


def test_folders_that_are_none_are_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected NAME_clean\.wav"):
        published.find_cases(clips, [30])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="holds nothing that is known"):
        published.find_cases(empty)
    (empty / published.SQAM).write_bytes(b"no matrix")
    with pytest.raises(AudioFileError, match="cannot read"):
        published.find_cases(empty)
    savemat(empty / published.SQAM, {"fs": 44_100})
    with pytest.raises(AudioFileError, match="has no variable a08_violin"):
        published.find_cases(empty)
    write(clips / "a01_horn_20_short.wav", np.zeros(100, np.float32))
    with pytest.raises(AudioFileError, match="100 samples"):
        published.find_cases(clips)


def test_outputs_that_differ_elsewhere_alone_show_no_gaps(tmp_path: Path) -> None:
    clean = tones(1, RATE, 12_000)
    write(tmp_path / "x_clean.wav", clean)
    write(tmp_path / "x_20_same.wav", clean)
    with pytest.raises(ConfigError, match="no output of 20 ms gaps differs"):
        published.find_cases(tmp_path)
    write(tmp_path / "x_20_changed.wav", 0.5 * clean)
    with pytest.raises(ConfigError, match="expected gaps of 20 ms"):
        published.find_cases(tmp_path)
