"""Tables 2 and 3, made with networks whose score is known beforehand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from rich.console import Console

from plc.engine.networks.encoder import ContextEncoder
from plc.errors import ConfigError
from plc_bench.base.notes import NoteTable
from plc_bench.gaps.twosided import (
    InpaintReport,
    InpaintSettings,
    measure_inpainting,
)
from plc_bench.papers.context_encoder import (
    _score_gap,
    measure_paper_tables,
    result_table,
)
from tests.plc.engine.networks.test_encoder import write_context_encoder
from tests.signals import glide, tones

RATE = 16_000
DRAWING = InpaintSettings(gaps_per_clip=2, context="paper")


def write(path: Path, signal: NDArray[np.float32]) -> Path:
    soundfile.write(path, signal, RATE, subtype="FLOAT")
    return path


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    made = [write(tmp_path / f"{n}.wav", tones(n, RATE, RATE)) for n in range(2)]
    return [*made, write(tmp_path / "silent.wav", np.zeros(RATE, np.float32))]


def measured(
    clips: list[Path], *models: str, drawing: InpaintSettings = DRAWING
) -> list[InpaintReport]:
    return measure_paper_tables(clips, models, drawing)


def test_the_reference_scores_as_in_the_bench_of_inpainting(clips: list[Path]) -> None:
    ours, _ = measured(clips)
    theirs = measure_inpainting(
        clips, InpaintSettings(methods=("lpc",), gaps_per_clip=2, context="paper")
    )
    # How gaps end beside prediction is asked of recordings alone.
    assert ours.gaps == [replace(gap, ends_db={}) for gap in theirs.gaps]
    assert [failure.clip for failure in ours.failures] == ["silent.wav"]


def test_gaps_are_drawn_inside_single_notes_without_their_silence(tmp_path: Path) -> None:
    signal = np.zeros(6 * RATE, np.float32)
    for start in (RATE, 4 * RATE):
        signal[start : start + RATE] = tones(start, RATE, RATE)
    clip = write(tmp_path / "notes.wav", signal)
    notes = {clip: NoteTable(((0.0, 3.0), (3.5, 2.5)), (60, 62))}
    drawing = replace(DRAWING, gaps_per_clip=20)
    reports = measure_paper_tables([clip], [], drawing, notes=notes)
    starts = np.array([gap.start for gap in reports[0].gaps])
    assert starts.size == 20
    inside = starts % (3 * RATE) - RATE
    assert inside.min() >= 2048 - 1024
    assert inside.max() <= RATE - 1024 - 2048 + 1024
    assert len({int(start) // (3 * RATE) for start in starts}) == 2


def test_a_short_gap_lies_in_the_middle_of_the_long_one(clips: list[Path]) -> None:
    reports = measured(clips)
    assert [report.settings.gap_ms for report in reports] == [64.0, 48.0]
    assert len(reports[0].gaps) == 4
    for long, short in zip(reports[0].gaps, reports[1].gaps, strict=True):
        assert short.start == long.start + 128


def test_a_network_without_sound_has_an_snr_of_nothing() -> None:
    # But for the ends of the fill, which are bent to meet the context.
    x = glide(1, RATE, RATE)
    silent = ContextEncoder(lambda contexts: np.zeros((len(contexts), 257, 11), np.float32))
    scores = _score_gap("x", x, (6000, 7024), 64.0, {"silent": silent}).snr_ms_db
    assert scores["silent"] == pytest.approx(0.0, abs=0.5)
    assert scores["silent: before phase"] == pytest.approx(0.0, abs=1e-6)


def test_the_score_of_a_short_gap_is_the_mean_over_its_extensions() -> None:
    x = glide(2, RATE, RATE)
    random = np.random.default_rng(0)
    answers = random.random((3, 257, 11)).astype(np.float32)
    encoder = ContextEncoder(lambda contexts: answers[: len(contexts)])
    scores = _score_gap("x", x, (6000, 6768), 48.0, {"net": encoder}).snr_ms_db
    each = [scores[f"net: {name}"] for name in ("forwards", "backwards", "centred")]
    assert scores["net"] == pytest.approx(np.mean(each))
    assert list(scores) == [
        "lpc",
        "net",
        "net: forwards",
        "net: backwards",
        "net: centred",
        "net: mean of answers",
        "net: before phase",
    ]


def test_a_model_file_gets_its_rows(clips: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_context_encoder(tmp_path, is_complex=False, name="echo")
    long, short = reports = measured(clips, str(path), drawing=replace(DRAWING, gaps_per_clip=1))
    assert len(long.gaps) == 2
    assert short.summary("echo").count == 2
    assert {"lpc", "echo", "echo: mean of answers"} <= set(short.gaps[0].snr_ms_db)
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(result_table(reports).printed())
    text = capture.get()
    shown = long.summary("echo")
    assert f"{shown.mean:.2f} ± {shown.std:.1f}" in text
    assert "paper, music: network" in text
    assert "7.7 ± 4.3" in text
    assert "-8.6" in text  # table 2: the network on instruments, against linear prediction


def test_a_model_of_another_kind_ends_the_run(clips: list[Path], tmp_path: Path) -> None:
    path = write_context_encoder(tmp_path, False, kind="inpaint", drafts=["forward"])
    with pytest.raises(ConfigError, match="of kind inpaint"):
        measured(clips, str(path))
