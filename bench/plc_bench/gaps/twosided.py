"""Quality of filling gaps when both sides are known: ``plc bench inpaint``.

The setting of the context-encoder paper: 16 kHz, gaps of 64 ms, SNR_MS. Gaps lie at random places
of each clip, drawn from its name; each is filled alone, in a copy of the clip that is intact
elsewhere. The paper's methods see 128 ms on either side. With ``context="paper"`` every method
gets no more than that; with ``"full"`` the whole clip, as a file repair would (the ``lpc``
reference looks at its 128 ms all the same).

::

    |<-------- clip -------------------------------------------->|
              |<- 128 ms ->|<- gap ->|<- 128 ms ->|                 what "paper" hands over

With ``hops_lost`` below 1 a gap is a stretch that loses as many of its hops of 4 ms, drawn at
random: damage of a spectrogram, seen in the samples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

import plc
from plc.errors import ConfigError
from plc.notice import counted
from plc_bench.base.compare import PairedDifference, Summary, paired_difference, summarise
from plc_bench.base.corpus import Samples, clip_seed, read_clip
from plc_bench.base.tables import Table
from plc_bench.base.workers import Failure, score_clips
from plc_bench.gaps import janssen
from plc_bench.scores import metrics

# Section 3.1 of the paper: 2048 samples at 16 kHz.
CONTEXT_MS = 128.0
# Kept free beyond the context, so that nothing is fitted up to the clip's very edge.
_MARGIN_MS = 10.0
_END_MS = 50.0
HOP_MS = 4.0
"""Of a stretch that loses some of its hops; those of damaged spectrograms."""
# Places tried for a gap before a clip counts as too quiet for it.
_DRAWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintSettings:
    """Settings of ``plc bench inpaint``.

    Attributes
    ----------
    methods : tuple of str
        As :func:`~plc_bench.gaps.twosided.fill` takes them; the others are compared with the first.
    gap_ms : float
        Length of a gap. Shorter than a frame of SNR_MS, 32 ms at 16 kHz, it has the SNR of its
        samples alone.
    gaps_per_clip : int
        Gaps drawn in each clip.
    sample_rate : int
        Clips are resampled to this, in Hz.
    context : str, ``"full"`` or ``"paper"``
    quality : str
        As ``plc.inpaint`` names it.
    hops_lost : float
        Share of a gap's hops of 4 ms that are lost: above 0, at most 1.
    """

    methods: tuple[str, ...] = ("lpc", "auto")
    gap_ms: float = 64.0
    gaps_per_clip: int = 3
    sample_rate: int = metrics.SNR_MS_RATE
    context: str = "full"
    quality: str = "good"
    hops_lost: float = 1.0

    def __post_init__(self) -> None:
        """Check settings that the engine does not check."""
        if self.context not in ("full", "paper"):
            raise ConfigError(f"context is {self.context}; it is full or paper")
        if self.gap_samples < 1:
            raise ConfigError(f"gap is {self.gap_ms:g} ms; give at least a sample")
        if not 0.0 < self.hops_lost <= 1.0:
            raise ConfigError(f"hops_lost is {self.hops_lost}; give more than 0, and 1 at most")
        if not self.methods:
            raise ConfigError("no method given; try lpc,auto")

    @property
    def gap_samples(self) -> int:
        """Length of a gap in samples."""
        return round(self.sample_rate * self.gap_ms / 1000)

    @property
    def has_frame(self) -> bool:
        """True if a gap is long enough for SNR_MS."""
        return self.gap_samples >= metrics.SNR_MS_WINDOW

    @property
    def context_samples(self) -> int:
        """The paper's context on either side, in samples."""
        return round(self.sample_rate * CONTEXT_MS / 1000)


@dataclass(frozen=True, slots=True)
class GapScores:
    """One gap filled by every method."""

    clip: str
    start: int
    """First sample of the gap."""
    snr_ms_db: dict[str, float]
    """By method: SNR of the magnitudes inside the gap, NaN where no frame fits."""
    snr_db: dict[str, float]
    """The same of the samples."""
    ends_db: dict[str, float] = field(default_factory=dict)
    """The same of those in the first and the last 50 ms of the gap."""


@dataclass(frozen=True, slots=True)
class InpaintReport:
    """Scores of all gaps, and clips without scores."""

    settings: InpaintSettings
    gaps: list[GapScores]
    failures: list[Failure]

    def summary(self, method: str, score: str = "snr_ms_db") -> Summary:
        """Return a method's mean over the gaps; ``score`` is a field of :class:`GapScores`."""
        return summarise([getattr(gap, score)[method] for gap in self.gaps])

    def difference(self, method: str, score: str = "snr_ms_db") -> PairedDifference:
        """Return the difference to the first method, grouped by clip."""
        first = self.settings.methods[0]
        return paired_difference(
            [getattr(gap, score)[method] for gap in self.gaps],
            [getattr(gap, score)[first] for gap in self.gaps],
            lower_is_better=False,
            groups=[gap.clip for gap in self.gaps],
        )


