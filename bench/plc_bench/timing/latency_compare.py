"""Statistical comparison of two measurements of latency: ``plc bench latency --compare``.

Processes differ more than packets: in the places of their memory, in the calibration's result, in
the machine's other work. Packets of one process share these, and a test that took packets for
independent would call almost any two measurements different. So a run (a process) is one value,
its percentile, and the means of the logarithms of two sets of runs are compared by Welch's
t-interval [1]_ [2]_. It needs two runs on either side, and five give intervals of use.

References
----------
.. [1] A. Georges, D. Buytaert, L. Eeckhout, "Statistically rigorous Java performance evaluation",
   OOPSLA 2007, doi 10.1145/1297027.1297033: sections 3.2 and 3.3.
.. [2] B. L. Welch, "The generalization of 'Student's' problem when several different population
   variances are involved", Biometrika 34, 1947.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plc.engine.stream.stats import TimeHistogram
from plc.errors import ConfigError
from plc_bench.base.compare import statistics
from plc_bench.base.rows import TIMES_FORMAT
from plc_bench.base.tables import Cell, Table
from plc_bench.timing.latency import KINDS, LatencyReport, LatencyRow

CONFIDENCE = 0.95
SHARES = {"p50": 0.5, "p99": 0.99}
# Fewer durations of a run beyond a percentile say nothing about it.
_LEAST_BEYOND = 5
# Settings that two rows must share to be compared.
_SAME = ("sample_rate", "packet_ms", "channels", "method", "loss", "mean_burst", "load")
_COMPARED = ("good", "concealed", "answer")


def compare(name: str, old: Mapping[str, Any], report: LatencyReport) -> list[Table | str]:
    """Return how ``report`` differs from an earlier one: a table for each row, and notes.

    Parameters
    ----------
    old : mapping, from :func:`read_report`

    Raises
    ------
    MissingExtraError
        If SciPy is not installed.
    """
    by_key = {_key(row["settings"], row["mode"]): row for row in old["rows"]}
    tables, notes = [], _differences(old["machine"], report.machine)
    for row in report.rows:
        settings = {setting: getattr(row.settings, setting) for setting in _SAME}
        before = by_key.get(_key(settings, row.mode))
        if before is None:
            notes.append(f"not in {name}: {row.mode}, {row.settings.name}")
        else:
            tables.append(_changes(name, row, before["histograms"]))
    return [*(table for table in tables if table.rows), *notes]


def read_report(path: Path) -> dict[str, Any]:
    """Return a report as it was written, with histograms as such.

    Raises
    ------
    ConfigError
        If the file is not a report.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["format"] != TIMES_FORMAT:
            raise ValueError(f"format is {report['format']!r}")
        for row in report["rows"]:
            row["histograms"] = {
                kind: [TimeHistogram.from_dict(one) for one in histograms]
                for kind, histograms in row["histograms"].items()
            }
            _key(row["settings"], row["mode"])
        dict(report["machine"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not what plc bench latency --save writes ({error!r})"
        ) from error
    return dict(report)


def ratio_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Return the ratio of geometric means with its 95 % Welch interval.

    Parameters
    ----------
    before, after : sequence of float
        One value for each run, above 0.
    """
    x, y = np.log(np.asarray(before, float)), np.log(np.asarray(after, float))
    ratio = math.exp(float(y.mean() - x.mean()))
    if min(x.size, y.size) < 2:
        return ratio, 0.0, math.inf
    if np.ptp(x) == np.ptp(y) == 0.0:  # no spread, no interval
        return (ratio,) * 3
    with warnings.catch_warnings():
        # Runs of one side may agree to a bin; SciPy warns of values so close to each other.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = statistics().ttest_ind(y, x, equal_var=False).confidence_interval(CONFIDENCE)
    return ratio, math.exp(interval.low), math.exp(interval.high)


def _changes(name: str, row: LatencyRow, before: Mapping[str, Sequence[TimeHistogram]]) -> Table:
    """Return the percentiles of a row over those before, the significant changes in bold."""
    table = Table(
        f"against {name}, {row.mode}: {row.settings.name}",
        ("", "", "before ms", "after ms", "ratio", "95 %", ""),
        note="ratio: this over that, with Welch's 95 % interval over runs",
        left=tuple(range(7)),
    )
    for kind in _COMPARED:
        old, new = before.get(kind, []), row.histograms.get(kind, [])
        for percentile, share in SHARES.items():
            beyond = min((one.total * (1 - share) for one in (*old, *new)), default=0)
            if old and new and beyond >= _LEAST_BEYOND:
                was_ms, is_ms = ([one.percentile_ms(100 * share) for one in x] for x in (old, new))
                ratio, low, high = ratio_interval(was_ms, is_ms)
                means = (f"{_geometric_mean(each):.4f}" for each in (was_ms, is_ms))
                interval = f"{low:.2f} to {high:.2f}" if math.isfinite(high) else "-"
                said = _verdict(ratio, low, high)
                table.add(KINDS[kind], percentile, *means, f"{ratio:.2f}", interval, said)
    return table


def _verdict(ratio: float, low: float, high: float) -> Cell:
    if not math.isfinite(high):
        return Cell("one run says nothing about the next")
    if low <= 1.0 <= high:
        return Cell("no significant difference")
    return Cell("faster" if ratio < 1.0 else "slower", style="bold")


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.log(values).mean()))


def _key(settings: Mapping[str, Any], mode: str) -> tuple[Any, ...]:
    return (mode, *(settings[name] for name in _SAME))


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"the {name} was {before.get(name, 'unknown')}, is {value}"
        for name, value in after.items()
        if before.get(name) != value
    ]
