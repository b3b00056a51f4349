"""The paper's tables 2 and 3: its network against linear prediction, at gaps of 64 and 48 ms.

Networks of the paper's kind, from model files, fill the gaps that ``plc bench inpaint`` draws; the
reference is ``lpc``. All see 128 ms on either side of 64 ms; a gap of 48 ms lies in the middle of
one of 64 ms. The network treats it as 64 ms in three ways (:mod:`plc.networks.paper`),
and as in the paper its score is the mean of those of the three fills. Filling once from the mean of
the three answers is another row, ``mean of answers``: the program of the paper's authors does that.

``before phase`` scores those answers as they are, before any phase is made; the authors' notebooks
have the same within 0.1 dB of the finished fill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import plc
from plc.errors import ConfigError
from plc.models.catalogue import find
from plc.networks.paper import (
    CONTEXT_SAMPLES,
    EXTENSIONS,
    GAP_SAMPLES,
    HOP_SAMPLES,
    SAMPLE_RATE,
    TOUCHING,
    WINDOW_SAMPLES,
    ContextEncoder,
    open_context_encoder,
)
from plc_bench.base.compare import Summary, paired_difference, summarise
from plc_bench.base.corpus import clip_seed, read_clip
from plc_bench.base.results import counted
from plc_bench.base.workers import Failure, score_clips
from plc_bench.gaps.twosided import InpaintSettings, draw_gaps
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """What the tables are made of.

    Attributes
    ----------
    models : tuple of str
        Names or paths, as :func:`plc.models.catalogue.find` takes them.
    gaps_per_clip : int
        Gaps drawn in each clip.
    seed : int
        Another seed, other gaps.
    providers : str
        As :func:`plc.runtime.session.open_session` takes them.
    """

    models: tuple[str, ...]
    gaps_per_clip: int = 3
    seed: int = 0
    providers: str = "cpu"

    @property
    def drawing(self) -> InpaintSettings:
        """How gaps are drawn: as for ``plc bench inpaint --context paper``."""
        return InpaintSettings(
            methods=(REFERENCE,), gaps_per_clip=self.gaps_per_clip, context="paper", seed=self.seed
        )


@dataclass(frozen=True, slots=True)
class PaperScores:
    """One gap filled by the reference and every network.

    Attributes
    ----------
    clip : str
        File name.
    start : int
        First sample of the gap.
    gap_ms : float
        Its length.
    snr_ms_db : dict
        By method: ``lpc``, a model's name, or that and what was varied, as in ``name: forwards``.
    """

    clip: str
    start: int
    gap_ms: float
    snr_ms_db: dict[str, float]


@dataclass(frozen=True, slots=True)
class PaperReport:
    """Every gap's scores, in the order of the clips, and the clips that have none."""

    settings: PaperSettings
    gaps: list[PaperScores]
    failures: list[Failure]

    def methods(self, gap_ms: float) -> list[str]:
        """Return the methods that were scored at a length of gap."""
        of_length = (gap.snr_ms_db for gap in self.gaps if gap.gap_ms == gap_ms)
        return list(next(of_length, {}))

    def values(self, gap_ms: float, method: str) -> list[float]:
        """Return a method's scores, gap by gap."""
        return [gap.snr_ms_db[method] for gap in self.gaps if gap.gap_ms == gap_ms]

    def summary(self, gap_ms: float, method: str) -> Summary:
        """Return a method's mean over the gaps of a length."""
        return summarise(self.values(gap_ms, method))