def measure_inpainting(
    clips: Sequence[Path],
    settings: InpaintSettings,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> InpaintReport:
    """Score all gaps of all clips in ``jobs`` processes."""
    outcome = score_clips(partial(score_clip, settings=settings), clips, jobs, on_done)
    return InpaintReport(
        settings, [gap for gaps in outcome.results for gap in gaps], outcome.failures
    )


def score_clip(path: Path, settings: InpaintSettings) -> list[GapScores]:
    """Return the scores of one clip's gaps; several channels are mixed to one."""
    signal = read_clip(path, settings.sample_rate).signal.mean(axis=1)
    starts = draw_gaps(signal, settings, clip_seed(path.name))
    if not starts:
        raise ConfigError(f"{path.name} is too short or too quiet for a gap with its context")
    return [_score_gap(path.name, signal, start, settings) for start in starts]


def draw_gaps(
    signal: Samples,
    settings: InpaintSettings,
    seed: int,
    spans: Sequence[tuple[int, int]] | None = None,
) -> list[int]:
    """Return where the gaps of a clip start, in the order drawn.

    Parameters
    ----------
    signal : float32, shape (n,), the clip
    settings : InpaintSettings
        How many gaps, and how long.
    seed : int, of the places
    spans : sequence of tuple, optional
        First sample, and first after it, of the parts to draw from; by default all is one.

    Returns
    -------
    list of int
        Up to ``gaps_per_clip`` starts, each with its context inside a part; a place where the
        clip is quieter than the paper's threshold is drawn again. Fewer where 50 draws find none.
    """
    margin = settings.context_samples + round(settings.sample_rate * _MARGIN_MS / 1000)
    parts = np.array([(0, signal.size)] if spans is None else spans).reshape(-1, 2)
    firsts = parts[:, 0] + margin
    ends = np.cumsum(np.maximum(parts[:, 1] - margin - settings.gap_samples + 1 - firsts, 0))
    places = int(ends[-1]) if ends.size else 0
    rng = np.random.default_rng(seed)
    starts: list[int] = []
    for _ in range(settings.gaps_per_clip if places else 0):
        for place in rng.integers(places, size=_DRAWS):
            # Counted from the end of its part, whose last place is the last to be counted.
            part = int(np.searchsorted(ends, place, side="right"))
            start = parts[part, 1] - margin - settings.gap_samples + 1 - (ends[part] - place)
            if metrics.rms(signal[start : start + settings.gap_samples]) >= metrics.GAP_RMS_MIN:
                starts.append(int(start))
                break
    return starts


def lost_parts(start: int, settings: InpaintSettings) -> list[tuple[int, int]]:
    """Return the lost parts of a gap: the whole gap, or random hops.

    Parameters
    ----------
    start : int
        First sample of the gap.
    """
    stop = start + settings.gap_samples
    if settings.hops_lost == 1.0:
        return [(start, stop)]
    hop = max(1, round(settings.sample_rate * HOP_MS / 1000))
    begins = range(start, stop, hop)
    count = max(1, round(settings.hops_lost * len(begins)))
    chosen = np.random.default_rng((0, start)).choice(len(begins), count, replace=False)
    return [(begins[k], min(begins[k] + hop, stop)) for k in sorted(chosen.tolist())]


def result_tables(reports: Sequence[InpaintReport]) -> list[Table]:
    """Return a table for each length, and one of all if there are several."""
    tables = [result_table(report) for report in reports]
    return [*tables, curve_table(reports)] if len(reports) > 1 else tables


def result_table(report: InpaintReport) -> Table:
    """Return SNR_MS, SNR, and differences to the first method."""
    settings = report.settings
    first = settings.methods[0]
    clips = len({gap.clip for gap in report.gaps})
    table = Table(
        f"{counted(len(report.gaps), 'gap')} of {_length(settings)} in {counted(clips, 'clip')}, "
        f"{settings.sample_rate} Hz, context {settings.context}, quality {settings.quality}",
        ("method", "SNR_MS dB", f"over {first}", "95 % interval", "better on", "SNR dB"),
    )
    for method in settings.methods:
        snr_ms, snr = report.summary(method), report.summary(method, "snr_db")
        score = "snr_ms_db" if settings.has_frame else "snr_db"
        versus = ["", "", ""] if method == first else _versus(report.difference(method, score))
        shown = f"{snr_ms.mean:.2f} ± {snr_ms.std:.1f}" if settings.has_frame else ""
        table.add(method, shown, *versus, f"{snr.mean:.2f} ± {snr.std:.1f}")
    return table


def curve_table(reports: Sequence[InpaintReport]) -> Table:
    """Return scores by method and length: SNR_MS, or SNR where undefined."""
    methods = reports[0].settings.methods
    first = methods[0]
    title = f"SNR_MS in dB over the length of the gap, and over {first}"
    table = Table(title, ("gap", *methods))
    for report in reports:
        score = "snr_ms_db" if report.settings.has_frame else "snr_db"
        cells = []
        for method in methods:
            mean = f"{report.summary(method, score).mean:.2f}"
            if method != first:
                mean += f" ({report.difference(method, score).mean:+.2f})"
            cells.append(mean)
        of = "" if report.settings.has_frame else ", SNR of the samples"
        table.add(f"{_length(report.settings)}{of}", *cells)
    return table


def _score_gap(clip: str, signal: Samples, start: int, settings: InpaintSettings) -> GapScores:
    stop = start + settings.gap_samples
    parts = lost_parts(start, settings)
    lost = np.concatenate([np.arange(*part) for part in parts])
    near = round(settings.sample_rate * _END_MS / 1000)
    ends = lost[(lost < start + near) | (lost >= stop - near)]
    snr_ms, snr, ends_db = {}, {}, {}
    for method in settings.methods:
        whole = _repaired(signal, parts, method, settings)
        snr_ms[method] = (
            metrics.snr_ms_db(signal, whole, (start, stop)) if settings.has_frame else math.nan
        )
        snr[method] = metrics.snr_db(signal[lost], whole[lost])
        ends_db[method] = metrics.snr_db(signal[ends], whole[ends])
    return GapScores(clip, start, snr_ms, snr, ends_db)


def filled(
    signal: Samples, start: int, stop: int, method: str, settings: InpaintSettings
) -> Samples:
    """Return ``signal`` with the gap filled; the method sees zeros there."""
    return _repaired(signal, [(start, stop)], method, settings)


def _repaired(
    signal: Samples, parts: Sequence[tuple[int, int]], method: str, settings: InpaintSettings
) -> Samples:
    """Return ``signal`` with its lost ``parts`` filled, in order."""
    start, stop = parts[0][0], parts[-1][1]
    reach = settings.context_samples if settings.context == "paper" else signal.size
    low, high = max(0, start - reach), min(signal.size, stop + reach)
    damaged = signal.copy()
    for part in parts:
        damaged[slice(*part)] = 0.0
    whole = signal.copy()
    whole[low:high] = fill(
        damaged[low:high],
        [(first - low, last - low) for first, last in parts],
        settings.sample_rate,
        method,
        settings.quality,
    )
    return whole


def _length(settings: InpaintSettings) -> str:
    if settings.hops_lost == 1.0:
        return f"{settings.gap_ms:g} ms"
    return f"{settings.gap_ms:g} ms, of which {100 * settings.hops_lost:g} % is lost"


def _versus(difference: PairedDifference) -> list[str]:
    return [
        f"{difference.mean:+.2f}",
        difference.interval("+.2f"),
        f"{100 * difference.share_better:.0f} %",
    ]


JANSSEN = "janssen"
"""Gap-wise Janssen as published; all other names are those of :func:`plc.inpaint`."""


def fill(
    damaged: Samples,
    gaps: Sequence[tuple[int, int] | tuple[int, int, tuple[int, ...]]],
    sample_rate: int,
    method: str,
    quality: str,
) -> Samples:
    """Return a signal with its gaps filled.

    Parameters
    ----------
    damaged : float32, shape (n,) or (n, channels)
        Zero in the gaps; janssen takes one channel.
    gaps : sequence of (start, stop) or (start, stop, channels), in samples
    method : str
        ``METHOD[@model=NAME]`` as ``plc.inpaint`` takes both, or :data:`JANSSEN`.
    quality : str
        As ``plc.inpaint`` takes it.
    """
    if method == JANSSEN:
        whole = damaged
        for start, stop, *_ in gaps:
            whole = janssen.interpolate(whole, (start, stop))
        return whole
    method, _, model = method.partition("@model=")
    return np.asarray(
        plc.inpaint(
            damaged,
            gaps,
            sample_rate=sample_rate,
            quality=quality,
            method=method,
            model=model or "auto",
        ),
        np.float32,
    )
