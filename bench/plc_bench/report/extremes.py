"""Pictures and sounds of the best and worst gaps of ``plc bench papers context-encoder``.

Figure 4 of the paper shows a gap that the network fills better than linear prediction, and one that
it fills worse. Of the gaps that were scored, those of the largest and the smallest difference in
SNR_MS are written as audio and as a picture. Beside them are pictures of the probes
(:mod:`plc_bench.papers.probes`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.catalogue import find
from plc.engine.networks.encoder import GAP_SAMPLES, SAMPLE_RATE
from plc.errors import AudioFileError, why
from plc.files.pages import picture
from plc.files.writing import AudioWriter
from plc_bench.base.corpus import read_clip
from plc_bench.gaps.twosided import GapScores, InpaintReport, InpaintSettings, filled
from plc_bench.papers import probes
from plc_bench.papers.context_encoder import REFERENCE, opened_encoder, with_fill

CHIRP_PICTURE = "chirp.png"
# What is heard around a gap.
_AROUND_SAMPLES = SAMPLE_RATE


def write_all(
    folder: Path,
    clips: Sequence[Path],
    reports: Sequence[InpaintReport],
    models: Sequence[str],
    scores: Sequence[probes.ProbeScore],
) -> None:
    """Write the first model's extremes, and pictures of the probes.

    Raises as :func:`~plc_bench.papers.probes.measure_probes`; AudioFileError if it cannot write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioFileError(f"cannot write {folder}: {why(error)}") from error
    if reports and models:
        _write_extremes(folder, clips, reports[0], models[0])
    if any(score.probe == probes.CHIRP for score in scores):
        _write_chirp(folder / CHIRP_PICTURE, models)


def _write_extremes(folder: Path, clips: Sequence[Path], report: InpaintReport, model: str) -> None:
    """Write a model's best and worst gap.

    Of each: ``WORD-original.wav``, ``-lossy``, ``-lpc`` and ``-MODEL``, with a second before and
    after the gap, and ``WORD.png``.
    """
    name = find(model).name
    order = sorted(report.gaps, key=lambda gap: gap.snr_ms_db[name] - gap.snr_ms_db[REFERENCE])
    chosen = {"best": order[-1], "worst": order[0]}
    paths = {path.name: path for path in clips}
    for word, gap in chosen.items():
        signal = read_clip(paths[gap.clip], SAMPLE_RATE).signal.mean(axis=1)
        _write_gap(folder, word, signal, gap, model)


def _write_chirp(path: Path, models: Sequence[str]) -> None:
    """Write the picture of the chirps and their fills."""
    fills = probes.chirp_fills({find(model).name: opened_encoder(model) for model in models})
    _draw(path, "Five chirps, 64 ms lost", probes.chirp(), probes.GAP[0], fills)


def _write_gap(
    folder: Path, word: str, signal: NDArray[np.float32], gap: GapScores, model: str
) -> None:
    name = find(model).name
    span = (gap.start, gap.start + GAP_SAMPLES)
    fills = {
        REFERENCE: filled(signal, *span, REFERENCE, InpaintSettings(context="paper")),
        name: with_fill(signal, span, opened_encoder(model).fill(signal, span)),
    }
    # The picture counts in packets: one of them is the gap.
    first = gap.start - min(gap.start, _AROUND_SAMPLES) // GAP_SAMPLES * GAP_SAMPLES
    part = slice(first, span[1] + _AROUND_SAMPLES)
    lossy = with_fill(signal, span, np.zeros(GAP_SAMPLES, np.float32))
    for label, heard in {"original": signal, "lossy": lossy, **fills}.items():
        cut = heard[part]
        with AudioWriter(
            folder / f"{word}-{label}.wav", SAMPLE_RATE, 1, "PCM_16", cut.size
        ) as writer:
            writer.write(cut[:, None])
    over_db = gap.snr_ms_db[name] - gap.snr_ms_db[REFERENCE]
    labelled = {f"{label}: {gap.snr_ms_db[label]:.1f} dB": fills[label][part] for label in fills}
    title = f"{gap.clip}: {name} {over_db:+.1f} dB over {REFERENCE}"
    _draw(folder / f"{word}.png", title, signal[part], gap.start - first, labelled)


def _draw(
    path: Path,
    title: str,
    original: NDArray[np.float32],
    start: int,
    fills: Mapping[str, NDArray[np.float32]],
) -> None:
    lost = np.zeros(original.size // GAP_SAMPLES, np.bool_)
    lost[start // GAP_SAMPLES] = True
    clip = picture.LossyClip(
        title=title,
        original=original,
        lost=lost,
        sample_rate=SAMPLE_RATE,
        packet_samples=GAP_SAMPLES,
    )
    picture.draw(path, clip, fills)
