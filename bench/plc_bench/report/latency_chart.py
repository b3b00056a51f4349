"""Measurements of latency as a section of the report's page."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from plc.errors import ConfigError
from plc_bench.report.chart import Axis, Series, decade_ticks, line_chart
from plc_bench.timing.latency import KINDS
from plc_bench.timing.latency_compare import read_report
from plc_bench.timing.latency_tables import missed
from plc_bench.timing.times import merged, rarity_curve


def latency_section(folder: Path) -> str:
    """Return the charts of every ``latency*.json`` in a folder as HTML; nothing without any.

    Raises
    ------
    ConfigError
        If one is not what ``plc bench latency --json`` writes.
    """
    figures = []
    for path in sorted(folder.glob("latency*.json")):
        report = read_report(path)
        try:
            figures += [_figure(path.stem, row, report["machine"]) for row in report["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} is not what plc bench latency --json writes ({error!r})"
            ) from error
    if not figures:
        return ""
    note = (
        "How long one call in so many takes at least. The null loop only copies a packet: what it "
        "shows is the machine."
    )
    return (
        f'<section id="latency"><h2>Time in push</h2><p class="note">{note}</p>'
        f"{''.join(figures)}</section>"
    )


def _figure(name: str, row: Mapping[str, Any], machine: Mapping[str, str]) -> str:
    """Return one row's times over their rarity."""
    series = []
    for number, (kind, label) in enumerate(KINDS.items()):
        histograms = row["histograms"].get(kind, [])
        if histograms:
            rarity, took_ms = rarity_curve(merged(histograms))
            series.append(Series(label, number, rarity, took_ms))
    every = [value for one in series for value in one.y]
    rarest = max(value for one in series for value in one.x)
    settings = row["settings"]
    title = (
        f"{name}, {row['mode']}: {settings['method']}, {settings['sample_rate']} Hz, "
        f"{settings['channels']} ch, {settings['packet_ms']:g} ms packets; "
        f"{row['deadline_misses']} of {row['pushes']} packets {missed(row['mode'])}; "
        f"{machine['cpu']}"
    )
    chart = line_chart(
        series,
        Axis("one call in …", decade_ticks(1.0, rarest), True),
        Axis("ms", decade_ticks(min(every), max(every)), True),
        title,
    )
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>"
