"""Ratings by listeners: the files of the report's blind test, read and summarised.

The test is MUSHRA-style: every version of a clip, a hidden reference and an anchor among them,
gets 0 to 100. As in ITU-R BS.1534-3, section 4.1.2, a listener who gave the hidden reference less
than 90 in more than 15 % of the trials is left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plc.errors import ConfigError
from plc.notice import counted
from plc_bench.base.compare import INTERVAL_GROUPS_MIN, mean_interval
from plc_bench.base.tables import Cell, Table
from plc_bench.quality.excerpts import LOSSY, REFERENCE
from plc_bench.quality.study import Study

FORMAT = "plc-ratings-1"
# BS.1534-3, section 4.1.2.
_REFERENCE_LEAST = 90.0
_REFERENCE_MISSES_MAX = 0.15
_BYTES_MAX = 4_000_000


@dataclass(frozen=True, slots=True)
class Rated:
    """One clip that a listener rated: 0 to 100 by version."""

    listener: str
    clip: str
    condition: str
    ratings: dict[str, float]


def read_ratings(paths: Sequence[Path], study: Study) -> list[Rated]:
    """Read files of the blind test.

    A trial in two files counts once: one file may have been saved before a break.

    Parameters
    ----------
    study : Study
        The rated study; ratings of another study or of other methods are refused.

    Raises
    ------
    ConfigError
        If a file cannot be read, has another format, or rates unknown clips or methods.
    """
    known = {*study.methods, REFERENCE, LOSSY}
    result: list[Rated] = []
    counted: set[str] = set()
    for path in paths:
        trials = _trials(path, study)
        texts = [json.dumps(trial, sort_keys=True) for trial in trials]
        for trial, text in zip(trials, texts, strict=True):
            if text in counted:
                continue
            try:
                result.append(_rated(trial, known))
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{path}: a trial is not as the blind test writes it ({error})"
                ) from error
        counted.update(texts)
    return result


def excluded_listeners(rated: Sequence[Rated]) -> list[str]:
    """Return listeners that failed to find the hidden reference."""
    excluded = []
    for listener in sorted({one.listener for one in rated}):
        given = [
            one.ratings[REFERENCE]
            for one in rated
            if one.listener == listener and REFERENCE in one.ratings
        ]
        misses = sum(value < _REFERENCE_LEAST for value in given)
        if given and misses > _REFERENCE_MISSES_MAX * len(given):
            excluded.append(listener)
    return excluded


def ratings_table(rated: Sequence[Rated]) -> Table:
    """Return the mean rating of each version."""
    excluded = excluded_listeners(rated)
    kept = [one for one in rated if one.listener not in excluded]
    listeners = len({one.listener for one in kept})
    left_out = f"; left out for missing the reference: {', '.join(excluded)}" if excluded else ""
    table = Table(
        "Rated blind, 0 to 100",
        ["version", "mean", "95 % interval", "ratings"],
        note=f"{counted(listeners, 'listener')}{left_out}. Intervals are a bootstrap over "
        "listeners, or over clips where there is one listener; of fewer than "
        f"{INTERVAL_GROUPS_MIN} there is none.",
    )
    for name in dict.fromkeys(name for one in kept for name in one.ratings):
        own = [one for one in kept if name in one.ratings]
        values = [one.ratings[name] for one in own]
        groups = [one.listener if listeners > 1 else one.clip for one in own]
        mean = mean_interval(values, groups)
        label = {REFERENCE: "hidden reference", LOSSY: "anchor (not concealed)"}.get(name, name)
        shown = Cell(f"{mean.mean:.1f}", mean.mean)
        table.add(label, shown, mean.interval(".1f"), len(values))
    table.rows.sort(key=lambda row: -row[1].value)
    return table


def _trials(path: Path, study: Study) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise ConfigError(f"{path} is larger than {_BYTES_MAX / 1e6:g} MB: no ratings")
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a file of the blind test (format {FORMAT})")
    trials, listener = said.get("trials"), said.get("listener")
    if not isinstance(trials, list) or not isinstance(listener, str):
        raise ConfigError(f"{path} has no trials or no listener")
    if not all(isinstance(trial, dict) for trial in trials):
        raise ConfigError(f"{path}: a trial is not as the blind test writes it")
    if "study" not in said:
        raise ConfigError(
            f"{path} does not say of which study it is; if it is of {study.folder}, add "
            f'"study": "{study.identity}" to it'
        )
    if said["study"] != study.identity:
        raise ConfigError(f"{path} is of another study than that in {study.folder}")
    return [{**trial, "listener": listener, "began": said.get("began")} for trial in trials]


def _rated(trial: dict[str, Any], known: set[str]) -> Rated:
    values = {name: float(value) for name, value in trial["ratings"].items()}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{', '.join(unknown)} is not in the study")
    if not all(0.0 <= value <= 100.0 for value in values.values()):
        raise ValueError("a rating is not from 0 to 100")
    return Rated(trial["listener"], str(trial["clip"]), str(trial["condition"]), values)
