"""Gaps of a third of a second and more, in music: ``plc bench papers long-gaps``.

What was in such a gap cannot be known, so what is asked is whether the fill sounds like music and
joins with what is known. A clip has a gap every 5 s, one of up to 10 s in its middle; every method
fills them:

``gacela``
    A network that invents (:mod:`plc.papers.gacela`), where there is one for the length.
``auto``
    What users get: the most similar passage of the clip (:mod:`plc.files.fill.copied`), as in [1]_.
``fade``
    Linear prediction from both sides, which fades out towards the middle.

The Fréchet distance compares the notes that all fills of a method hold with those of all that was
there: of single gaps there would be too few. PEAQ hears the whole clip; the other scores are of
each gap.

References
----------
.. [1] N. Perraudin, N. Holighaus, P. Majdak, P. Balazs, "Inpainting of long audio segments with
   similarity graphs", IEEE/ACM TASLP 26 (6), 2018.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.networks.gap_filler import find_models
from plc.engine.runtime.session import open_session
from plc.errors import ConfigError
from plc.files.fill.networks import open_gap_filler
from plc.notice import counted
from plc.papers.gacela import KIND, SAMPLE_RATE, LongGaps, long_gap_signature
from plc_bench.base.compare import mean_interval
from plc_bench.base.corpus import Samples, read_clip
from plc_bench.base.pieces import draw_levels
from plc_bench.base.tables import Table
from plc_bench.base.workers import Failure, score_clips
from plc_bench.papers.generated import Figure, frames_distance, with_interval
from plc_bench.scores.frechet import FRAME_HOP, note_frames
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_bench.scores.registry import metric

METHODS = (KIND, "auto", "fade")
TRUTH = "truth"
VARIANT = "gacela, another seed"
# From the middle of a gap to that of the next.
_EVERY_S = 5.0
# Around a gap, for the notes in it; twice that is known on either side.
_AROUND_S = 1.0
# On either side of an edge: what its level is taken from, and its usual steps.
_EDGE_MS = 20.0
# On either side of a gap, in a picture.
_SHOWN_S = 0.4
_FRAME, _HOP = 1024, 256
_FLOOR_DB = -80.0
_RESAMPLES = 100
SCORES = {
    "fad": "FAD (notes)",
    "peaq": "PEAQ",
    "lsd_db": "LSD dB",
    "level_db": "level dB",
    "edge_db": "edge dB",
    "step": "step",
}
"""Scores, as a table names them; but for the first, fields of :class:`Fill`."""
_BATCHES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LongGapSettings:
    """Settings of ``plc bench papers long-gaps``.

    Attributes
    ----------
    model : str
        Of the method ``gacela``, as ``plc.inpaint`` takes it.
    """

    gap_ms: float = 370.0
    model: str = "auto"

    def __post_init__(self) -> None:
        """Check the length."""
        if not 50.0 <= self.gap_ms <= 5_000.0:
            raise ConfigError(f"gap is {self.gap_ms:g} ms; give 50 to 5000")


@dataclass(frozen=True, slots=True)
class Fill:
    """Scores of the fills of a clip; means over its gaps.

    Attributes
    ----------
    notes : float64, shape (frames, 176)
        How sure each note sounds and begins in the gaps.
    peaq : float
        Objective difference grade of the whole clip.
    lsd_db : float
        Distance of log spectra from what was there.
    level_db : float, above what was there
    edge_db : float
        Between the levels on both sides of an edge, without sign; mean of both edges.
    step : float
        From the last known sample to the first filled one, in usual steps nearby; the larger edge.
    """

    notes: NDArray[np.float64]
    peaq: float
    lsd_db: float
    level_db: float
    edge_db: float
    step: float


@dataclass(frozen=True, slots=True)
class GapFills:
    """The gaps of a clip filled by every method.

    Attributes
    ----------
    fills : dict
        By method, and what was there.
    variants_db : float
        Distance of log spectra between two seeds of ``gacela``; NaN where it fills no such gap.
    """

    clip: str
    gaps: int
    fills: dict[str, Fill]
    variants_db: float


@dataclass(frozen=True, slots=True)
class LongGapReport:
    """Scores for one length of gap, and clips without.

    Attributes
    ----------
    scores : dict
        Of what was there, and of the methods that fill such gaps: by :data:`SCORES`, with 95 %
        intervals over clips.
    variants_db : Figure or None
        Distance of log spectra between two seeds of ``gacela``, if it fills such gaps.
    """

    settings: LongGapSettings
    gaps: int
    scores: dict[str, dict[str, Figure]]
    variants_db: Figure | None
    failures: list[Failure]


def measure_long_gaps(
    clips: Sequence[Path],
    settings: LongGapSettings,
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> LongGapReport:
    """Fill the gaps of every clip by every method, in ``jobs`` processes."""
    outcome = score_clips(partial(score_clip, settings=settings), clips, jobs, on_done)
    scored = list(outcome.results)
    found = scored[0].fills if scored else {}
    methods = [name for name in (TRUTH, *METHODS) if name in found]
    variants_db = _mean(scored, [each.variants_db for each in scored]) if KIND in found else None
    scores = {method: _scores(scored, method) for method in methods}
    gaps = sum(each.gaps for each in scored)
    return LongGapReport(settings, gaps, scores, variants_db, outcome.failures)


def score_clip(path: Path, settings: LongGapSettings) -> GapFills:
    """Return the scores of a clip's gaps; several channels are mixed to one."""
    made, gaps = filled_by_all(path, settings)
    variants_db = np.nan
    if VARIANT in made:
        variant = made.pop(VARIANT)
        of_gaps = [spectral_distance_db(variant[a:b], made[KIND][a:b]) for a, b in gaps]
        variants_db = float(np.mean(of_gaps))
    fills = {name: _scored(made[TRUTH], filled, gaps) for name, filled in made.items()}
    return GapFills(path.name, len(gaps), fills, variants_db)


