"""Tables and sentences of ``plc bench latency``."""

import math
from collections import Counter
from collections.abc import Mapping

from plc_bench.base.tables import Table
from plc_bench.timing.latency import BACK_TO_BACK, KINDS, LatencyReport, LatencyRow
from plc_bench.timing.measure import Disturbances, Times

_PERCENTILES = ("p50", "p95", "p99", "p99.9", "max")
# Of a histogram: kinds of times, lines of a decade, characters of the longest bar.
_COUNTED = ("good", "concealed")
_LINES, _BAR = 5, 16


def latency_tables(report: LatencyReport) -> list[Table | str]:
    """Return full tables of one combination, or rows of many."""
    machine = f"on {report.machine['cpu']}, {report.machine['cores']} cores"
    if len({row.settings for row in report.rows}) > 1:
        return [_overview(report), machine]
    shown: list[Table | str] = []
    for row in report.rows:
        shown += [_full_table(row, report.runs), histogram_table(row), *latency_lines(row)]
    return [*shown, machine]


def histogram_table(row: LatencyRow) -> Table:
    """Return how many pushes took how many µs, a line for each fifth of a decade."""
    counts = {kind: Counter[int]() for kind in _COUNTED if kind in row.histograms}
    first_us = 0.0
    for kind, lines in counts.items():
        for told in (each.as_dict() for each in row.histograms[kind]):
            first_us = 1000 * told["first_ms"]
            for place, count in told["counts"].items():
                lines[place * _LINES // told["buckets_per_decade"]] += count
    headings = [heading for kind in counts for heading in (KINDS[kind], "")]
    table = Table(f"{row.mode}: pushes by their time", ("from µs", *headings), left=(2, 4))
    every = set().union(*counts.values())
    for line in range(min(every), max(every) + 1):
        cells = [
            cell
            for lines in counts.values()
            for cell in (lines[line], "█" * -(-_BAR * lines[line] // max(lines.values())))
        ]
        table.add(f"{float(f'{first_us * 10 ** (line / _LINES):.3g}'):g}", *cells)
    return table


def latency_lines(row: LatencyRow) -> list[str]:
    """Return the facts beside the table, a sentence each."""
    late = f"; late answers of the network: {row.network_late}" if row.network_late else ""
    lines = [misses_text(row) + late]
    if row.mode == BACK_TO_BACK:
        lines += [
            f"{row.faster_than_real_time:.0f} times faster than real time "
            f"({row.cpu_share:.2f} cores); construction {row.construction_ms:.0f} ms, first push "
            f"{row.first_push_ms:.3f} ms"
        ]
    told = (rungs_text(row.rungs), prepared_text(row.prepared), row.peer)
    return [*lines, *filter(None, told), disturbances_text(row.disturbances, row.pushes)]


def missed(mode: str) -> str:
    """Return the words for a missed deadline in a mode."""
    return "took longer than they last" if mode == BACK_TO_BACK else "came a packet or more late"


def misses_text(row: LatencyRow) -> str:
    """Return the sentence on missed deadlines."""
    return (
        f"{row.deadline_misses} of {row.pushes} packets {missed(row.mode)}: "
        f"{row.misses_per_million:.0f} per million, below {row.misses_per_million_below:.0f} with "
        f"95 % confidence; the null loop alone: {row.null_misses}"
    )


def rungs_text(rungs: Mapping[str, int]) -> str:
    """Return the shares of the rungs in the concealed samples, the largest first."""
    made = sorted(rungs.items(), key=lambda each: -each[1])
    total = sum(rungs.values())
    return "made by " + ", ".join(f"{name} {n / total:.0%}" for name, n in made) if total else ""


def prepared_text(counts: Mapping[str, int]) -> str:
    """Return the sentence on concealments prepared before the loss; empty without any."""
    if not counts["preparations"]:
        return ""
    prepared, *others = (
        counts[f"concealed_{name}"] for name in ("prepared", "stale", "unprepared")
    )
    text = f"{prepared} of {prepared + sum(others)} concealments prepared"
    for kind, words in {"stale_": "stale", "unprepared_": "not asked for"}.items():
        reasons = [
            f"{count} {name.removeprefix(kind)}"
            for name, count in counts.items()
            if count and name.startswith(kind)
        ]
        text += f"; {words}: {', '.join(reasons)}" if reasons else ""
    return text


def disturbances_text(seen: Disturbances, pushes: int) -> str:
    """Return the sentence on disturbances."""
    parts = [
        f"{sum(seen.collections)} garbage collections"
        + (f" (longest {seen.longest_collection_ms:.2f} ms)" if any(seen.collections) else ""),
        f"{seen.new_blocks:+d} Python blocks",
        _count(seen.kernel_allocations, pushes, "kernel allocations"),
        _count(seen.page_faults, pushes, "page faults"),
        _count(seen.preempted, pushes, "preemptions"),
    ]
    return "meanwhile: " + ", ".join(part for part in parts if part)


def _count(count: int | None, pushes: int, name: str) -> str:
    return "" if count is None else f"{count} {name} ({count / pushes:.3g} a packet)"


def _full_table(row: LatencyRow, runs: int) -> Table:
    settings = row.settings
    load = f", load {settings.load}" if settings.load else ""
    times = f"{runs} run{'s' * (runs > 1)} of {settings.seconds:g} s"
    title = f"{row.mode}: {settings.name}, {times}{load}"
    table = Table(title, ("ms", "calls", *_PERCENTILES))
    for kind, taken in row.times.items():
        table.add(KINDS[kind], taken.count, *_cells(taken))
    return table


def _overview(report: LatencyReport) -> Table:
    table = Table(
        f"push of lost packets, ms; {report.runs} run{'s' * (report.runs > 1)} of "
        f"{report.rows[0].settings.seconds:g} s",
        ("stream", "mode", *_PERCENTILES, "received p99", "audio", "machine", "misses"),
        note="audio: p99 from a lost packet's turn to its samples; machine: the null loop's "
        "p99.9; misses: packets per million that took longer than they last, or, paced, came a "
        "packet or more late",
        left=(0, 1),
    )
    for row in report.rows:
        answer = row.times.get("answer")
        machine = row.times.get("null_answer", row.times["null_loop"])
        table.add(
            row.settings.name,
            row.mode,
            *(_cells(row.times["concealed"]) if "concealed" in row.times else ["-"] * 5),
            _cell(row.times["good"].p99_ms) if "good" in row.times else "-",
            _cell(answer.p99_ms) if answer else "-",
            _cell(machine.p99_9_ms),
            f"{row.misses_per_million:.0f}",
        )
    return table


def _cells(times: Times) -> list[str]:
    values = (times.p50_ms, times.p95_ms, times.p99_ms, times.p99_9_ms, times.max_ms)
    return [_cell(value) for value in values]


def _cell(value_ms: float) -> str:
    """Return three significant digits, with a resolution of 0.1 µs."""
    if not math.isfinite(value_ms):
        return "-"
    return f"{value_ms:.4f}" if value_ms < 0.1 else f"{value_ms:.3f}"
