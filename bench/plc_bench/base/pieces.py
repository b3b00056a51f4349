"""Scores of pieces of clips by several methods, with intervals, and pictures of them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.files.pages.picture import blank_figure, save
from plc_bench.base.compare import PairedDifference, paired_difference
from plc_bench.base.corpus import find_clips

Row = Mapping[str, Mapping[str, float]]
"""Scores of one piece: by score, then by method."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of pieces of clips.

    Attributes
    ----------
    groups : tuple of str
        What each piece belongs to; intervals are over these.
    values : dict
        By score, then by method: float64, shape (pieces,).
    """

    groups: tuple[str, ...]
    values: dict[str, dict[str, NDArray[np.float64]]]

    @classmethod
    def of(cls, groups: Sequence[str], rows: Sequence[Row]) -> "Scores":
        """Return the scores of pieces, one at least; all rows have the keys of the first."""
        return cls(
            tuple(groups),
            {
                score: {name: np.array([row[score][name] for row in rows], float) for name in each}
                for score, each in rows[0].items()
            },
        )

    def among(self, chosen: NDArray[np.bool_]) -> "Scores":
        """Return the scores of some pieces."""
        return Scores(
            tuple(group for group, kept in zip(self.groups, chosen, strict=True) if kept),
            {
                score: {name: values[chosen] for name, values in each.items()}
                for score, each in self.values.items()
            },
        )

    def mean(self, score: str, method: str) -> float:
        """Return the mean over the pieces."""
        return float(self.values[score][method].mean())

    def difference(self, score: str, method: str, over: str = "") -> PairedDifference:
        """Return a method's mean, or its gain over another, with the interval."""
        first = self.values[score][method]
        second = self.values[score][over] if over else np.zeros_like(first)
        return paired_difference(
            first.tolist(), second.tolist(), lower_is_better=False, groups=self.groups
        )

    def text(self, score: str, method: str, over: str = "", form: str = ".2f") -> str:
        """Return :meth:`difference` as text, such as ``1.20 (1.10 to 1.31)``."""
        found = self.difference(score, method, over)
        return f"{found.mean:{form}} ({found.interval(form)})"


def work_of(path: Path) -> str:
    """Return the work of a clip: its name without its last number."""
    return re.sub(r"_\d+$", "", path.stem)


def score_pieces(
    sources: Sequence[Path],
    rows_of: Callable[[Path], Iterable[Row]],
    wanted: str,
    group: Callable[[Path], str] = work_of,
) -> Scores:
    """Return the scores of the pieces of clips.

    Parameters
    ----------
    sources : sequence of Path, folders, audio files or manifests
    rows_of : callable
        Scores of the pieces of a clip; none where it is too short.
    wanted : str, for messages: what a clip must have
    group : callable, what the pieces of a clip belong to

    Raises
    ------
    ConfigError
        If no clip has a piece.
    AudioFileError
        If a clip cannot be read.
    """
    groups: list[str] = []
    rows: list[Row] = []
    for path in find_clips(sources):
        found = list(rows_of(path))
        rows += found
        groups += [group(path)] * len(found)
    if not rows:
        raise ConfigError(f"{' and '.join(map(str, sources))}: no clip has {wanted}")
    return Scores.of(groups, rows)


def spread(items: Sequence[Any] | NDArray[Any], most: int) -> list[Any]:
    """Return at most so many items, evenly spread; 0: all."""
    count = len(items)
    return list(items) if not 0 < most < count else [items[i * count // most] for i in range(most)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; all columns but the first are aligned to the right."""
    first, *rest = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = ([name.ljust(first), *map(str.rjust, cells, rest)] for name, *cells in rows)
    return ["  ".join(line).rstrip() for line in lines]


def draw_levels(
    path: Path,
    levels: Mapping[str, NDArray[np.floating]],
    ends: tuple[float, float, float, float],
    x_label: str,
    *,
    down: bool = False,
    marks: Sequence[float] = (),
    range_db: float = 70.0,
) -> None:
    """Draw spectrograms side by side (PNG).

    Parameters
    ----------
    levels : mapping
        By title: dB below the loudest, shape (rows, frames).
    ends : (float, float, float, float)
        Left and right in units of ``x_label``, bottom and top in kHz; of rows of another kind 0, 0.
    x_label : str, what runs to the right
    down : bool, one below the other
    marks : sequence of float, where vertical lines stand
    range_db : float, of the colours
    """
    count, plain = len(levels), ends[2] == ends[3]
    figure = blank_figure(*((9.6, 1.25 * count + 0.5) if down else (2.3 * count + 0.4, 2.8)))
    shape = (count, 1) if down else (1, count)
    axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, (title, picture) in zip(axes, levels.items(), strict=True):
        image = ax.imshow(
            picture,
            origin="lower",
            aspect="auto",
            extent=(*ends[:2], 0, len(picture)) if plain else ends,
            cmap="magma",
            interpolation="nearest",
            vmin=-range_db,
            vmax=0.0,
        )
        for mark in marks:
            ax.axvline(mark, color="white", linewidth=0.7, linestyle="dotted")
        ax.set_title(title, loc="left", fontsize="small")
    for ax in axes[-1:] if down else axes:
        ax.set_xlabel(x_label)
    if plain:
        axes[0].set_yticks([])
    else:
        axes[0].set_ylabel("kHz")
    figure.colorbar(image, ax=axes, label="dB")
    save(figure, path)
