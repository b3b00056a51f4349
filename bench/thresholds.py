"""Measure what each threshold of plc.detect does: the table docs/thresholds.md.

    python bench/thresholds.py CORPUS/*/valid > docs/thresholds.md    # 20 minutes, one core

Each number of ``plc/restore/detect`` is lowered to 0.8 and raised to 1.25 of its value, alone, and
damage is looked for in some excerpts, and in undamaged sounds. Meanings are the comments there: a
comment over several numbers has a part for each, in their order, with semicolons between.
"""

import ast
import importlib
import pkgutil
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
import plc.restore.detect as package
from plc_bench.base.corpus import find_clips, read_clip
from plc_bench.restore.damage import KINDS, Damage, damaged, through
from plc_bench.restore.kinds import UNDAMAGED, undamaged
from plc_bench.restore.study import is_true, place_of

SECONDS = 8.0
EXCERPTS = 4
EVERY = 33
"""Of the undamaged kinds every 33rd."""
LOWER, HIGHER = 0.8, 1.25
HEAD = """# Thresholds of detection

What `plc.detect` compares with, and what becomes of {places} places of
damage in {excerpts} excerpts of {seconds:g} s ({found} are found) and of {sounds} undamaged sounds
({false} false findings) if it alone is lowered to 0.8 or raised to 1.25 of its value: the last four
columns are changes of both numbers, empty where a value is impossible. Written by
`python bench/thresholds.py CORPUS/*/valid`; [the benchmarks](benchmarks.md) have the figures of
clips that nothing was tuned on.

| in | threshold | value | meaning | found, 0.8 | found, 1.25 | false, 0.8 | false, 1.25 |
|---|---|---|---|---:|---:|---:|---:|"""
UNSEEN = """
## Where nothing changes

These sounds do not tell: such a threshold keeps other sounds from harm, as
[the notebook](notebook/damage.md) has it. What each means stands beside it in
[plc/restore/detect](../plc/restore/detect)."""


class Threshold:
    """A number, or several, of a module."""

    def __init__(self, module: Any, name: str, meaning: str) -> None:
        self.module, self.name, self.meaning = module, name, meaning
        self.value = getattr(module, name)

    def scale(self, share: float) -> None:
        """Set it to a share of its value, where it stands and wherever it was imported."""
        # A name of a module's own may stand in another, for another number.
        own = self.name.startswith("_")
        value = self.value if share == 1.0 else _scaled(self.value, share)
        for each in [self.module] if own else MODULES:
            if hasattr(each, self.name):
                setattr(each, self.name, value)


MODULES = [
    importlib.import_module(f"{package.__name__}.{each.name}")
    for each in pkgutil.iter_modules(package.__path__)
]


def _scaled(value: Any, share: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_scaled(each, share) for each in value)
    if isinstance(value, int):
        return max(round(value * share), value + (1 if share > 1 else -1), 0) if value else value
    return value * share


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def thresholds() -> Iterator[Threshold]:
    """Yield them in the order of the files."""
    for module in MODULES:
        yield from thresholds_of(module)


def thresholds_of(module: Any) -> Iterator[Threshold]:
    """Yield a module's, each with the text below it, or its part of the comment above."""
    text = Path(module.__file__).read_text("utf-8")
    nodes = ast.parse(text).body
    groups: list[tuple[list[str], list[str]]] = [([], [])]  # meanings and names
    for node, below in zip(nodes, [*nodes[1:], None], strict=True):
        if not isinstance(node, ast.Assign):
            groups.append(([], []))
            continue
        before = reversed(text.splitlines()[: node.lineno - 1])
        comment = [line[2:] for line in takewhile(lambda line: line.startswith("# "), before)][::-1]
        targets = [each.id for each in ast.walk(node.targets[0]) if isinstance(each, ast.Name)]
        names = [each for each in targets if _is_number(getattr(module, each))]
        match below:
            case ast.Expr(value=ast.Constant(value=str(said))) if len(targets) == 1:
                groups.append(([" ".join(said.split())], names))
            case _ if comment:
                groups.append((" ".join(comment).split("; "), names))
            case _:
                groups[-1][1].extend(names)
    for meanings, names in groups:
        if names and len(meanings) != len(names):
            told = f"{len(meanings)} meanings, {len(names)} numbers"
            raise ValueError(f"{module.__name__}: {told}: {', '.join(names)}")
        for name, meaning in zip(names, meanings, strict=False):
            yield Threshold(module, name, meaning[:1].upper() + meaning[1:].removesuffix("."))


Sound = tuple[NDArray[np.float32], int, list[Damage]]


def heard(folders: list[str]) -> list[Sound]:
    """Return excerpts with their damage, as files hold them, and undamaged sounds."""
    files = find_clips(folders)
    made: list[Sound] = []
    for number, path in enumerate(files[:: max(len(files) // EXCERPTS, 1)][:EXCERPTS]):
        rate = (44_100, 48_000)[number % 2]
        signal = read_clip(path, rate).signal.mean(axis=1)[: round(SECONDS * rate)]
        kinds = tuple(each for each in KINDS if each != "invalid")
        broken, damage = damaged(signal, rate, kinds, number)
        made.append((through(("wav", "mp3", "ogg")[number % 3], broken, rate), rate, damage))
    return made + [(undamaged(kind, 44_100), 44_100, []) for kind in list(UNDAMAGED)[::EVERY]]


def counted(all_of_them: list[Sound]) -> tuple[int, int]:
    """Return how many places of damage are found, and how many findings are false."""
    found = false = 0
    for signal, rate, damage in all_of_them:
        findings = [each for each in plc.detect(signal, sample_rate=rate) if not each.doubt]
        found += sum(place_of(each, findings, rate).found for each in damage)
        false += sum(not is_true(each, damage, rate) for each in findings)
    return found, false


def in_words(value: Any) -> str:
    """Return a value in a few digits."""
    if isinstance(value, tuple):
        return ", ".join(map(in_words, value))
    return f"{value:.0f}" if value >= 1e4 else f"{value:.4g}"


def main() -> None:
    """Print the page."""
    all_of_them = heard(sys.argv[1:])
    found, false = counted(all_of_them)
    intact = sum(not damage for _, _, damage in all_of_them)
    print(
        HEAD.format(
            places=sum(len(damage) for _, _, damage in all_of_them),
            excerpts=len(all_of_them) - intact,
            seconds=SECONDS,
            found=found,
            sounds=intact,
            false=false,
        )
    )
    rows = []
    for each in thresholds():
        changes = []
        for share in (LOWER, HIGHER):
            each.scale(share)
            try:
                now = counted(all_of_them)
                changes += [f"{now[0] - found:+d}", f"{now[1] - false:+d}"]
            except ValueError:  # a share of more than all, for example
                changes += ["", ""]
            each.scale(1.0)
        module = each.module.__name__.rpartition(".")[2]
        rows.append((module, each.name.lstrip("_"), in_words(each.value), each.meaning, *changes))
    print_rows(rows)


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """Print module, name, value, meaning and changes of each."""
    seen = [row for row in rows if set(row[4:]) != {"+0"}]
    for *named, low, low_false, high, high_false in seen:
        row = *named, low, high, low_false, high_false
        print(f"| {' | '.join(row)} |".replace("| +0", "| 0"))
    print(UNSEEN)
    unseen = [row for row in rows if row not in seen]
    for module, of_module in groupby(unseen, key=lambda row: row[0]):
        print(f"\n### {module}\n")
        print(
            textwrap.fill("; ".join(f"`{name}` {value}" for _, name, value, *_ in of_module), 100)
        )


if __name__ == "__main__":
    main()
