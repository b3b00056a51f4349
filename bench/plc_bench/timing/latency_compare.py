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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plc.engine.stats import TimeHistogram
from plc.errors import ConfigError, MissingExtraError
from plc.extras import install_command
from plc_bench.base.rows import TIMES_FORMAT
from plc_bench.base.tables import Cell, Table
from plc_bench.timing.latency import KINDS, LatencyReport, LatencyRow

CONFIDENCE = 0.95
SHARES = {"p50": 0.5, "p99": 0.99}
# Fewer durations of a run beyond a percentile say nothing about it.
_LEAST_BEYOND = 5
# Settings that two rows must share to be compared.
_SAME = (
    *("sample_rate", "packet_ms", "channels", "method", "lookahead", "budget_ms"),
    *("loss", "mean_burst", "load"),
)
_COMPARED = ("good", "concealed", "answer")


@dataclass(frozen=True, slots=True)
class Change:
    """One percentile of one kind of call, after over before.

    Attributes
    ----------
    row, kind, percentile : str, identity of the percentile
    before_ms, after_ms : float
        Geometric means over the runs.
    ratio, low, high : float
        After over before with its 95 % interval; infinite ends where a side has one run.
    significant : bool, whether 1 lies outside
    """

    row: str
    kind: str
    percentile: str
    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """True if 1 lies outside the interval."""
        return not self.low <= 1.0 <= self.high

    @property
    def statement(self) -> str:
        """Verdict of the interval."""
        if not math.isfinite(self.high):
            return "one run says nothing about the next"
        if not self.significant:
            return "no significant difference"
        return "faster" if self.ratio < 1.0 else "slower"


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """All changes, and notes on rows and machines."""

    before: str
    changes: list[Change]
    notes: list[str]


def compare(name: str, old: Mapping[str, Any], report: LatencyReport) -> LatencyComparison:
    """Return how ``report`` differs from an earlier one.

    Parameters
    ----------
    name : str, of the earlier one
    old : mapping, from :func:`read_report`
    report : LatencyReport, the new measurement

    Raises
    ------
    MissingExtraError
        If SciPy is not installed.
    """
    by_key = {_key(row["settings"], row["mode"]): row for row in old["rows"]}
    changes, notes = [], _differences(old["machine"], report.machine)
    for row in report.rows:
        settings = {name: getattr(row.settings, name) for name in _SAME}
        before = by_key.get(_key(settings, row.mode))
        if before is None:
            notes.append(f"not in {name}: {row.mode}, {row.settings.name}")
        else:
            changes += _row_changes(row, before)
    return LatencyComparison(name, changes, notes)


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
    try:
        from scipy.stats import ttest_ind
    except ImportError as error:
        raise MissingExtraError(f"--compare needs SciPy: {install_command('bench')}") from error
    x, y = np.log(np.asarray(before, float)), np.log(np.asarray(after, float))
    ratio = math.exp(float(y.mean() - x.mean()))
    if min(x.size, y.size) < 2:
        return ratio, 0.0, math.inf
    if np.ptp(x) == np.ptp(y) == 0.0:  # no spread, no interval
        return (ratio,) * 3
    with warnings.catch_warnings():
        # Runs of one side may agree to a bin; SciPy warns of values so close to each other.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = ttest_ind(y, x, equal_var=False).confidence_interval(CONFIDENCE)
    return ratio, math.exp(interval.low), math.exp(interval.high)


def comparison_tables(comparison: LatencyComparison) -> list[Table]:
    """Return the changes of each row, the significant ones in bold."""
    tables = []
    for row in dict.fromkeys(one.row for one in comparison.changes):
        table = Table(
            f"against {comparison.before}, {row}",
            ("", "", "before ms", "after ms", "ratio", "95 %", ""),
            note="ratio: this over that, with Welch's 95 % interval over runs",
            left=tuple(range(7)),
        )
        for one in comparison.changes:
            if one.row == row:
                table.add(KINDS[one.kind], one.percentile, *_cells(one))
        tables.append(table)
    return tables


def _cells(change: Change) -> list[Cell | str]:
    known = math.isfinite(change.high)
    interval = f"{change.low:.2f} to {change.high:.2f}" if known else "-"
    said = Cell(change.statement, style="bold" if change.significant else "")
    times = (f"{change.before_ms:.4f}", f"{change.after_ms:.4f}", f"{change.ratio:.2f}")
    return [*times, interval, said]


def _row_changes(row: LatencyRow, before: Mapping[str, Any]) -> list[Change]:
    name = f"{row.mode}: {row.settings.name}"
    changes = []
    for kind in _COMPARED:
        old, new = before["histograms"].get(kind, []), row.histograms.get(kind, [])
        for percentile, share in SHARES.items():
            beyond = min((one.total * (1 - share) for one in (*old, *new)), default=0)
            if old and new and beyond >= _LEAST_BEYOND:
                was_ms = [one.percentile_ms(100 * share) for one in old]
                is_ms = [one.percentile_ms(100 * share) for one in new]
                ratio, low, high = ratio_interval(was_ms, is_ms)
                means = _geometric_mean(was_ms), _geometric_mean(is_ms)
                changes.append(Change(name, kind, percentile, *means, ratio, low, high))
    return changes


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
