"""Tables of a study: means, and paired differences to the first method.

A difference is a method's score minus the first method's, on the same clip under the same
condition. Its interval is a bootstrap over clips (:mod:`plc_bench.base.compare`), because scores of
one clip under several conditions are alike. A mean leaves out missing and undefined scores and
gives their number. A codec compared with its own decode has means but no differences, as the first
method is compared with the original.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from plc.notice import counted
from plc_bench.base.compare import (
    INTERVAL_GROUPS_MIN,
    PairedDifference,
    mean_interval,
    paired_difference,
    summarise,
)
from plc_bench.base.rows import FORMAT, OWN_DECODE, Score, summary
from plc_bench.base.tables import Cell, Table, write_csv, write_json, write_text
from plc_bench.peers import comparable
from plc_bench.quality.conditions import Condition
from plc_bench.quality.study import GAP_METRICS, Row, Study
from plc_bench.scores import registry

# Metrics of a study that is not kept.
SHORT_METRICS = ("nmse", "lsd")
# Upper ends of the classes of gaps, in ms; each holds those down to the one before.
GAP_EDGES_MS = (5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, math.inf)
# Columns of a stream in scores.csv.
_STREAM = (
    *("packet_ms", "packet_samples", "sample_rate", "channels", "packets", "lost", "bursts"),
)
# Shown for a score that is not meaningful for a method.
_NOT_COMPARABLE = "-"


@dataclass(frozen=True, slots=True)
class Point:
    """Mean and 95 % interval over gaps of one length class."""

    gap_ms: float
    mean: float
    low: float
    high: float
    gaps: int


def condition_tables(study: Study, metrics: Sequence[str], clips_min: int = 1) -> list[Table]:
    """Return means and, from ``clips_min`` on, differences of each condition, and mean ranks."""
    tables = []
    for condition in study.conditions:
        rows = [row for row in study.rows if row.condition == condition.name]
        tables.append(_means(study, rows, metrics, condition))
        if len(study.methods) > 1 and len({row.clip for row in rows}) >= clips_min:
            tables.append(_differences(study, rows, metrics, condition))
    return tables + ranks(study)


def summary_tables(study: Study) -> list[Table]:
    """Return all tables of a study, simplest first."""
    if not study.methods:
        return []
    plain = [name for name in study.settings["metrics"] if "_" not in name]
    tables = [*condition_tables(study, plain), _by_domain(study, plain)]
    tables += [_by_burst(study, name) for name in plain]
    tables += [_by_gap(study, name) for name in GAP_METRICS]
    return _own_bold(study, tables)


def _own_bold(study: Study, tables: list[Table]) -> list[Table]:
    return [replace(table, own=study.methods[0]) for table in tables if table.rows]


def gap_curve(study: Study, method: str, metric: str) -> list[Point]:
    """Return a method's score by length class of the gap."""
    if not comparable(method, metric):
        return []
    rows = [row for row in study.rows if row.method == method]
    points = []
    for low_ms, high_ms in _gap_classes():
        values, clips, lengths, gaps = [], [], [], 0
        for row in rows:
            inside = [gap for gap in row.gaps if low_ms < gap.packets * row.packet_ms <= high_ms]
            defined = [gap for gap in inside if math.isfinite(gap.scores[metric])]
            count = sum(gap.count for gap in defined)
            if count:
                values.append(sum(gap.count * gap.scores[metric] for gap in defined) / count)
                lengths.append(
                    sum(gap.count * gap.packets for gap in defined) / count * row.packet_ms
                )
                clips.append(row.clip)
                gaps += count
        if values:
            mean = mean_interval(values, clips)
            points.append(Point(float(np.mean(lengths)), mean.mean, mean.low, mean.high, gaps))
    return points


def markdown(study: Study) -> str:
    """Return the tables and the failures of a study as Markdown."""
    settings = study.settings
    parts = [
        "# Concealment compared\n",
        f"{sizes(study)}; plc {settings['plc']}, seed {settings['seed']}. "
        "Every method met the same losses.\n",
    ]
    parts += [f"{line}\n" for line in remarks(study)]
    parts += [table.markdown() for table in summary_tables(study)]
    if study.missing:
        parts.append(f"## Failed: {len(study.missing)}\n")
        parts += [
            f"- {one.clip}, {one.condition}, {one.method}: {one.reason}" for one in study.missing
        ]
    return "\n".join(parts) + "\n"


