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
from plc.files.pages.picture import blank_figure, save
from plc.papers.representations.base import Array, Samples, Spectral
from plc.papers.representations.named import REPRESENTATIONS
from plc.papers.representations.spectral import WINDOW
from plc_bench.base.corpus import clip_seed, read_clip
from plc_bench.base.pieces import Row, Scores, aligned, score_pieces
from plc_bench.gaps.twosided import InpaintSettings, draw_gaps, filled
from plc_bench.report.panels import line_style
from plc_bench.scores.metrics import snr_ms_db
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.windows import gaussian_gamma
from plc_training.papers.comparison import Asked, Comparison
from plc_training.papers.represented import GAP, GapArrays, RepresentedTask
from plc_training.train.run import open_best

REFERENCE = "lpc"
STRAIGHT, NETWORK = "straight lines", "network"
MADE = "phases made"
_SCORE = "snr_ms_db"
_GAPS = 3

Fill = Callable[[Array, Array], Array]
"""Arrays of a segment with a silent gap, and with straight lines in it, to the filled one."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A representation and its trained network.

    Attributes
    ----------
    name : str
        Of :data:`plc.papers.representations.named.REPRESENTATIONS`.
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


def open_contender(folder: Path, name: str) -> Contender:
    """Return the network of a representation from a folder of runs, as :func:`open_best`."""
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


def _rows(contenders: Sequence[Contender], most: int, path: Path) -> Iterator[Row]:
    """Yield SNR_MS of the gaps of a clip: of linear prediction, then of all fills."""
    settings = InpaintSettings(gaps_per_clip=most, context="paper")
    signal = read_clip(path, SAMPLE_RATE).signal.mean(axis=1)
    for start in draw_gaps(signal, settings, clip_seed(path.name)):
        gap = start, start + GAP_SAMPLES
        whole = filled(signal, *gap, REFERENCE, settings)
        row = {REFERENCE: snr_ms_db(signal, whole, gap)}
        segment = signal[start - CONTEXT_SAMPLES : gap[1] + CONTEXT_SAMPLES]
        for contender in contenders:
            for method, fill in fills_of(contender, segment):
                whole = signal.copy()
                whole[slice(*gap)] = fill
                row[method] = snr_ms_db(signal, whole, gap)
        yield {_SCORE: row}


def table(scores: Scores, contenders: Sequence[Contender]) -> list[str]:
    """Return a table of SNR_MS in dB: a row for each representation and way to samples."""
    rows: list[Sequence[str]] = [
        ("representation", "weights", STRAIGHT, NETWORK, f"over {STRAIGHT}")
    ]
    rows.append((REFERENCE, "", "", scores.text(_SCORE, REFERENCE), ""))
    for each in contenders:
        for way in each.ways:
            straight, network = (method_of(each.name, kind, way) for kind in (STRAIGHT, NETWORK))
            cells = [scores.text(_SCORE, method) for method in (straight, network)]
            over = scores.text(_SCORE, network, straight, "+.2f")
            rows.append((method_of(each.name, way, ""), str(each.weights), *cells, over))
    return aligned(rows)


def _draw(path: Path, scores: Scores, contenders: Sequence[Contender]) -> None:
    """Draw SNR_MS and its intervals: straight lines and networks, by both ways to samples."""
    figure = blank_figure(7.5, 5.0)
    axes = figure.subplots()
    for number, (kind, way) in enumerate(
        (kind, way) for way in ("", MADE) for kind in (STRAIGHT, NETWORK)
    ):
        places = [place for place, each in enumerate(contenders) if way in each.ways]
        methods = [method_of(contenders[k].name, kind, way) for k in places]
        found = [scores.difference(_SCORE, method) for method in methods]
        means = np.array([each.mean for each in found])
        reaches = np.abs(np.array([[each.low, each.high] for each in found]).T - means)
        style = line_style(number) | {"linestyle": "none"}
        at = np.array(places) + 0.15 * (number - 1.5)
        label = method_of(kind, way or "by the inverse", "")
        axes.errorbar(means, at, xerr=reaches, label=label, capsize=2, **style)
    axes.axvline(scores.mean(_SCORE, REFERENCE), color="0.5", linestyle="--", label=REFERENCE)
    axes.set_yticks(range(len(contenders)), [each.name for each in contenders])
    axes.invert_yaxis()
    axes.set_xlabel("SNR_MS of gaps of 64 ms, dB (95 %)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    save(figure, path)


def _tell(asked: Asked) -> Iterator[str]:
    contenders = [open_contender(asked.place.folder, name) for name in asked.names]
    most = asked.count or _GAPS
    wanted = "a gap with its context that is loud enough"
    rows = partial(_rows, contenders, most)
    scores = score_pieces(asked.unseen, rows, wanted, lambda path: path.name)
    yield from table(scores, contenders)
    if asked.picture is not None:
        _draw(asked.picture, scores, contenders)


ALL_REPRESENTATIONS = Comparison(
    tell=_tell,
    names=tuple(REPRESENTATIONS),
    recipe="represented",
    values=lambda name, steps: {"settings.representation": name},
)
"""One network on each representation."""
