"""The experiment of gap against context: a small network for each pair, and their picture.

As in the document [1]_: strokes of 32 to 256 ms in patches of 85 to 683 ms, each pair of them that
leaves twelve columns known. All networks are trained by one recipe and see the same strokes, with
more or less around them. A folder holds a run for each; what is trained is not trained again.

References
----------
.. [1] github.com/iamhectorotero/generative-audio-inpainting: notebooks/6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plc.errors import ConfigError
from plc_bench.report.panels import Curve, Panel, draw_panels, line_style
from plc_training.papers.stroke import COLUMN_MS
from plc_training.papers.strokes import METHODS, Strokes, open_inpainter, score_strokes
from plc_training.train.journal import read_log
from plc_training.train.recipe import Recipe, parse_recipe
from plc_training.train.run import Place, run_recipes

COLUMNS = (12, 24, 48, 96)
"""Of the strokes: 32, 64, 128 and 256 ms."""
FRAMES = (32, 64, 128, 256)
"""Of the patches: 85, 171, 341 and 683 ms."""
_LEAST_KNOWN = 12
# At an eighth of the width; as many columns a step for each pair.
_STEP_COLUMNS = 1024
_RECIPE = """\
[task]
kind = "stroke"
valid_segments = 96
leave_out = ["ast_*", "vctk_*", "pv_*", "kerstin_*"]

[data]
domains = ["speech"]
frames = {longest}
shift_ms = 682.667

[settings]
network = "res-unet-bilinear"
width = 8
form = "interpolated"
frames = {frames}
columns = [{columns}]
gain_db = 6.0
colour_db = 3.0

[schedule]
steps = {steps}
batch = {batch}
learning_rate = 3e-3
optimiser = "muon"
warm_up = 50
weight_decay = 0.0
beta2 = 0.99
validate_every = {validate_every}
precision = "bf16-mixed"

[model]
name = "unet-speech-{name}"
content = "speech"
licence = "MIT"
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """One network of the experiment.

    Attributes
    ----------
    columns, frames : int
        Of its stroke and of its patch.
    """

    columns: int
    frames: int

    @property
    def gap_ms(self) -> float:
        """Length of the stroke."""
        return self.columns * COLUMN_MS

    @property
    def context_ms(self) -> float:
        """Length of the known samples on either side."""
        return (self.frames - self.columns) / 2 * COLUMN_MS

    @property
    def name(self) -> str:
        """Name of its run."""
        return f"gap{self.gap_ms:.0f}-patch{self.frames * COLUMN_MS:.0f}"

    def recipe(self, steps: int) -> Recipe:
        """Return the recipe of its network."""
        text = _RECIPE.format(
            longest=max(FRAMES),
            frames=self.frames,
            columns=self.columns,
            steps=steps,
            batch=_STEP_COLUMNS // self.frames,
            validate_every=max(1, steps // 5),
            name=self.name,
        )
        return parse_recipe(text, self.name, self.name)


@dataclass(frozen=True, slots=True)
class PairScore:
    """Scores of a pair's network.

    Attributes
    ----------
    pair : Pair, the pair
    strokes : Strokes, scores on held-out clips
    curve : tuple of (int, float)
        Steps, and the error of the validation strokes there.
    """

    pair: Pair
    strokes: Strokes
    curve: tuple[tuple[int, float], ...]


def pairs_of(gaps_ms: Sequence[float] = ()) -> list[Pair]:
    """Return the pairs of some gaps.

    Parameters
    ----------
    gaps_ms : sequence of float
        Their lengths; none: those of the document.

    Raises
    ------
    ConfigError
        If a length is none of the document's.
    """
    known = {columns * COLUMN_MS: columns for columns in COLUMNS}
    for gap_ms in gaps_ms:
        if gap_ms not in known:
            raise ConfigError(
                f"the gap is {gap_ms:g} ms; known: {', '.join(f'{each:g}' for each in known)}"
            )
    return [
        Pair(columns, frames)
        for gap_ms, columns in known.items()
        if not gaps_ms or gap_ms in gaps_ms
        for frames in FRAMES
        if columns <= frames - _LEAST_KNOWN
    ]


def train_pairs(pairs: Sequence[Pair], place: Place, steps: int) -> bool:
    """Train the network of each pair; return whether all are trained.

    Parameters
    ----------
    pairs : sequence of Pair, of :func:`pairs_of`
    place : Place
        ``folder`` holds the runs, in folders of their names.
    steps : int, of each network

    Raises
    ------
    ConfigError
        As :func:`~plc_training.train.run.run_recipe`.
    """
    return run_recipes({pair.name: pair.recipe(steps) for pair in pairs}, place)


def score_pairs(pairs: Sequence[Pair], folder: Path, sources: Sequence[Path]) -> list[PairScore]:
    """Return the scores of the networks in a folder.

    Raises
    ------
    ConfigError
        If a network is missing, or the clips hold no stroke.
    AudioFileError
        If a clip cannot be read.
    """
    scores = []
    for pair in pairs:
        run = folder / pair.name
        task, network = open_inpainter(run)
        strokes = score_strokes(
            task, network, sources, pair.columns, ("linear", "network"), longest=max(FRAMES)
        )
        curve = tuple((int(line["step"]), line["mse"]) for line in read_log(run))
        scores.append(PairScore(pair, strokes, curve))
    return scores


def table_of_pairs(scores: Sequence[PairScore]) -> list[str]:
    """Return a table: gap, context, errors of linear interpolation and of the network."""
    lines = [f"{'gap':>7} {'context':>9} {'strokes':>7}  {'linear':>7}  network (95 %)"]
    for each in scores:
        pair, strokes = each.pair, each.strokes
        lines.append(
            f"{pair.gap_ms:>4.0f} ms {pair.context_ms:>6.0f} ms {len(strokes.works):>7}  "
            f"{strokes.mean('mse', 'linear'):>7.3f}  {strokes.shown('mse', 'network')}"
        )
    return lines


def draw_pairs(path: Path, scores: Sequence[PairScore], others: Sequence[Strokes]) -> None:
    """Draw errors over the gap, the context and the training.

    Parameters
    ----------
    path : Path, the picture
    scores : sequence of PairScore, of :func:`score_pairs`
    others : sequence of Strokes
        Scores of other methods on strokes of several lengths, for the first panel.

    Raises
    ------
    MissingExtraError
        If matplotlib is missing.
    ConfigError
        If ``path`` cannot be written.
    """
    over_gap = [
        Curve(
            method,
            line_style(number),
            [each.columns * COLUMN_MS for each in others],
            [each.mean("mse", method) for each in others],
        )
        for number, method in enumerate(METHODS)
        if others and method in others[0].methods
    ]
    over_context, training = [], []
    for number, columns in enumerate(dict.fromkeys(each.pair.columns for each in scores)):
        shown = [each for each in scores if each.pair.columns == columns]
        style = line_style(len(METHODS) + number)
        name = f"gap of {columns * COLUMN_MS:.0f} ms"
        contexts = [each.pair.context_ms for each in shown]
        errors = [each.strokes.mean("mse", "network") for each in shown]
        over_context.append(Curve(name, style, contexts, errors))
        longest = shown[-1]
        steps, losses = np.array(longest.curve).T
        training.append(Curve(name, style, steps.tolist(), losses.tolist()))
    label = "error of log-magnitudes"
    panels = [
        Panel(over_gap, "length of the gap (ms)", label),
        Panel(over_context, "context on either side (ms)", label),
        Panel(training, "step, longest context", f"{label}, validation"),
    ]
    draw_panels(path, [panel for panel in panels if panel.curves])
