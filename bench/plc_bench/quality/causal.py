"""Quality of concealment as a stream hears it: ``plc bench quality``.

Each clip is cut into packets, loses some by a Gilbert-Elliott model, and goes through every method
with the same losses. The losses come from the clip's name, so a clip is always damaged in the same
way. By default the engine gets no time limit (``budget_ms`` infinite): quality then does not depend
on how busy the machine is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from plc.errors import ConfigError
from plc_bench.base.compare import PairedDifference, Summary, paired_difference, summarise
from plc_bench.base.corpus import read_clip
from plc_bench.base.results import counted
from plc_bench.base.workers import Failure, reason_of, score_clips
from plc_bench.peers import comparable
from plc_bench.peers.base import Contender, PeerError
from plc_bench.quality.conditions import Condition
from plc_bench.quality.contenders import CommandPeer, check_methods, contender
from plc_bench.scores import registry as scores
from plc_bench.scores.metrics import Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """What ``plc bench quality`` measures.

    Attributes
    ----------
    methods : tuple of str
        As :mod:`plc_bench.quality.contenders` names them; the first is compared with each other
        one.
    metrics : tuple of str
        As :mod:`plc_bench.scores.registry` names them.
    condition : Condition
        Packets and losses.
    lookahead : int
        Future packets the engine waits for.
    sample_rate : int or None
        In Hz; None keeps each clip's own.
    budget_ms : float
        Time the engine may take for a packet; infinite for as long as it wants.
    seconds : float or None
        Taken of each clip, from its beginning; None: all.
    seed : int
        Another seed, other losses.
    peers : mapping from str to CommandPeer
        Programs among the methods, by name.
    """

    methods: tuple[str, ...] = ("auto", "burg:5/50")
    metrics: tuple[str, ...] = ("nmse", "lsd")
    condition: Condition = field(default_factory=Condition)
    lookahead: int = 0
    sample_rate: int | None = None
    budget_ms: float = math.inf
    seconds: float | None = None
    seed: int = 0
    peers: Mapping[str, CommandPeer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names; the engine checks the rest when it plays."""
        scores.check_metrics(self.metrics)
        if not self.methods:
            raise ConfigError("no method given; try auto,burg:5/50")
        check_methods(self.methods, self.peers, self.sample_rate)

    def contender(self, method: str) -> Contender:
        """Return what plays a stream by a method."""
        return contender(
            method,
            self.peers,
            lookahead=self.lookahead,
            budget_ms=self.budget_ms,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class Stream:
    """A clip in packets, and which of them are lost.

    Attributes
    ----------
    signal : float32, shape (n, channels)
        The clip, whole packets of it.
    trace : bool, shape (packets,)
        True = lost.
    packet_samples, sample_rate : int
        Of the stream.
    """

    signal: NDArray[np.float32]
    trace: Mask
    packet_samples: int
    sample_rate: int

    @property
    def lossy(self) -> NDArray[np.float32]:
        """The signal with zeros where packets are lost."""
        damaged = self.signal.copy()
        damaged[np.repeat(self.trace, self.packet_samples)] = 0.0
        return damaged

    def lost_by_class(self) -> Mapping[str, Mask]:
        """Return which samples are lost, by class of burst."""
        return scores.lost_by_class(self.trace, self.packet_samples, self.sample_rate)


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
        Score by method and metric; NaN by a method that failed.
    failures : dict
        Why, by method that failed.
    """

    clip: str
    sample_rate: int
    packets: int
    lost: int
    scores: dict[str, dict[str, float]]
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Every clip's scores, in the order of the clips, and what has none: clips, or methods."""

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
            lower_is_better=scores.metric(metric).lower_is_better is not False,
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
    failures = list(outcome.failures)
    for clip in outcome.results:
        failures += [Failure(clip.clip, why, method) for method, why in clip.failures.items()]
    return QualityReport(settings, outcome.results, failures)


def score_clip(path: Path, settings: QualitySettings) -> ClipScores:
    """Return one clip's scores; a piece of a packet at its end is left away.

    A method that fails, fails alone.
    """
    stream = read_stream(
        path, settings.condition, settings.sample_rate, settings.seed, settings.seconds
    )
    lost = stream.lost_by_class()
    by_method: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    for method in settings.methods:
        try:
            played = play(settings.contender(method), stream)
            comparison = scores.Comparison(stream.signal, played, lost[""], stream.sample_rate)
            by_method[method] = scores.score(settings.metrics, comparison, lost)
        # A method may fail in any library or program it uses; the others are worth scoring.
        except Exception as error:
            by_method[method] = dict.fromkeys(settings.metrics, math.nan)
            failures[method] = reason_of(error)
    packets, lost_packets = stream.trace.size, int(stream.trace.sum())
    return ClipScores(path.name, stream.sample_rate, packets, lost_packets, by_method, failures)


def read_stream(
    path: Path,
    condition: Condition,
    sample_rate: int | None,
    seed: int,
    seconds: float | None = None,
) -> Stream:
    """Return a clip in packets with its losses; a piece of a packet at its end is left away.

    Raises
    ------
    AudioFileError
        If the clip cannot be read.
    ConfigError
        If it is shorter than a packet.
    TraceError
        If a trace does not fit it.
    """
    recording = read_clip(path, sample_rate)
    packet_samples = condition.samples_of_packet(recording.sample_rate)
    samples = len(recording.signal)
    if seconds is not None:
        samples = min(samples, round(seconds * recording.sample_rate))
    packets = samples // packet_samples
    if not packets:
        raise ConfigError(
            f"{path.name} is shorter than a packet of {packet_samples} samples "
            f"({1000 * packet_samples / recording.sample_rate:g} ms)"
        )
    trace = condition.losses(path.name, packets, packet_samples, seed)
    signal = recording.signal[: packets * packet_samples]
    return Stream(signal, trace, packet_samples, recording.sample_rate)


def play(player: Contender, stream: Stream) -> NDArray[np.float32]:
    """Return a stream as a contender plays it; lost samples reach it only if it is coded.

    Raises
    ------
    PeerError
        If what it plays has another shape.
    """
    signal = stream.signal.copy() if player.coded else stream.lossy
    played = player.play(signal, stream.trace, stream.packet_samples, stream.sample_rate)
    if played.shape != stream.signal.shape:
        raise PeerError(f"played shape {played.shape}; expected {stream.signal.shape}")
    return np.asarray(played, np.float32)


def mean_table(report: QualityReport) -> Table:
    """Return each method's means, and how the first differs from each other."""
    settings = report.settings
    table = Table(title=_heading(report))
    table.add_column("method")
    for name in settings.metrics:
        table.add_column(scores.label(name), justify="right")
    for method in settings.methods:
        cells = [
            _mean_cell(report.summary(method, name), name) if comparable(method, name) else "-"
            for name in settings.metrics
        ]
        table.add_row(method, *cells)
    first = settings.methods[0]
    for other in settings.methods[1:]:
        table.add_section()
        columns = [_difference_cells(report, other, name) for name in settings.metrics]
        headings = (f"{first} - {other}", "  95 % interval", f"  {first} is better on")
        for heading, *cells in zip(headings, *columns, strict=True):
            table.add_row(heading, *cells)
    return table


def clip_table(report: QualityReport) -> Table:
    """Return a row for each clip: its losses and its scores by each method."""
    settings = report.settings
    table = Table()
    table.add_column("clip", overflow="fold")
    table.add_column("lost", justify="right")
    for name in settings.metrics:
        for method in settings.methods:
            table.add_column(f"{scores.label(name)}\n{method}", justify="right")
    for clip in report.clips:
        cells = [
            f"{clip.scores[method][name]:.{scores.metric(name).digits}f}"
            if comparable(method, name)
            else "-"
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
            **values,
        }
        for clip in report.clips
        for method, values in clip.scores.items()
    ]


