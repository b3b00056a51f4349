import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typer.testing import CliRunner

from plc_bench.cli import app
from plc_bench.papers import phase
from plc_bench.papers.phase import GRIDS, METHODS, gap_samples, score_signal, touched_frames
from plc_kernels.spectra.offline import spectra_of
from tests.signals import noise, tones

RATE = 16_000
PAPER, _, GAUSS, _, GAPS = GRIDS


def convergence(x: NDArray[np.float32], grid: phase.Grid) -> dict[str, float]:
    return {method: score[0] for method, score in score_signal(x, grid, RATE).items()}


def test_on_a_chord_the_order_is_that_of_the_papers() -> None:
    scores = convergence(tones(1, RATE, RATE), GAUSS)
    assert scores["pghi"] < scores["fgla"] < scores["zero"]
    assert scores["pghi+fgla"] < min(scores["pghi"], scores["fgla"])


def test_gaps_keep_their_context_and_are_scored_in_both_ways() -> None:
    x = tones(2, RATE, RATE)
    scores = score_signal(x, GAPS, RATE)
    assert all(np.isfinite(score).all() for score in scores.values())
    assert scores["pghi"][1] < -3, "the samples in a gap follow from its context"
    assert scores["pghi+fgla"] < scores["pghi"]
    assert np.isnan(score_signal(x, PAPER, RATE)["pghi"][1])


def test_a_gap_of_64_ms_touches_the_frames_that_hold_its_samples() -> None:
    plan = GAPS.allocate()
    lost = gap_samples(RATE, RATE)
    edges = np.flatnonzero(np.diff(lost.astype(int)))
    assert set(edges[1::2] - edges[::2]) == {1024}
    touched = touched_frames(lost, plan)
    for n in range(plan.frames(RATE)):
        stop = (n + 1) * plan.hop
        assert touched[n] == lost[max(0, stop - 512) : stop].any()


def test_unknown_phases_do_not_reach_a_method() -> None:
    plan = GAPS.allocate()
    spectra = spectra_of(tones(3, RATE, 8000), plan)
    known = np.zeros(spectra.shape, np.uint8)
    known[:20] = known[30:] = 1
    secret = spectra.copy()
    secret[20:30] *= 1j
    for method in METHODS:
        seen = phase.reconstruct(method, spectra, known, GAPS, plan, 8000)
        blind = phase.reconstruct(method, secret, known, GAPS, plan, 8000)
        # Turning a coefficient moves the last bit of its magnitude.
        np.testing.assert_allclose(blind[:20], seen[:20], rtol=1e-6)
        if method in ("zero", "pghi"):
            error = np.abs(blind[20:30] - seen[20:30]).max()
            assert error < 1e-3 * np.abs(seen).max()


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phase, "GRIDS", (PAPER, GAPS))
    folder = tmp_path / "clips"
    folder.mkdir()
    for n in range(3):
        soundfile.write(folder / f"{n}.wav", tones(n, RATE, RATE), RATE, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    arguments = [
        *("papers", "phase", str(folder), "--json"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output  # one clip has no score
    assert "silent.wav" in result.stderr
    scores = json.loads(result.stdout)["scores"]
    assert len(scores) == 3 * len(METHODS) * 2
    assert {score["method"] for score in scores} == set(METHODS)


def test_noise_is_scored_too() -> None:
    scores = convergence(noise(4, 8000), PAPER)
    assert scores["pghi+fgla"] < scores["pghi"] < scores["zero"]


def test_a_score_that_no_clip_has_is_a_dash() -> None:
    scores = [
        phase.PhaseScore("music", "a.wav", grid.name, method, -20.0, float("nan"))
        for grid in GRIDS
        for method in METHODS
    ]
    (table,) = phase.result_tables(scores)
    assert table.title == "music: 1 clip, 2 s each"
    assert "nan" not in table.markdown()
    assert [cell.text for cell in table.rows[1][-2:]] == ["-20.0 ± 0.0", "-"]
