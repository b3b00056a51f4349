"""Quality of concealment as a stream hears it: ``plc bench quality``.

Each clip is cut into packets, loses some by a Gilbert-Elliott model, and goes through every method
with the same losses. The losses come from the clip's name, so a clip is always damaged in the same
way. By default the engine gets no time limit (``budget_ms`` infinite): quality then does not depend
on how busy the machine is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import plc
from plc.errors import ConfigError
from plc.loss import GilbertElliott
from plc_bench import metrics, speech
from plc_bench.compare import PairedDifference, Summary, paired_difference, summarise
from plc_bench.corpus import clip_seed, read_clip, resample
from plc_bench.metrics import Mask, Signal
from plc_bench.workers import Failure, score_clips


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is asked for on the command line.

    Attributes
    ----------
    label : str
        Its heading in a table.
    lower_is_better : bool
        Which way it points.
    digits : int
        Decimals worth printing.
    score : callable
        ``(reference, estimate, lost, sample_rate) -> float``.
    """

    label: str
    lower_is_better: bool
    digits: int
    score: Callable[[Signal, Signal, Mask, int], float]


def _nmse(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return metrics.nmse_db(reference, estimate, lost)


def _sdr(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return metrics.sdr_db(reference, estimate, lost)


def _zero_runs(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return float(metrics.zero_runs(estimate))


def _plcmos(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.plcmos(_as_speech(estimate, sample_rate))


def _pesq(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.pesq_wb(_as_speech(reference, sample_rate), _as_speech(estimate, sample_rate))


def _stoi(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.stoi(_as_speech(reference, sample_rate), _as_speech(estimate, sample_rate))


METRICS = {
    "nmse": Metric("NMSE dB", True, 2, _nmse),
    "sdr": Metric("SDR dB", False, 2, _sdr),
    "lsd": Metric("LSD dB", True, 2, metrics.lsd_db),
    "mel": Metric("mel SC", True, 3, metrics.mel_spectral_convergence),
    "click": Metric("click", True, 2, metrics.click_ratio),
    "zeros": Metric("zero runs", True, 1, _zero_runs),
    "plcmos": Metric("PLCMOS", False, 2, _plcmos),
    "pesq": Metric("PESQ", False, 2, _pesq),
    "stoi": Metric("STOI", False, 3, _stoi),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """What ``plc bench quality`` measures.

    Attributes
    ----------
    methods : tuple of str
        As ``plc.Concealer`` names them; the first is compared with each other one.
    metrics : tuple of str
        Keys of ``METRICS``.
    loss : float
        Share of packets lost, 0 to 1.
    mean_burst : float
        Mean number of packets in a burst.
    packet_ms : float
        Packet length.
    lookahead : int
        Future packets the engine waits for.
    sample_rate : int or None
        In Hz; None keeps each clip's own.
    budget_ms : float
        Time the engine may take for a packet; infinite for as long as it wants.
    seed : int
        Another seed, other losses.
    """

    methods: tuple[str, ...] = ("auto", "burg:5/50")
    metrics: tuple[str, ...] = ("nmse", "lsd")
    loss: float = 0.1
    mean_burst: float = 1.5
    packet_ms: float = 10.0
    lookahead: int = 0
    sample_rate: int | None = None
    budget_ms: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the metrics' names; the engine checks the rest."""
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ConfigError(
                f"unknown metric {', '.join(unknown) or '(none given)'}; "
                f"there are {', '.join(METRICS)}"
            )
        if not self.methods:
            raise ConfigError("no method given; try auto,burg:5/50")
        GilbertElliott(self.loss, self.mean_burst)


@dataclass(frozen=True, slots=True)
class ClipScores:
    """One clip through every method.

    Attributes
    ----------
    clip : str
        File name.
    sample_rate : int
        In Hz.
    packets, lost : int
        In the stream, and lost among them.
    scores : dict
        Score by method and metric.
    """

    clip: str
    sample_rate: int
    packets: int
    lost: int
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Every clip's scores, in the order of the clips, and the clips that have none."""

    settings: QualitySettings
    clips: list[ClipScores]
    failures: list[Failure]

    def column(self, method: str, metric: str) -> list[float]:
        """Return a method's score on each clip."""
        return [clip.scores[method][metric] for clip in self.clips]

    def summary(self, method: str, metric: str) -> Summary:
        """Return a method's mean over the clips."""
        return summarise(self.column(method, metric))

    def difference(self, other: str, metric: str) -> PairedDifference:
        """Return how the first method differs from ``other``."""
        return paired_difference(
            self.column(self.settings.methods[0], metric),
            self.column(other, metric),
            lower_is_better=METRICS[metric].lower_is_better,
            seed=self.settings.seed,
        )


def measure_quality(
    clips: Sequence[Path],
    settings: QualitySettings,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> QualityReport:
    """Return the scores of every clip, computed in ``jobs`` processes."""
    outcome = score_clips(partial(score_clip, settings=settings), clips, jobs, on_done)
    return QualityReport(settings, outcome.results, outcome.failures)


def score_clip(path: Path, settings: QualitySettings) -> ClipScores:
    """Return one clip's scores; a piece of a packet at its end is left away."""
    recording = read_clip(path, settings.sample_rate)
    sample_rate = recording.sample_rate
    packet_samples = max(1, round(sample_rate * settings.packet_ms / 1000))
    packets = len(recording.signal) // packet_samples
    if not packets:
        raise ConfigError(f"{path.name} is shorter than a packet of {settings.packet_ms:g} ms")
    signal = recording.signal[: packets * packet_samples]
    model = GilbertElliott(settings.loss, settings.mean_burst)
    trace = model.trace(packets, clip_seed(path.name, settings.seed))
    lost = metrics.lost_samples(trace, packet_samples, len(signal))
    scores = {}
    for method in settings.methods:
        estimate = _concealed(signal, trace, sample_rate, packet_samples, method, settings)
        scores[method] = {
            name: METRICS[name].score(signal, estimate, lost, sample_rate)
            for name in settings.metrics
        }
    return ClipScores(path.name, sample_rate, packets, int(trace.sum()), scores)


def mean_table(report: QualityReport) -> Table:
    """Return each method's means, and how the first differs from each other."""
    settings = report.settings
    table = Table(title=_heading(report))
    table.add_column("method")
    for name in settings.metrics:
        table.add_column(METRICS[name].label, justify="right")
    for method in settings.methods:
        cells = [_mean_cell(report.summary(method, name), name) for name in settings.metrics]
        table.add_row(method, *cells)
    first = settings.methods[0]
    for other in settings.methods[1:]:
        table.add_section()
        differences = {name: report.difference(other, name) for name in settings.metrics}
        table.add_row(
            f"{first} - {other}",
            *[f"{d.mean:+.{METRICS[n].digits}f}" for n, d in differences.items()],
        )
        table.add_row(
            "  95 % interval",
            *[_interval_cell(d, METRICS[n].digits) for n, d in differences.items()],
        )
        table.add_row(
            f"  {first} is better on",
            *[f"{100 * d.share_better:.0f} % of {d.pairs}" for d in differences.values()],
        )
    return table


def clip_table(report: QualityReport) -> Table:
    """Return a row for each clip: its losses and its scores by each method."""
    settings = report.settings
    table = Table()
    table.add_column("clip", overflow="fold")
    table.add_column("lost", justify="right")
    for name in settings.metrics:
        for method in settings.methods:
            table.add_column(f"{METRICS[name].label}\n{method}", justify="right")
    for clip in report.clips:
        cells = [
            f"{clip.scores[method][name]:.{METRICS[name].digits}f}"
            for name in settings.metrics
            for method in settings.methods
        ]
        table.add_row(clip.clip, f"{clip.lost}/{clip.packets}", *cells)
    return table


def csv_rows(report: QualityReport) -> list[dict[str, str | int | float]]:
    """Return one row for each clip and method."""
    return [
        {
            "clip": clip.clip,
            "sample_rate": clip.sample_rate,
            "packets": clip.packets,
            "lost": clip.lost,
            "method": method,
            **scores,
        }
        for clip in report.clips
        for method, scores in clip.scores.items()
    ]


def _concealed(
    signal: NDArray[np.float32],
    trace: Mask,
    sample_rate: int,
    packet_samples: int,
    method: str,
    settings: QualitySettings,
) -> NDArray[np.float32]:
    """Return ``signal`` as a method plays it; the lost samples do not reach the method."""
    damaged = signal.copy()
    damaged[metrics.lost_samples(trace, packet_samples, len(signal))] = 0.0
    estimate = plc.conceal(
        damaged,
        trace,
        sample_rate=sample_rate,
        packet_samples=packet_samples,
        lookahead=settings.lookahead,
        method=method,
        budget_ms=settings.budget_ms,
        seed=settings.seed,
    )
    return np.asarray(estimate, np.float32)


def _as_speech(signal: Signal, sample_rate: int) -> NDArray[np.float32]:
    """Return the mean of the channels at the rate that the scores of speech want."""
    mono: NDArray[np.float32] = np.asarray(signal, np.float32).mean(axis=1)
    if sample_rate == speech.SPEECH_RATE:
        return mono
    return resample(mono, sample_rate, speech.SPEECH_RATE)


def _heading(report: QualityReport) -> str:
    settings = report.settings
    lost = sum(clip.lost for clip in report.clips)
    packets = sum(clip.packets for clip in report.clips)
    return (
        f"{len(report.clips)} clips, {settings.packet_ms:g} ms packets, "
        f"{100 * lost / max(packets, 1):.1f} % lost, mean burst {settings.mean_burst:g}, "
        f"lookahead {settings.lookahead}"
    )


def _mean_cell(summary: Summary, metric: str) -> str:
    cell = f"{summary.mean:.{METRICS[metric].digits}f}"
    return f"{cell} ({summary.left_out} undefined)" if summary.left_out else cell


def _interval_cell(difference: PairedDifference, digits: int) -> str:
    return f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"
