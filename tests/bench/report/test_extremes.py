"""The folder of the paper's experiments: the right gaps, as audio and pictures."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("matplotlib")
pytest.importorskip("onnxruntime")

from plc.errors import AudioFileError
from plc_bench.gaps.twosided import InpaintSettings
from plc_bench.papers.context_encoder import measure_paper_tables, opened_encoder
from plc_bench.papers.probes import measure_probes
from plc_bench.report.extremes import write_all
from tests.plc.engine.networks.test_encoder import write_context_encoder
from tests.signals import noise, tones

RATE = 16_000


def test_the_best_and_the_worst_gap_are_written(tmp_path: Path) -> None:
    clips = [tmp_path / "tones.wav", tmp_path / "noise.wav"]
    for clip, signal in zip(clips, (tones(1, RATE, 3 * RATE), noise(2, 3 * RATE)), strict=True):
        soundfile.write(clip, signal, RATE, subtype="FLOAT")
    model = str(write_context_encoder(tmp_path, is_complex=False, name="echo"))
    drawing = InpaintSettings(gaps_per_clip=2, context="paper")
    reports = measure_paper_tables(clips, [model], drawing)
    scores = measure_probes(["chirp"], [model])
    out = tmp_path / "made"
    write_all(out, clips, reports, [model], scores)
    words, kinds = ("best", "worst"), ("original", "lossy", "lpc", "echo")
    sounds = {f"{word}-{kind}.wav" for word in words for kind in kinds}
    made = {path.name for path in out.iterdir()}
    assert made == sounds | {"best.png", "worst.png", "chirp.png"}
    over = [gap.snr_ms_db["echo"] - gap.snr_ms_db["lpc"] for gap in reports[0].gaps]
    for word, place in zip(words, (int(np.argmax(over)), int(np.argmin(over))), strict=True):
        gap = reports[0].gaps[place]
        whole, _ = soundfile.read(tmp_path / gap.clip, dtype="float32")
        original, lossy, _, played = (
            soundfile.read(out / f"{word}-{kind}.wav", dtype="float32")[0] for kind in kinds
        )
        begin = gap.start - min(gap.start, RATE) // 1024 * 1024
        inside = slice(gap.start - begin, gap.start - begin + 1024)
        np.testing.assert_allclose(original, whole[begin : begin + original.size], atol=1e-4)
        fill = opened_encoder(model).fill(whole, (gap.start, gap.start + 1024))
        np.testing.assert_allclose(played[inside], fill, atol=1e-4)
        assert not lossy[inside].any()
        for heard in (lossy, played):
            np.testing.assert_array_equal(np.delete(heard, inside), np.delete(original, inside))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(AudioFileError, match="cannot write"):
        write_all(taken, [], [], [], [])