def filled_by_all(
    path: Path, settings: LongGapSettings
) -> tuple[dict[str, Samples], list[tuple[int, int]]]:
    """Return a clip by every method, and its gaps; refuse a clip too short or silent there."""
    signal = read_clip(path, SAMPLE_RATE).signal.mean(axis=1)
    samples = round(settings.gap_ms * SAMPLE_RATE / 1000.0)
    around = round(2 * _AROUND_S * SAMPLE_RATE)
    count = max(1, signal.size // max(round(_EVERY_S * SAMPLE_RATE), samples + 2 * around))
    starts = [((2 * k + 1) * signal.size // count - samples) // 2 for k in range(count)]
    gaps = [(start, start + samples) for start in starts]
    gaps = [(a, b) for a, b in gaps if a >= around and rms(signal[a:b]) >= GAP_RMS_MIN]
    if not gaps:
        raise ConfigError(f"{path.name} is too short or too quiet for a gap in its middle")
    made = {TRUTH: signal}
    network = open_gap_filler(KIND, settings.model, SAMPLE_RATE)
    if isinstance(network, LongGaps) and samples <= network.longest:
        for name, seed in ((KIND, 0), (VARIANT, 1)):
            made[name] = _inpainted(signal, gaps, KIND, settings.model, seed)
    made["auto"] = _inpainted(signal, gaps, "auto", "auto", 0)
    made["fade"] = _inpainted(signal, gaps, "ar", "auto", 0)
    return made, gaps


def draw_fills(path: Path, clip: Path, settings: LongGapSettings) -> None:
    """Draw the fills of a clip's first gap as spectrograms (PNG); raise as its scores do."""
    made, (gap, *_) = filled_by_all(clip, settings)
    around = round(_SHOWN_S * SAMPLE_RATE)
    every = [_decibels(x[gap[0] - around : gap[1] + around]).T for x in made.values()]
    top = every[0].max()
    edges_s = (0.0, (gap[1] - gap[0]) / SAMPLE_RATE)
    ends = (-_SHOWN_S, edges_s[1] + _SHOWN_S, 0.0, SAMPLE_RATE / 2000.0)
    levels = {name: picture - top for name, picture in zip(made, every, strict=True)}
    draw_levels(path, levels, ends, "s", marks=edges_s, range_db=80.0)


def spectral_distance_db(a: Samples, b: Samples) -> float:
    """Return the log-spectral distance of two signals of one length, in dB.

    Mean over frames of 46 ms of the root mean square difference of their bins; bins below -80 dB of
    the largest in ``b`` count as that.
    """
    spectra = [_magnitudes(x) for x in (a, b)]
    floor = max(float(spectra[1].max()), 1e-9) * 10.0 ** (_FLOOR_DB / 20.0)
    first, second = (20.0 * np.log10(np.maximum(each, floor)) for each in spectra)
    return float(np.sqrt(((first - second) ** 2).mean(axis=1)).mean())


def batch_s(model: str, gaps: int = 64) -> float:
    """Return the median time in s for a batch of gaps.

    On one thread of the CPU.
    """
    signature = partial(long_gap_signature, gaps)
    session = open_session(find_models(KIND, model)[0], signature, providers="cpu")
    rng = np.random.default_rng(0)
    for port in session.inputs:
        port[...] = rng.random(port.shape, np.float32)
    times = []
    for _ in range(_BATCHES):
        began = time.perf_counter()
        session.run()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def result_table(report: LongGapReport) -> Table:
    """Return the scores of all methods."""
    gaps = counted(report.gaps, "gap")
    title = f"{gaps} of {report.settings.gap_ms:g} ms, {SAMPLE_RATE} Hz"
    table = Table(title, ("fill", *SCORES.values()))
    for method, scores in report.scores.items():
        table.add(method, *(scores[name].text() for name in SCORES))
    if report.variants_db is not None:
        table.note = f"LSD between two variants of {KIND}: {report.variants_db.text()} dB"
    return table


def _scores(gaps: Sequence[GapFills], method: str) -> dict[str, Figure]:
    fills = [gap.fills[method] for gap in gaps]
    means = {name: _mean(gaps, [getattr(fill, name) for fill in fills]) for name in [*SCORES][1:]}
    return {"fad": _distance(gaps, method), **means}


def _mean(gaps: Sequence[GapFills], values: Sequence[float]) -> Figure:
    found = mean_interval(values, [gap.clip for gap in gaps])
    return Figure(found.mean, found.low, found.high)


def _distance(gaps: Sequence[GapFills], method: str) -> Figure:
    """Return the Fréchet distance of a method's notes from the original's."""
    made, real = ([gap.fills[name].notes for gap in gaps] for name in (method, TRUTH))

    def of(weights: NDArray[np.integer] | None = None) -> float:
        return frames_distance(made, real, weights, weights)

    found = with_interval(of, [len(gaps)], resamples=_RESAMPLES)
    # Clips drawn twice take the place of others, and fewer of them lie further apart.
    return Figure(found.value, max(0.0, found.low), found.high)


def _magnitudes(x: Samples) -> NDArray[np.float64]:
    """Return a signal's spectra, shape (frames, bins)."""
    frames = np.lib.stride_tricks.sliding_window_view(x, _FRAME)[::_HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(_FRAME + 1)[:-1]))


def _decibels(x: Samples) -> NDArray[np.float64]:
    decibels: NDArray[np.float64] = 20.0 * np.log10(_magnitudes(x) + 1e-6)
    return decibels


def _inpainted(
    signal: Samples, gaps: Sequence[tuple[int, int]], method: str, model: str, seed: int
) -> Samples:
    filled = plc.inpaint(
        signal, gaps, sample_rate=SAMPLE_RATE, method=method, model=model, seed=seed
    )
    return filled.astype(np.float32, copy=False)


def _scored(truth: Samples, filled: Samples, gaps: Sequence[tuple[int, int]]) -> Fill:
    each = [_of_gap(truth, filled, gap) for gap in gaps]
    lost = np.zeros(truth.size, np.bool_)
    for start, stop in gaps:
        lost[start:stop] = True
    grade = metric("peaq").score(truth[:, None], filled[:, None], lost, SAMPLE_RATE)
    notes = np.concatenate([notes for notes, *_ in each])
    return Fill(notes, grade, *np.mean([scores for _, *scores in each], axis=0).tolist())


def _of_gap(
    truth: Samples, filled: Samples, gap: tuple[int, int]
) -> tuple[NDArray[np.float64], float, float, float, float]:
    """Return the notes in a gap, and the other scores in the order of :class:`Fill`."""
    start, stop = gap
    around = round(_AROUND_S * SAMPLE_RATE)
    excerpt = filled[start - around : stop + around, None]
    frames = note_frames(excerpt, SAMPLE_RATE)
    notes = frames[-(-around // FRAME_HOP) : (around + stop - start) // FRAME_HOP]
    edge = round(_EDGE_MS * SAMPLE_RATE / 1000.0)
    levels, steps = [], []
    for place, inside, outside in (
        (start, slice(start, start + edge), slice(start - edge, start)),
        (stop, slice(stop - edge, stop), slice(stop, stop + edge)),
    ):
        levels.append(abs(_level_db(filled[inside]) - _level_db(filled[outside])))
        usual = max(rms(np.diff(filled[outside])), 1e-6)
        steps.append(abs(float(filled[place] - filled[place - 1])) / usual)
    return (
        notes,
        spectral_distance_db(filled[start:stop], truth[start:stop]),
        _level_db(filled[start:stop]) - _level_db(truth[start:stop]),
        float(np.mean(levels)),
        max(steps),
    )


def _level_db(x: Samples) -> float:
    return 20.0 * float(np.log10(max(rms(x), 1e-5)))