def sizes(study: Study) -> str:
    """Return the numbers of clips, conditions and methods in words."""
    counts = {
        "clip": len({row.clip for row in study.rows}),
        "condition": len(study.conditions),
        "method": len(study.methods),
    }
    return ", ".join(counted(count, noun) for noun, count in counts.items())


def remarks(study: Study) -> list[str]:
    """Return a line for each peer that returned its input unchanged."""
    lines = []
    for method in study.methods:
        own = [row for row in study.rows if row.method == method]
        if same := {row.clip for row in own if row.unchanged}:
            share = f"{len(same)} of {_clips(own)}"
            lines.append(f"Peer {method} returned its input unchanged in {share}.")
    return lines


def printed_tables(study: Study) -> list[Table]:
    """Return the tables to print: of each condition; differences from two clips on."""
    metrics = study.settings["metrics"]
    plain = [name for name in metrics if study.folder is None or "_" not in name]
    return _own_bold(study, condition_tables(study, plain or metrics, clips_min=2))


def write_tables(study: Study, folder: Path) -> str:
    """Write CSV, Markdown and JSON; return a line to print.

    Raises
    ------
    ConfigError
        If one cannot be written.
    """
    write_csv(folder / "scores.csv", score_rows(study))
    write_csv(folder / "gaps.csv", gap_rows(study))
    write_csv(folder / "failures.csv", [asdict(one) for one in study.missing])
    write_text(folder / "summary.md", markdown(study))
    write_json(folder / "summary.json", kept_summary(study))
    return f"tables: {folder / 'summary.md'}, summary.json, scores.csv, gaps.csv, failures.csv"


def score_rows(study: Study) -> list[dict[str, Any]]:
    """Return one row for each clip, condition and method."""
    conditions = {condition.name: condition for condition in study.conditions}
    rows = []
    for row in study.rows:
        condition = conditions[row.condition]
        losses = {name: getattr(condition, name) for name in ("loss", "mean_burst")}
        stream = {name: getattr(row, name) for name in _STREAM}
        whole = _of(row) | losses | {"trace": condition.trace or ""} | stream
        own = {"method": row.method, "unchanged": row.unchanged}
        rows.append(whole | own | row.scores)
    return rows


def gap_rows(study: Study) -> list[dict[str, Any]]:
    """Return one row for each clip, condition, method and length of gap."""
    rows = []
    for row in study.rows:
        for gap in row.gaps:
            length = {"gap_packets": gap.packets, "gap_ms": gap.packets * row.packet_ms}
            which = _of(row) | {"method": row.method} | length
            rows.append(which | {"gaps": gap.count} | gap.scores)
    return rows


def _of(row: Row) -> dict[str, Any]:
    return {"clip": row.clip, "domain": row.domain, "condition": row.condition}


def kept_summary(study: Study) -> dict[str, Any]:
    """Return the means of all clips, for ``plc bench tables`` and other programs."""
    scores = [
        Score(
            (("domain", row.domain), ("condition", row.condition)),
            row.clip,
            row.method,
            metric,
            value,
        )
        for row in study.rows
        for metric, value in row.scores.items()
        if comparable(row.method, metric)
    ]
    kept = ("plc", "seed", "sample_rate", "budget_ms", "models")
    settings = {name: study.settings[name] for name in kept}
    return {"format": FORMAT, **settings, "rows": summary(scores, next(iter(study.methods), None))}


def _means(
    study: Study, rows: Sequence[Row], metrics: Sequence[str], condition: Condition
) -> Table:
    table = Table(
        f"Means: {condition.title}",
        ["method", *[registry.label(name) for name in metrics]],
        note=f"{_clips(rows)}, {_lost_percent(rows)} of packets lost.",
    )
    for method in study.methods:
        own = [row for row in rows if row.method == method]
        if own:
            table.add(method, *[_mean(own, name, rows) for name in metrics])
    return table


