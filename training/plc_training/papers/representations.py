"""Comparison of representations for a network of gaps, by sound.

Each representation has a run of the recipe ``represented`` in a folder of its name. On held-out
clips, gaps are those of ``plc bench inpaint`` and of the paper's tables; fills are made of straight
lines in the array and of the network's answer, become samples by the inverse, are bent at their
ends, and scored by SNR_MS. Where there are spectra, phases are also *made*: from the magnitudes
alone by PGHI and fast Griffin-Lim, with the known frames held, as the paper does. Where there are
no phases at all, that is the only way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from plc.engine.networks.encoder import CONTEXT_SAMPLES, GAP_SAMPLES, ITERATIONS, SAMPLE_RATE
from plc.engine.networks.spectral_fill import bent, with_phase
from plc.errors import ConfigError
from plc.files.pages.picture import blank_figure, save
from plc.papers.representations.base import Array, Samples, Spectral
from plc.papers.representations.named import REPRESENTATIONS
from plc.papers.representations.spectral import WINDOW
from plc_bench.base.compare import PairedDifference, paired_difference
from plc_bench.base.corpus import clip_seed, read_clip
from plc_bench.base.workers import score_clips
from plc_bench.gaps.twosided import GapScores, InpaintReport, InpaintSettings, draw_gaps, filled
from plc_bench.report.panels import line_style
from plc_bench.scores.metrics import snr_db, snr_ms_db
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.windows import gaussian_gamma
from plc_training.papers.represented import GAP, GapArrays, RepresentedTask
from plc_training.train.recipe import Recipe, recipe_with
from plc_training.train.run import Place, open_best, run_recipes

RECIPE = "represented"
REFERENCE = "lpc"
STRAIGHT, NETWORK = "straight lines", "network"
MADE = "phases made"
_PICTURE_INCHES = (7.5, 5.0)

Fill = Callable[[Array, Array], Array]
"""Arrays of a segment with a silent gap, and with straight lines in it, to the filled one."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A representation and its trained network.

    Attributes
    ----------
    name : str
        Of :data:`plc.papers.representations.named.REPRESENTATIONS`.
    arrays : GapArrays, of segments
    fill : callable, the network
    weights : int, how many it has
    """

    name: str
    arrays: GapArrays
    fill: Fill
    weights: int

    @property
    def ways(self) -> tuple[str, ...]:
        """Ways to samples: by the inverse (empty), with :data:`MADE` phases, or both."""
        if not isinstance(self.arrays.kind, Spectral):
            return ("",)
        return ("", MADE) if len(self.arrays.kind.channels) > 1 else (MADE,)


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a representation.

    Raises
    ------
    ConfigError
        If there is no such representation.
    """
    return recipe_with(RECIPE, "representation", name)


def train_representations(
    place: Place, names: Sequence[str] = REPRESENTATIONS, steps: int | None = None
) -> bool:
    """Train the network of each representation; return whether all ended.

    Parameters
    ----------
    place : Place
        Its folder holds one of each name.
    names : sequence of str
        Of :data:`plc.papers.representations.named.REPRESENTATIONS`.
    steps : int, optional, instead of the recipe's

    Raises
    ------
    ConfigError
        As :func:`plc_training.train.run.run_recipe` raises it.
    """
    return run_recipes({name: recipe_of(name).with_steps(steps) for name in names}, place)


def open_contender(folder: Path, name: str) -> Contender:
    """Return the network of a representation from a folder of runs.

    Raises
    ------
    ConfigError
        If it has not been trained.
    """
    task, network = open_best(folder / name, RepresentedTask)

    @torch.no_grad()
    def fill(damaged: Array, straight: Array) -> Array:
        answer = network(torch.from_numpy(damaged[None]), torch.from_numpy(straight[None]))
        out: Array = answer[0].float().numpy()
        return out

    return Contender(name, task.arrays, fill, sum(each.numel() for each in network.parameters()))


def fills_of(contender: Contender, segment: Samples) -> Iterator[tuple[str, Samples]]:
    """Yield each method's name and its fill of the gap.

    Parameters
    ----------
    contender : Contender, the representation
    segment : float32, shape (5120,)
        What it has in its gap is not looked at.
    """
    arrays = contender.arrays
    prepared, level = arrays.prepared(segment)
    damaged = arrays.damaged(prepared)
    straight = arrays.interpolated(damaged)
    for kind, array in ((STRAIGHT, straight), (NETWORK, contender.fill(damaged, straight))):
        for way in contender.ways:
            if way:
                signal = _with_phases_made(arrays, array, prepared)
            else:
                signal = arrays.kind.inverse(arrays.joined(array, damaged))
            yield (
                method_of(contender.name, kind, way),
                level * bent(signal, prepared, GAP, SAMPLE_RATE),
            )


def method_of(name: str, kind: str, way: str) -> str:
    """Return the name of a method: representation, kind of fill, way to samples."""
    return ", ".join(each for each in (name, kind, way) if each)


def _with_phases_made(arrays: GapArrays, array: Array, prepared: Samples) -> Samples:
    """Return samples of an array's magnitudes; known frames are held."""
    assert isinstance(arrays.kind, Spectral)
    grid = arrays.kind.grid
    spectra = spectra_of(arrays.silenced(prepared), grid)
    spectra[arrays.lost] = arrays.kind.magnitude(array)[arrays.lost]
    known = np.repeat(~arrays.lost[:, None], grid.bins, axis=1).astype(np.uint8)
    gamma = gaussian_gamma(WINDOW, grid.window.size)
    made = with_phase(spectra, known, prepared.size, ITERATIONS, gamma, grid)
    return signal_of(made, prepared.size, grid)