def measure_paper_tables(
    clips: Sequence[Path],
    settings: PaperSettings,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> PaperReport:
    """Return the scores of every gap of every clip, computed in ``jobs`` processes.

    Raises
    ------
    MissingExtraError, ModelError, ConfigError
        If a model cannot be opened.
    """
    for model in settings.models:
        _opened(model, settings.providers)  # what is wrong with a model is no clip's failure
    outcome = score_clips(partial(score_clip, settings=settings), clips, jobs, on_done)
    return PaperReport(
        settings, [gap for gaps in outcome.results for gap in gaps], outcome.failures
    )


def score_clip(path: Path, settings: PaperSettings) -> list[PaperScores]:
    """Return the scores of one clip's gaps of both lengths; channels are mixed to one."""
    signal = read_clip(path, SAMPLE_RATE).signal.mean(axis=1)
    starts = draw_gaps(signal, settings.drawing, clip_seed(path.name, settings.seed))
    if not starts:
        raise ConfigError(f"{path.name} is too short or too quiet for a gap with its context")
    encoders = {find(m).name: _opened(m, settings.providers) for m in settings.models}
    return [
        score_gap(path.name, signal, _inner(start, gap_ms), gap_ms, encoders)
        for start in starts
        for gap_ms in GAPS_MS
        if _is_loud(signal, _inner(start, gap_ms))
    ]


def score_gap(
    clip: str,
    signal: NDArray[np.float32],
    gap: tuple[int, int],
    gap_ms: float,
    encoders: dict[str, ContextEncoder],
) -> PaperScores:
    """Return the scores of one gap.

    Parameters
    ----------
    clip : str
        Its name, for the report.
    signal : float32, shape (n,)
        At 16 kHz, whole.
    gap : tuple of int
        First sample and first after it.
    gap_ms : float
        Its length.
    encoders : dict
        By the name of the model.
    """
    scores = {REFERENCE: metrics.snr_ms_db(signal, _by_lpc(signal, gap), gap)}
    for name, encoder in encoders.items():
        fills = {
            extension: _with_fill(signal, gap, encoder.fill(signal, gap, (extension,)))
            for extension in (EXTENSIONS if gap_ms != GAPS_MS[0] else EXTENSIONS[:1])
        }
        each = {key: metrics.snr_ms_db(signal, fill, gap) for key, fill in fills.items()}
        scores[name] = float(np.mean(list(each.values())))
        if len(each) > 1:
            scores |= {f"{name}: {extension}": value for extension, value in each.items()}
            mean = _with_fill(signal, gap, encoder.fill(signal, gap))
            scores[f"{name}: {MEAN_OF_ANSWERS}"] = metrics.snr_ms_db(signal, mean, gap)
        scores[f"{name}: {BEFORE_PHASE}"] = _before_phase(signal, gap, encoder)
    return PaperScores(clip, gap[0], gap_ms, scores)


def result_table(report: PaperReport) -> Table:
    """Return each method's SNR_MS at both lengths and how it differs from the reference."""
    clips = len({gap.clip for gap in report.gaps})
    gaps = len(report.values(GAPS_MS[0], REFERENCE))
    table = Table(title=f"SNR_MS in dB: {counted(gaps, 'gap')} in {counted(clips, 'clip')}")
    table.add_column("method")
    for gap_ms in GAPS_MS:
        table.add_column(f"{gap_ms:g} ms", justify="right")
        table.add_column(f"over {REFERENCE}", justify="right")
    methods = dict.fromkeys(m for gap_ms in GAPS_MS for m in report.methods(gap_ms))
    for method in methods:
        cells = [cell for gap_ms in GAPS_MS for cell in _cells(report, gap_ms, method)]
        table.add_row(method, *cells)
    table.add_section()
    for content, lengths in PUBLISHED.items():
        for method in ("lpc", "network"):
            cells = []
            for gap_ms in GAPS_MS:
                mean, std = lengths[gap_ms][method]
                over = mean - lengths[gap_ms]["lpc"][0]
                cells += [f"{mean:.1f} ± {std:.1f}", "" if method == "lpc" else f"{over:+.1f}"]
            table.add_row(f"paper, {content}: {method}", *cells)
    return table


def csv_rows(report: PaperReport) -> list[dict[str, str | int | float]]:
    """Return one row for each gap and method."""
    return [
        {
            "clip": gap.clip,
            "start": gap.start,
            "gap_ms": gap.gap_ms,
            "method": method,
            "snr_ms_db": value,
        }
        for gap in report.gaps
        for method, value in gap.snr_ms_db.items()
    ]


@cache
def _opened(model: str, providers: str) -> ContextEncoder:
    """Return an encoder, opened once in each process."""
    return open_context_encoder(model, providers=providers)


def _inner(start: int, gap_ms: float) -> tuple[int, int]:
    """Return the gap of a length in the middle of the one of 64 ms that begins at ``start``."""
    samples = round(SAMPLE_RATE * gap_ms / 1000.0)
    begin = start + (GAP_SAMPLES - samples) // 2
    return begin, begin + samples


def _is_loud(signal: NDArray[np.float32], gap: tuple[int, int]) -> bool:
    return metrics.rms(signal[gap[0] : gap[1]]) >= metrics.GAP_RMS_MIN


def _by_lpc(signal: NDArray[np.float32], gap: tuple[int, int]) -> NDArray[np.float32]:
    start, stop = gap
    low = start - CONTEXT_SAMPLES
    part = signal[low : stop + CONTEXT_SAMPLES].copy()
    part[start - low : stop - low] = 0.0
    filled = plc.inpaint(part, SAMPLE_RATE, [(start - low, stop - low)], method=REFERENCE)
    fill = filled[start - low : stop - low].astype(np.float32)
    return _with_fill(signal, gap, fill)


def _with_fill(
    signal: NDArray[np.float32], gap: tuple[int, int], fill: NDArray[np.float32]
) -> NDArray[np.float32]:
    out = signal.copy()
    out[gap[0] : gap[1]] = fill
    return out


def _before_phase(
    signal: NDArray[np.float32], gap: tuple[int, int], encoder: ContextEncoder
) -> float:
    """Return the SNR of the network's magnitudes in the frames that lie wholly in a gap."""
    answer = np.abs(encoder.spectra(signal, gap))
    starts = np.arange(gap[0], gap[1] - WINDOW_SAMPLES + 1, HOP_SAMPLES)
    truth = metrics.magnitudes(signal, starts, WINDOW_SAMPLES)
    inside = answer[TOUCHING : TOUCHING + starts.size]
    return metrics.snr_db(truth, inside.reshape(truth.shape))


def _cells(report: PaperReport, gap_ms: float, method: str) -> list[str]:
    if method not in report.methods(gap_ms):
        return ["", ""]
    summary = report.summary(gap_ms, method)
    over = ""
    if method != REFERENCE:
        difference = paired_difference(
            report.values(gap_ms, method),
            report.values(gap_ms, REFERENCE),
            lower_is_better=False,
            groups=[gap.clip for gap in report.gaps if gap.gap_ms == gap_ms],
            seed=report.settings.seed,
        )
        over = f"{difference.mean:+.2f} ({difference.interval('+.2f')})"
    return [f"{summary.mean:.2f} ± {summary.std:.1f}", over]