def ranks(study: Study) -> list[Table]:
    """Return the table of mean ranks over clips, conditions and judges, if there is a choice."""
    methods = [name for name in study.methods if not name.endswith(OWN_DECODE)]
    known = {name: registry.metric(name) for name in study.settings["metrics"]}
    judges = [name for name, one in known.items() if one.of_speech and not one.taught]
    found: list[list[float]] = []
    by_stream: dict[tuple[str, str], dict[str, Row]] = {}
    for row in study.rows:
        by_stream.setdefault((row.clip, row.condition), {})[row.method] = row
    for rows in by_stream.values():
        for name in judges if rows.keys() >= set(methods) else ():
            sign = 1.0 if known[name].lower_is_better else -1.0
            scores = np.array([sign * rows[method].scores[name] for method in methods])
            if np.isfinite(scores).all() and all(comparable(one, name) for one in methods):
                better = (scores < scores[:, None]).sum(axis=1)
                found.append((better + (scores <= scores[:, None]).sum(axis=1) + 1) / 2)
    if len(methods) < 2 or not found:
        return []
    table = Table("Mean rank by judges that taught no network", ["method", "rank"])
    table.note = f"By {', '.join(map(registry.label, judges))}."
    for method, rank in zip(methods, np.mean(found, axis=0), strict=True):
        table.add(method, f"{rank:.2f}")
    return [table]


def _clips(rows: Sequence[Row]) -> str:
    return counted(len({row.clip for row in rows}), "clip")


def _lost_percent(rows: Sequence[Row]) -> str:
    """Return the share of packets lost, each clip counted once."""
    own = {row.clip: row for row in rows}.values()
    lost, packets = sum(row.lost for row in own), sum(row.packets for row in own)
    return f"{100 * lost / max(packets, 1):.1f} %"


def _differences(
    study: Study, rows: Sequence[Row], metrics: Sequence[str], condition: Condition
) -> Table:
    first = study.methods[0]
    table = Table(
        f"Difference to {first}: {condition.title}",
        ["method", *[registry.label(name) for name in metrics]],
        note=f"Method minus {first} on the same losses: mean, 95 % interval, share of clips on "
        f"which the method is better; intervals from {INTERVAL_GROUPS_MIN} clips on."
        f"{_left_out(study)}",
    )
    for method in [name for name in study.methods[1:] if not name.endswith(OWN_DECODE)]:
        cells = [_difference_cell(rows, method, first, name) for name in metrics]
        if any(cell.text for cell in cells):
            table.add(method, *cells)
    return table


def _by_domain(study: Study, metrics: Sequence[str]) -> Table:
    shown = [name for name in metrics if registry.metric(name).lower_is_better is not None][:4]
    heads = [*_heads(study, shown, "{} to {}")]
    table = Table("By domain", ["domain", "method", "clips", *heads], note=_of_all(study))
    for domain in sorted({row.domain for row in study.rows}):
        inside = [row for row in study.rows if row.domain == domain]
        for method in study.methods:
            clips = len({row.clip for row in inside if row.method == method})
            if clips:
                table.add(domain, method, clips, *_scored(study, inside, method, shown))
    return table


def _by_burst(study: Study, metric: str) -> Table:
    names = [f"{metric}_{one}" for one in registry.BURST_CLASSES]
    names = [name for name in names if name in study.settings["metrics"]]
    heads = [*_heads(study, names, "difference to {1}")]
    table = Table(f"By burst: {registry.label(metric)}", ["method", *heads], note=_of_all(study))
    for method in study.methods if names else ():
        table.add(method, *_scored(study, study.rows, method, names))
    return table


def _heads(study: Study, metrics: Sequence[str], difference: str) -> Iterator[str]:
    for name in metrics:
        label = registry.label(name)
        yield from (label, difference.format(label, study.methods[0]))


def _scored(study: Study, rows: Sequence[Row], method: str, metrics: Sequence[str]) -> list[Cell]:
    """Return each metric's mean of a method, and its difference, without share, to the first."""
    first = study.methods[0]
    own = [row for row in rows if row.method == method]
    alone = method == first or method.endswith(OWN_DECODE)
    cells = []
    for name in metrics:
        over = Cell("") if alone else _difference_cell(rows, method, first, name, with_share=False)
        cells += [_mean(own, name, rows), over]
    return cells


