"""Short trainings of all restorers of damaged spectrograms, compared.

Each network of the registry is trained by the recipe ``restore_brief``, in a folder of its own
below a common one; a training that was stopped goes on, one that ended stays as it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from plc_training.papers.blocks import counted
from plc_training.papers.restored import SHARES, open_restorer, score_clips_of, shown
from plc_training.papers.restorers import RESTORERS
from plc_training.train.recipe import Recipe, recipe_with
from plc_training.train.run import Place, run_recipes

BRIEF = "restore_brief"
"""The recipe."""


def brief_recipe(network: str) -> Recipe:
    """Return the recipe of a short training.

    Parameters
    ----------
    network : str
        Of :data:`plc_training.papers.restorers.RESTORERS`.

    Raises
    ------
    ConfigError
        If there is no such network.
    """
    return recipe_with(BRIEF, "network", network)


def train_briefly(
    place: Place, networks: Iterable[str] = tuple(RESTORERS), steps: int | None = None
) -> bool:
    """Train networks one after the other; return whether all ended.

    Parameters
    ----------
    place : Place
        Its folder holds one of each network.
    networks : iterable of str
        Of :data:`plc_training.papers.restorers.RESTORERS`.
    steps : int, optional, instead of the recipe's

    Raises
    ------
    ConfigError
        As :func:`plc_training.train.run.run_recipe` raises it.
    """
    recipes = {name: brief_recipe(name).with_steps(steps) for name in networks}
    return run_recipes(recipes, place)


def rows(
    folder: Path,
    unseen: Sequence[Path],
    patches: int,
    networks: Iterable[str] = tuple(RESTORERS),
) -> Iterator[str]:
    """Yield the lines of a table of gains in dB.

    Parameters
    ----------
    folder : Path
        Holds a run of each network.
    unseen : sequence of Path
        Folders of clips that were not trained on.
    patches : int
        Of each clip at most; 0: all.
    networks : iterable of str, those trained
    """
    head = f"{'network':>16}  {'parameters':>10}  {'gain in dB (95 %)':>24}"
    yield f"{head}  {'over linear (95 %)':>25}"
    for name in networks:
        task, network = open_restorer(folder / name)
        scores = score_clips_of(task, network, unseen, patches)
        gain, over = (scores.gain("psnr_db", each, SHARES[-1]) for each in ("damaged", "linear"))
        yield f"{name:>16}  {counted(network.network):>10}  {shown(gain):>24}  {shown(over):>25}"
