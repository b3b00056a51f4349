"""Scores as one table of rows, and their summary.

A score has a *place* (domain, losses, length of a gap, …), a clip, a method and a metric. A summary
has a row for each place, method and metric: the mean over the clips and its interval; with ``over``
the mean difference to that method. It is a list of flat dictionaries, so that it is JSON as it is.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from plc.errors import ConfigError
from plc_bench.base.compare import paired_difference, summarise

FORMAT = "plc bench summary, 1"
TIMES_FORMAT = "plc bench latency, 2"
OWN_DECODE = " (own decode)"
"""Follows the name of a codec that is compared with its own loss-free decode."""
_DIGITS = 6

Place = tuple[tuple[str, Any], ...]
Row = dict[str, Any]


class Score(NamedTuple):
    """One score; ``place`` has names and values in order."""

    place: Place
    clip: str
    method: str
    metric: str
    value: float


def summary(scores: Iterable[Score], first: str | None = None) -> list[Row]:
    """Return means by place, method and metric, and differences.

    Differences are those to the method ``first``.

    Scores of a clip are paired in their order; the intervals are over clips. A codec's own decode
    is the codec, with the field ``own``.
    """
    found: dict[tuple[Place, str, str], list[tuple[str, float]]] = {}
    for place, clip, method, metric, value in scores:
        own = (("own", True),) if method.endswith(OWN_DECODE) else ()
        key = (place + own, method.removesuffix(OWN_DECODE), metric)
        found.setdefault(key, []).append((clip, value))
    rows = []
    for (place, method, metric), values in found.items():
        head = {**dict(place), "method": method, "metric": metric}
        rows.append(head | _mean(values))
        reference = found.get((place, first, metric)) if first not in (None, method) else None
        if reference is not None:
            rows.append(head | {"over": first} | _mean(values, reference))
    return rows


def _mean(values: list[tuple[str, float]], over: list[tuple[str, float]] | None = None) -> Row:
    reference = dict(_numbered(over)) if over is not None else None
    pairs = [
        (key, value, reference[key] if reference is not None else 0.0)
        for key, value in _numbered(values)
        if reference is None or key in reference
    ]
    clips = [clip for (clip, _), _, _ in pairs]
    first, second = [value for _, value, _ in pairs], [value for _, _, value in pairs]
    mean = paired_difference(first, second, lower_is_better=True, groups=clips)
    spread = summarise(np.subtract(first, second).tolist())
    numbers = {"value": mean.mean, "std": spread.std, "low": mean.low, "high": mean.high}
    rounded = {name: round(number, _DIGITS) for name, number in numbers.items()}
    return rounded | {"count": mean.pairs, "clips": len(set(clips))}


def _numbered(values: list[tuple[str, float]]) -> Iterator[tuple[tuple[str, int], float]]:
    counts: dict[str, int] = {}
    for clip, value in values:
        counts[clip] = counts.get(clip, -1) + 1
        yield (clip, counts[clip]), value


def scores_of(report: Mapping[str, Any]) -> Iterator[Score]:
    """Yield the scores of a report that ``plc bench quality``, ``inpaint`` or ``published`` saved.

    Raises
    ------
    KeyError
        If it is another report.
    """
    place: Place
    for row in report.get("rows", ()):
        place = (("domain", row["domain"]), ("condition", row["condition"]))
        for metric, value in row["scores"].items():
            yield Score(place, row["clip"], row["method"], metric, _number(value))
    for gap in report.get("gaps", ()):
        place = (("gap_ms", report["settings"]["gap_ms"]),)
        for metric in ("snr_ms_db", "snr_db"):
            for method, value in gap[metric].items():
                yield Score(place, gap["clip"], method, metric, _number(value))
    for one in report.get("scores", ()):
        for method, value in one["snr_db"].items():
            place = (("gap_ms", one["gap_ms"]),)
            yield Score(place, one["clip"], method, "snr_db", _number(value))


def times_of(report: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the times in a report that ``plc bench latency`` saved, a row for each statistic.

    Raises
    ------
    KeyError
        If it is another report.
    """
    for run in report["rows"]:
        place = {"mode": run["mode"], "method": run["settings"]["method"]}
        for time, statistics in run["times"].items():
            for metric, value in statistics.items():
                yield {**place, "time": time, "metric": metric, "value": value}


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a kept summary or a saved report.

    Raises
    ------
    ConfigError
        If the file cannot be read, or holds neither.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        form = kept.get("format") if isinstance(kept, dict) else None
        if form == FORMAT:
            return [dict(row) for row in kept["rows"]]
        if form == TIMES_FORMAT:
            return list(times_of(kept))
        reports = kept if isinstance(kept, list) else [kept]
        rows = [row for each in reports for row in _summary_of(each)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"cannot read figures from {path}: {error!r}") from error
    if not rows:
        raise ConfigError(f"{path} holds no scores; give a file that plc bench --save wrote")
    return rows


def _summary_of(report: Mapping[str, Any]) -> list[Row]:
    methods = report.get("settings", report)["methods"]
    return summary(scores_of(report), methods[0])


def _number(value: float | None) -> float:
    """Return a score; JSON has null in place of NaN."""
    return float("nan") if value is None else float(value)