def _of_all(study: Study) -> str:
    return f"All conditions together.{_left_out(study)}"


def _by_gap(study: Study, metric: str) -> Table:
    classes = [
        (low_ms, high_ms)
        for low_ms, high_ms in _gap_classes()
        if any(
            low_ms < gap.packets * row.packet_ms <= high_ms
            for row in study.rows
            for gap in row.gaps
        )
    ]
    table = Table(
        f"By length of the gap: {registry.label(metric)}",
        ["method", *[_gap_heading(low_ms, high_ms) for low_ms, high_ms in classes]],
        note="All conditions together; mean over clips, number of gaps in brackets.",
    )
    for method in study.methods:
        points = gap_curve(study, method, metric)
        cells = []
        for low_ms, high_ms in classes:
            inside = [point for point in points if low_ms < point.gap_ms <= high_ms]
            digits = registry.metric(metric).digits
            cells += [
                Cell(f"{point.mean:.{digits}f} ({point.gaps})", point.mean) for point in inside
            ] or [Cell("" if comparable(method, metric) else _NOT_COMPARABLE)]
        table.add(method, *cells)
    return table


def _gap_classes() -> list[tuple[float, float]]:
    # A packet of 10 ms may have been rounded to a sample more.
    edges = [0.0, *[edge * 1.005 for edge in GAP_EDGES_MS]]
    return list(pairwise(edges))


def _gap_heading(low_ms: float, high_ms: float) -> str:
    if math.isinf(high_ms):
        return f"over {low_ms / 1.005:g} ms"
    return f"to {high_ms / 1.005:g} ms"


def _mean(own: Sequence[Row], metric: str, every: Sequence[Row]) -> Cell:
    """Return the mean of a method's rows, with counts of missing ones."""
    if own and not comparable(own[0].method, metric):
        return Cell(_NOT_COMPARABLE)
    summary = summarise([row.scores[metric] for row in own])
    if not summary.count:
        return Cell("")
    missing = len({(row.clip, row.condition) for row in every}) - len(own)
    counts = {"missing": missing, "undefined": summary.left_out}
    left_out = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    text = f"{summary.mean:.{registry.metric(metric).digits}f}"
    return Cell(f"{text} ({left_out})" if left_out else text, summary.mean)


def _difference(rows: Iterable[Row], method: str, first: str, metric: str) -> PairedDifference:
    """Return the difference of two methods where both have scores."""
    by_method: dict[str, dict[tuple[str, str], float]] = {method: {}, first: {}}
    for row in rows:
        if row.method in by_method:
            by_method[row.method][row.clip, row.condition] = row.scores[metric]
    keys = [key for key in by_method[method] if key in by_method[first]]
    return paired_difference(
        [by_method[method][key] for key in keys],
        [by_method[first][key] for key in keys],
        lower_is_better=registry.metric(metric).lower_is_better is not False,
        groups=[clip for clip, _ in keys],
    )


def _difference_cell(
    rows: Sequence[Row], method: str, first: str, metric: str, *, with_share: bool = True
) -> Cell:
    if not (comparable(method, metric) and comparable(first, metric)):
        return Cell(_NOT_COMPARABLE)
    difference = _difference(rows, method, first, metric)
    if not difference.pairs:
        return Cell("")
    one = registry.metric(metric)
    mean, low, high = (
        f"{value:+.{one.digits}f}" for value in (difference.mean, difference.low, difference.high)
    )
    interval = "" if math.isnan(difference.low) else f" [{low}, {high}]"
    share = ""
    if with_share and one.lower_is_better is not None:
        share = f", {100 * difference.share_better:.0f} %"
    return Cell(f"{mean}{interval}{share}", difference.mean)


def _left_out(study: Study) -> str:
    if not any(name.endswith(OWN_DECODE) for name in study.methods):
        return ""
    name = OWN_DECODE.strip()
    return f" Rows {name} have no difference: they are scored against another reference."
