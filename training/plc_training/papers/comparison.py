"""Comparisons of papers' networks: ``plc train papers``.

A comparison trains a network of each of its names, by one recipe with other values, in a folder of
that name below a common one; a training that was stopped goes on, one that ended stays as it is.
Then it tells the scores of these networks, or of runs that are given, as lines of a table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plc_training.train.loop import Reason
from plc_training.train.recipe import Recipe, recipe_with
from plc_training.train.run import Place, run_recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The inputs of a comparison.

    Attributes
    ----------
    place : Place
        Libraries, cache and processes; its folder holds a run of each name.
    names : tuple of str, networks that are trained and compared
    runs : tuple of Path, of networks that are trained
    unseen, seen : tuple of Path
        Clips that were not trained on, and that were.
    count : int, optional
        Pieces of a clip, or notes; the comparison's own number if it is not given.
    picture : Path, optional, where to draw
    """

    place: Place
    names: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()
    unseen: tuple[Path, ...] = ()
    seen: tuple[Path, ...] = ()
    count: int | None = None
    picture: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A comparison of networks.

    Attributes
    ----------
    tell : callable
        Yields the lines of the tables, and draws.
    names : tuple of str, networks that it trains, if any
    values : callable
        Of a name and the number of steps, if it is given: what differs from the recipe.
    """

    tell: Callable[[Asked], Iterator[str]]
    names: tuple[str, ...] = ()
    recipe: str = ""
    values: Callable[[str, int | None], Mapping[str, Any]] = lambda name, steps: {}

    def recipe_of(self, name: str, steps: int | None = None) -> Recipe:
        """Return the recipe of a network; ``steps`` instead of its own."""
        return recipe_with(self.recipe, name, self.values(name, steps)).with_steps(steps)

    def train(self, asked: Asked, steps: int | None = None) -> bool:
        """Train the networks one after the other; return whether all ended."""
        for name in asked.names:
            place = replace(asked.place, folder=asked.place.folder / name)
            ending = run_recipe(self.recipe_of(name, steps), place)
            if ending is not None and ending.reason is Reason.STOPPED:
                return False
        return True
