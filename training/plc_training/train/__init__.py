"""One training: recipe, loop, checkpoints, log and display.

What recipes the package has is said here, without torch.
"""

import itertools
from importlib import resources
from pathlib import Path


def recipe_files() -> dict[str, Path]:
    """Return the package's recipes by name, earlier steps (``history``) included."""
    folder = Path(str(resources.files("plc_training"))) / "recipes"
    return {path.stem: path for path in folder.rglob("*.toml")}


def described_recipes() -> dict[str, str]:
    """Return the first sentence about each recipe of the package that is no step of another."""
    told = {}
    for name, path in sorted(recipe_files().items()):
        text = path.read_text("utf-8").splitlines()
        lines = itertools.takewhile(lambda line: line.startswith("#"), text)
        if path.parent.name != "history":
            told[name] = " ".join(line[2:] for line in lines).partition(". ")[0].rstrip(".")
    return told
