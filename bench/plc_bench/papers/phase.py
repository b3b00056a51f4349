"""Quality of phase made from magnitudes: ``plc bench papers phase CLIPS``.

From the true magnitudes of the middle of each clip, every method makes phases; the score is
the *spectral convergence* [1]_: how far the magnitudes move when a signal is made of them,

    20 log10( || |STFT(ISTFT(magnitude * exp(i phase)))| - magnitude || / || magnitude || )

in dB, lower is better. In the *gap* setting the frames that touch 64 ms gaps have lost their
phases and all others keep theirs, the convergence counts the former alone, and *error* is the
energy of the samples' error over theirs inside the gaps: phases must fit the context, not only
each other.

Method ``fgla`` is fast Griffin-Lim, 100 iterations, from zero phase; ``+fgla`` the same from
another method's phases.

References
----------
.. [1] N. Sturmel, L. Daudet, "Signal reconstruction from STFT magnitude: a state of the art",
   DAFx-11, 2011.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.notice import counted
from plc_bench.base.compare import column, summarise
from plc_bench.base.corpus import Samples, find_clips, middle_of
from plc_bench.base.pieces import spread
from plc_bench.base.tables import Table
from plc_kernels.spectra.offline import integrate_phase, refine_phase, signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import gaussian_gamma, window

METHODS = ("zero", "fgla", "pghi", "pghi+fgla")
FGLA_ITERATIONS = 100
GAP_MS = 64.0
# From one gap's start to the next: 36 frames of the 16 kHz grid.
_GAP_PERIOD_MS = 288.0

Spectra = NDArray[np.complex64]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A transform to measure on; ``sample_rate`` in Hz, ``None`` is each clip's own."""

    name: str
    window: str
    length: int
    hop: int
    sample_rate: int | None = None
    gaps: bool = False

    @property
    def gamma(self) -> float:
        """Width of the window's Gaussian, in samples squared."""
        return gaussian_gamma(self.window, self.length)

    def allocate(self) -> Stft:
        """Return tables and scratch memory."""
        return Stft.allocate(window(self.window, self.length), self.hop)


CLIPS, SECONDS = 8, 2.0
"""Clips taken of each source, and the length taken of each."""
# The context-encoder paper's grid, whole and with gaps; the PGHI paper's of redundancy 8, and 16.
GRIDS = (
    Grid(name="16 kHz, Hann 512/128", window="hann", length=512, hop=128, sample_rate=16_000),
    Grid(name="Hann 2048/256", window="hann", length=2048, hop=256),
    Grid(name="Gauss 2048/256", window="gauss", length=2048, hop=256),
    Grid(name="Gauss 2048/128", window="gauss", length=2048, hop=128),
    Grid(
        name="16 kHz, Hann 512/128, gaps of 64 ms",
        window="hann",
        length=512,
        hop=128,
        sample_rate=16_000,
        gaps=True,
    ),
)


@dataclass(frozen=True, slots=True)
class PhaseScore:
    """One method on one clip and grid, in dB; ``error_db`` is NaN without gaps."""

    source: str
    clip: str
    grid: str
    method: str
    convergence_db: float
    error_db: float


def score_clip(clip: tuple[Path, Path]) -> list[PhaseScore]:
    """Score the middle of a clip behind its source; several channels are mixed to one."""
    (source, path), scores = clip, []
    for grid in GRIDS:
        x, rate = middle_of(path, grid.sample_rate, SECONDS)
        found = score_signal(x, grid, rate)
        scores += [
            PhaseScore(str(source), path.name, grid.name, method, convergence_db, error_db)
            for method, (convergence_db, error_db) in found.items()
        ]
    return scores


def score_signal(
    x: Samples, grid: Grid, sample_rate: int, iterations: int = FGLA_ITERATIONS
) -> dict[str, tuple[float, float]]:
    """Return convergence and error in dB by method, for one signal."""
    plan = grid.allocate()
    spectra = spectra_of(x, plan)
    magnitude = np.abs(spectra)
    lost = np.zeros(x.size, np.bool_)
    known = np.zeros(magnitude.shape, np.uint8)
    if grid.gaps:
        lost = gap_samples(x.size, sample_rate)
        known[~touched_frames(lost, plan)] = 1
    counted = known[:, 0] == 0
    out = {}
    for method in METHODS:
        estimate = reconstruct(method, spectra, known, grid, plan, x.size, iterations)
        signal = signal_of(estimate, x.size, plan)
        made = np.abs(spectra_of(signal, plan))
        out[method] = (
            _ratio_db(made[counted] - magnitude[counted], magnitude[counted]),
            _ratio_db(signal[lost] - x[lost], x[lost]),
        )
    return out


