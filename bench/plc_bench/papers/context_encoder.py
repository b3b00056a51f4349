"""The paper's tables 2 and 3: its network against linear prediction, at gaps of 64 and 48 ms.

Networks of the paper's kind, from model files, fill the gaps that ``plc bench inpaint`` draws; the
reference is ``lpc``. All see 128 ms on either side of 64 ms; a gap of 48 ms lies in the middle of
one of 64 ms. The network treats it as 64 ms in three ways
(:mod:`plc.engine.networks.encoder`), and as in the paper its score is the mean of those of
the three fills. Filling once from the mean of the three answers is another row, ``mean of
answers``: the program of the paper's authors does that.

``before phase`` scores those answers as they are, before any phase is made; the authors' notebooks
have the same within 0.1 dB of the finished fill.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from plc.engine.models.catalogue import find
from plc.engine.networks.encoder import (
    EXTENSIONS,
    GAP_SAMPLES,
    HOP_SAMPLES,
    SAMPLE_RATE,
    TOUCHING,
    WINDOW_SAMPLES,
    ContextEncoder,
    open_context_encoder,
)
from plc.errors import ConfigError
from plc.notice import counted
from plc_bench.base.compare import mean_interval
from plc_bench.base.corpus import Samples, clip_seed, read_clip
from plc_bench.base.notes import NoteTable
from plc_bench.base.tables import Table
from plc_bench.base.workers import score_clips
from plc_bench.gaps.twosided import GapScores, InpaintReport, InpaintSettings, draw_gaps, filled
from plc_bench.scores import metrics

REFERENCE = "lpc"
GAPS_MS = (64.0, 48.0)
BEFORE_PHASE = "before phase"
MEAN_OF_ANSWERS = "mean of answers"
# Tables 2 and 3: mean and standard deviation in dB of the paper's network and its reference.
PUBLISHED = {
    "music": {64.0: {"network": (7.7, 4.3), "lpc": (6.3, 5.1)},
              48.0: {"network": (8.0, 4.6), "lpc": (6.9, 5.5)}},
    "instruments": {64.0: {"network": (22.0, 10.4), "lpc": (30.6, 18.9)},
                    48.0: {"network": (21.6, 11.5), "lpc": (33.2, 20.1)}},
}  # fmt: skip


def measure_paper_tables(
    clips: Sequence[Path],
    models: Sequence[str],
    drawing: InpaintSettings,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
    notes: Mapping[Path, NoteTable] | None = None,
) -> list[InpaintReport]:
    """Score all gaps; return a report for each of :data:`GAPS_MS`.

    Parameters
    ----------
    models : sequence of str
        Names or paths, as :func:`plc.engine.models.catalogue.find` takes them.
    drawing : InpaintSettings
        Number of gaps of each clip.
    notes : mapping, optional
        By the clip: gaps are drawn inside single notes, without the silence at their ends.

    Raises
    ------
    MissingExtraError, ModelError, ConfigError
        If a model cannot be opened.
    """
    for model in models:
        opened_encoder(model)  # a model that cannot be opened is no clip's failure
    score = partial(score_clip, models=models, drawing=drawing, notes=notes)
    outcome = score_clips(score, clips, jobs, on_done)
    names = [find(model).name for model in models]
    return [
        InpaintReport(
            replace(drawing, methods=_rows(names, gap_ms), gap_ms=gap_ms),
            [gap for by_length in outcome.results for gap in by_length[k]],
            outcome.failures,
        )
        for k, gap_ms in enumerate(GAPS_MS)
    ]


def score_clip(
    path: Path,
    models: Sequence[str],
    drawing: InpaintSettings,
    notes: Mapping[Path, NoteTable] | None = None,
) -> list[list[GapScores]]:
    """Return the scores of one clip's gaps, by length; channels are mixed to one."""
    signal = read_clip(path, SAMPLE_RATE).signal.mean(axis=1)
    spans = heard_notes(notes[path], signal) if notes is not None else None
    starts = draw_gaps(signal, drawing, clip_seed(path.name), spans)
    if not starts:
        raise ConfigError(f"{path.name} is too short or too quiet for a gap with its context")
    encoders = {find(model).name: opened_encoder(model) for model in models}
    return [
        [
            _score_gap(path.name, signal, gap, gap_ms, encoders)
            for gap in (_inner(start, gap_ms) for start in starts)
            if _is_loud(signal, gap)
        ]
        for gap_ms in GAPS_MS
    ]


def heard_notes(notes: NoteTable, signal: Samples) -> list[tuple[int, int]]:
    """Return the span of samples in which each note is heard."""
    spans = []
    for start_s, duration_s in notes.bounds:
        start, stop = round(start_s * SAMPLE_RATE), round((start_s + duration_s) * SAMPLE_RATE)
        first, last = metrics.heard_span(signal[start:stop])
        spans.append((start + first, start + last))
    return spans