def _heading(report: QualityReport) -> str:
    settings = report.settings
    lost = sum(clip.lost for clip in report.clips)
    packets = sum(clip.packets for clip in report.clips)
    return (
        f"{counted(len(report.clips), 'clip')}, {settings.condition.title} "
        f"({100 * lost / max(packets, 1):.1f} % here), lookahead {settings.lookahead}"
    )


def _mean_cell(summary: Summary, metric: str) -> str:
    cell = f"{summary.mean:.{scores.metric(metric).digits}f}"
    return f"{cell} ({summary.left_out} undefined)" if summary.left_out else cell


def _difference_cells(report: QualityReport, other: str, name: str) -> tuple[str, str, str]:
    """Return the mean difference, its interval, and on how many clips the first is better."""
    if not (comparable(report.settings.methods[0], name) and comparable(other, name)):
        return "-", "-", "-"
    difference, metric = report.difference(other, name), scores.metric(name)
    form = f"+.{metric.digits}f"
    return (
        f"{difference.mean:{form}}",
        difference.interval(form),
        _better_cell(difference, metric),
    )


def _better_cell(difference: PairedDifference, metric: scores.Metric) -> str:
    if metric.lower_is_better is None:
        return ""
    return f"{100 * difference.share_better:.0f} % of {difference.pairs}"