def score_representations(
    contenders: Sequence[Contender], clips: Sequence[Path], gaps_per_clip: int
) -> InpaintReport:
    """Return the scores of linear prediction, then of all fills.

    Parameters
    ----------
    contenders : sequence of Contender, representations
    clips : sequence of Path, held-out clips
    gaps_per_clip : int, gaps of each

    Raises
    ------
    ConfigError
        If no clip has a gap.
    """
    methods = [
        method_of(each.name, kind, way)
        for each in contenders
        for kind in (STRAIGHT, NETWORK)
        for way in each.ways
    ]
    settings = InpaintSettings(
        methods=(REFERENCE, *methods), gaps_per_clip=gaps_per_clip, context="paper"
    )
    outcome = score_clips(partial(_score_clip, contenders, settings), clips, jobs=1)
    if not outcome.results:
        raise ConfigError(f"no clip has a gap to score: {outcome.failures or 'no clips'}")
    gaps = [gap for each in outcome.results for gap in each]
    return InpaintReport(settings, gaps, outcome.failures)


def _score_clip(
    contenders: Sequence[Contender], settings: InpaintSettings, path: Path
) -> list[GapScores]:
    signal = read_clip(path, SAMPLE_RATE).signal.mean(axis=1)
    starts = draw_gaps(signal, settings, clip_seed(path.name, settings.seed))
    if not starts:
        raise ConfigError(f"{path.name} is too short or too quiet for a gap with its context")
    scores = []
    for start in starts:
        gap = start, start + GAP_SAMPLES
        lpc = filled(signal, *gap, REFERENCE, settings)
        fills = {REFERENCE: lpc[slice(*gap)]}
        segment = signal[start - CONTEXT_SAMPLES : gap[1] + CONTEXT_SAMPLES]
        for contender in contenders:
            fills.update(fills_of(contender, segment))
        scores.append(_gap_scores(path.name, signal, gap, fills))
    return scores


def _gap_scores(
    clip: str, signal: Samples, gap: tuple[int, int], fills: dict[str, Samples]
) -> GapScores:
    snr_ms, snr = {}, {}
    for method, fill in fills.items():
        whole = signal.copy()
        whole[slice(*gap)] = fill
        snr_ms[method] = snr_ms_db(signal, whole, gap)
        snr[method] = snr_db(signal[slice(*gap)], fill)
    return GapScores(clip, gap[0], snr_ms, snr)


def interval_of(report: InpaintReport, method: str, over: str = "") -> PairedDifference:
    """Return a method's mean SNR_MS, or its gain over another."""
    first = [gap.snr_ms_db[method] for gap in report.gaps]
    second = [gap.snr_ms_db[over] if over else 0.0 for gap in report.gaps]
    clips = [gap.clip for gap in report.gaps]
    return paired_difference(first, second, lower_is_better=False, groups=clips)


def table_of_representations(report: InpaintReport, contenders: Sequence[Contender]) -> list[str]:
    """Return a table of SNR_MS in dB: a row for each representation and way to samples."""
    head = f"{'representation':<28} {'weights':>9}  {'straight lines':>22}  {'network':>22}"
    lines = [f"{head}  {'over straight lines':>24}"]
    lines.append(f"{REFERENCE:<28} {'':>9}  {'':>22}  {_shown(interval_of(report, REFERENCE)):>22}")
    for each in contenders:
        for way in each.ways:
            straight, network = (method_of(each.name, kind, way) for kind in (STRAIGHT, NETWORK))
            cells = [_shown(interval_of(report, method)) for method in (straight, network)]
            over = _shown(interval_of(report, network, straight), "+.2f")
            label = f"{each.name}, {way}" if way else each.name
            lines.append(
                f"{label:<28} {each.weights:>9}  {cells[0]:>22}  {cells[1]:>22}  {over:>24}"
            )
    return lines


def _shown(found: PairedDifference, form: str = ".2f") -> str:
    return f"{found.mean:{form}} ({found.interval(form)})"


def draw_representations(
    path: Path, report: InpaintReport, contenders: Sequence[Contender]
) -> None:
    """Draw SNR_MS and its intervals: straight lines and networks, by both ways to samples.

    Raises
    ------
    MissingExtraError
        If matplotlib is missing.
    AudioFileError
        If ``path`` cannot be written.
    """
    figure = blank_figure(*_PICTURE_INCHES)
    axes = figure.subplots()
    for number, (kind, way) in enumerate(
        (kind, way) for way in ("", MADE) for kind in (STRAIGHT, NETWORK)
    ):
        places = [place for place, each in enumerate(contenders) if way in each.ways]
        found = [interval_of(report, method_of(contenders[k].name, kind, way)) for k in places]
        means = np.array([each.mean for each in found])
        reaches = np.abs(np.array([[each.low, each.high] for each in found]).T - means)
        style = line_style(number) | {"linestyle": "none"}
        at = np.array(places) + 0.15 * (number - 1.5)
        label = method_of(kind, way or "by the inverse", "")
        axes.errorbar(means, at, xerr=reaches, label=label, capsize=2, **style)
    axes.axvline(interval_of(report, REFERENCE).mean, color="0.5", linestyle="--", label=REFERENCE)
    axes.set_yticks(range(len(contenders)), [each.name for each in contenders])
    axes.invert_yaxis()
    axes.set_xlabel("SNR_MS of gaps of 64 ms, dB (95 %)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    save(figure, path)