def _score_gap(
    clip: str,
    signal: Samples,
    gap: tuple[int, int],
    gap_ms: float,
    encoders: Mapping[str, ContextEncoder],
) -> GapScores:
    """Return the scores of one gap of a whole signal, by all ways of networks by name."""
    fills = {REFERENCE: filled(signal, *gap, REFERENCE, InpaintSettings(context="paper"))}
    before: dict[str, float] = {}
    for name, encoder in encoders.items():
        for extension in _extensions(gap_ms):
            fill = encoder.fill(signal, gap, (extension,))
            fills[f"{name}: {extension}"] = with_fill(signal, gap, fill)
        if gap_ms != GAPS_MS[0]:
            mean = with_fill(signal, gap, encoder.fill(signal, gap))
            fills[f"{name}: {MEAN_OF_ANSWERS}"] = mean
        before[f"{name}: {BEFORE_PHASE}"] = _before_phase(signal, gap, encoder)
    start, stop = gap
    snr_ms = {name: metrics.snr_ms_db(signal, fill, gap) for name, fill in fills.items()} | before
    snr = {
        name: metrics.snr_db(signal[start:stop], fill[start:stop]) for name, fill in fills.items()
    } | dict.fromkeys(before, math.nan)
    for scores in (snr_ms, snr):
        for name in encoders:
            each = [scores[f"{name}: {extension}"] for extension in _extensions(gap_ms)]
            scores[name] = float(np.mean(each))
    rows = _rows(list(encoders), gap_ms)
    return GapScores(
        clip, start, {row: snr_ms[row] for row in rows}, {row: snr[row] for row in rows}
    )


def result_table(reports: Sequence[InpaintReport]) -> Table:
    """Return SNR_MS at both lengths, and differences to the reference.

    In brackets are 95 % intervals over the clips.
    """
    gaps = reports[0].gaps
    clips = counted(len({gap.clip for gap in gaps}), "clip")
    heads = [head for gap_ms in GAPS_MS for head in (f"{gap_ms:g} ms", f"over {REFERENCE}")]
    table = Table(f"SNR_MS in dB: {counted(len(gaps), 'gap')} in {clips}", ("method", *heads))
    for method in dict.fromkeys(name for each in reports for name in each.settings.methods):
        table.add(method, *[cell for report in reports for cell in _cells(report, method)])
    for content, lengths in PUBLISHED.items():
        for method in (REFERENCE, "network"):
            cells = []
            for gap_ms in GAPS_MS:
                mean, std = lengths[gap_ms][method]
                over = mean - lengths[gap_ms][REFERENCE][0]
                cells += [f"{mean:.1f} ± {std:.1f}", "" if method == REFERENCE else f"{over:+.1f}"]
            table.add(f"paper, {content}: {method}", *cells)
    return table


def _extensions(gap_ms: float) -> Sequence[str]:
    """Return the ways to treat a gap as one of 64 ms; all are the same for such a gap."""
    return EXTENSIONS if gap_ms != GAPS_MS[0] else EXTENSIONS[:1]


def _rows(names: Sequence[str], gap_ms: float) -> tuple[str, ...]:
    rows = [REFERENCE]
    for name in names:
        rows.append(name)
        if gap_ms != GAPS_MS[0]:
            rows += [f"{name}: {extension}" for extension in EXTENSIONS]
            rows.append(f"{name}: {MEAN_OF_ANSWERS}")
        rows.append(f"{name}: {BEFORE_PHASE}")
    return tuple(rows)


@cache
def opened_encoder(model: str) -> ContextEncoder:
    """Return a network, opened once in each process."""
    return open_context_encoder(model)


def _inner(start: int, gap_ms: float) -> tuple[int, int]:
    samples = round(SAMPLE_RATE * gap_ms / 1000.0)
    begin = start + (GAP_SAMPLES - samples) // 2
    return begin, begin + samples


def _is_loud(signal: Samples, gap: tuple[int, int]) -> bool:
    return metrics.rms(signal[gap[0] : gap[1]]) >= metrics.GAP_RMS_MIN


def with_fill(signal: Samples, gap: tuple[int, int], fill: Samples) -> Samples:
    """Return a copy of a signal with a gap's samples replaced."""
    out = signal.copy()
    out[gap[0] : gap[1]] = fill
    return out


def _before_phase(signal: Samples, gap: tuple[int, int], encoder: ContextEncoder) -> float:
    """Return the SNR of the network's magnitudes inside a gap."""
    answer = np.abs(encoder.spectra(signal, gap))
    starts = np.arange(gap[0], gap[1] - WINDOW_SAMPLES + 1, HOP_SAMPLES)
    truth = metrics.magnitudes(signal, starts, WINDOW_SAMPLES)
    inside = answer[TOUCHING : TOUCHING + starts.size]
    return metrics.snr_db(truth, inside.reshape(truth.shape))


def _cells(report: InpaintReport, method: str) -> list[str]:
    if method not in report.settings.methods or not report.gaps:
        return ["", ""]
    summary = report.summary(method)
    values = [gap.snr_ms_db[method] for gap in report.gaps]
    mean = mean_interval(values, [gap.clip for gap in report.gaps])
    over = ""
    if method != REFERENCE:
        difference = report.difference(method)
        over = f"{difference.mean:+.2f} ({difference.interval('+.2f')})"
    return [f"{summary.mean:.2f} ± {summary.std:.1f} ({mean.interval('.2f')})", over]