def gap_samples(samples: int, sample_rate: int) -> NDArray[np.bool_]:
    """Return a mask of lost samples: gaps of 64 ms, at least 64 ms apart."""
    period = round(_GAP_PERIOD_MS * sample_rate / 1000)
    gap = round(GAP_MS * sample_rate / 1000)
    lost = np.zeros(samples, np.bool_)
    for start in range(period - gap, samples - period, period):
        lost[start : start + gap] = True
    return lost


def touched_frames(lost: NDArray[np.bool_], plan: Stft) -> NDArray[np.bool_]:
    """Return which frames hold a lost sample: bool, shape (frames,)."""
    held = np.concatenate([[0], np.cumsum(lost)])
    stops = plan.hop * (1 + np.arange(plan.frames(lost.size)))
    starts = np.clip(stops - plan.window.size, 0, lost.size)
    touched: NDArray[np.bool_] = held[np.minimum(stops, lost.size)] > held[starts]
    return touched


def reconstruct(
    method: str,
    spectra: Spectra,
    known: Mask,
    grid: Grid,
    plan: Stft,
    samples: int,
    iterations: int = FGLA_ITERATIONS,
) -> Spectra:
    """Return magnitudes with the phases that a method makes for them.

    Parameters
    ----------
    method : str, one of ``METHODS``
    spectra : complex64, shape (frames, bins)
        True spectra; of unknown coefficients a method sees the magnitude alone.
    known : uint8, shape (frames, bins)
        1 where the phase is known too.
    iterations : int, of fast Griffin-Lim
    """
    magnitude = np.abs(spectra)
    phase = np.where(known, np.angle(spectra), 0).astype(np.float32)
    start, _, more = method.partition("+")
    if start == "pghi":
        integrate_phase(magnitude, known, grid.gamma, plan, phase)
    estimate: Spectra = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    if more or start == "fgla":
        refine_phase(iterations, magnitude, known, spectra, samples, plan, estimate)
    return estimate


def _ratio_db(error: Samples, reference: Samples) -> float:
    size = float(np.linalg.norm(reference.astype(np.float64)))
    if size == 0:
        return math.nan
    return 20 * math.log10(max(float(np.linalg.norm(error.astype(np.float64))), 1e-12) / size)


def chosen_clips(sources: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return up to 8 clips of each source, evenly spread, each behind its source."""
    return [(source, path) for source in sources for path in spread(find_clips([source]), CLIPS)]


def result_tables(scores: Sequence[PhaseScore]) -> list[Table]:
    """Return a table for each source: methods by grids, mean ± standard deviation in dB.

    In brackets: on how many clips a method is below ``fgla``.
    """
    tables = []
    for source in dict.fromkeys(score.source for score in scores):
        clips = len({score.clip for score in scores if score.source == source})
        columns = [(grid.name, "convergence_db") for grid in GRIDS]
        columns += [(grid.name, "error_db") for grid in GRIDS if grid.gaps]
        heads = [name + (": error" if field == "error_db" else "") for name, field in columns]
        title = f"{source}: {counted(clips, 'clip')}, {SECONDS:g} s each"
        table = Table(title, ("method", *heads))
        for method in METHODS:
            table.add(method, *(_cell(scores, source, method, *column) for column in columns))
        tables.append(table)
    return tables


def _cell(scores: Sequence[PhaseScore], source: str, method: str, grid: str, field: str) -> str:
    values, others = (
        column(scores, field, source=source, grid=grid, method=each) for each in (method, "fgla")
    )
    summary = summarise(values)
    if not summary.count:
        return "-"
    better = sum(ours < theirs for ours, theirs in zip(values, others, strict=True))
    count = "" if method == "fgla" else f" ({better})"
    return f"{summary.mean:.1f} ± {summary.std:.1f}{count}"
