"""Charts of results: picture files, and SVG text for the report's page.

Latency stands over rarity, as HdrHistogram draws it: a logarithmic axis on which 50 %, 90 %,
99 %, … are equally far apart.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plc.engine.stats import TimeHistogram
from plc.errors import ConfigError
from plc.files.pages.picture import blank_figure
from plc_bench.base.compare import summarise
from plc_bench.gaps.twosided import InpaintReport
from plc_bench.quality.study import Study
from plc_bench.quality.summary import gap_curve
from plc_bench.report.panels import Curve, Panel, bar_style, figure_of, line_style, save, svg
from plc_bench.robust.receiver import Reception
from plc_bench.scores import registry
from plc_bench.timing.latency import KINDS, LatencyReport, LatencyRow
from plc_bench.timing.latency_compare import read_report
from plc_bench.timing.latency_tables import missed
from plc_bench.timing.measure import merged, rarity_curve

# Metrics of a study's picture, and the fewest gaps behind a point of it.
CURVES = ("nmse", "lsd")
LEAST_GAPS = 12

_PAGE_INCHES = (9.0, 3.8)
# More curves in a panel are a tangle.
_MOST_CURVES = 10
_GREY = "#8a8f98"
_INPAINT_SCORES = (("snr_db", "SNR of the samples (dB)"), ("snr_ms_db", "SNR_MS (dB)"))
# The same in every panel, whichever of them it has.
_LATENCY_STYLES = {
    KINDS["good"]: line_style(0),
    KINDS["concealed"]: line_style(1),
    KINDS["answer"]: line_style(2),
    KINDS["late"]: line_style(3),
    KINDS["peer_good"]: line_style(4),
    KINDS["peer_concealed"]: line_style(5),
    KINDS["null_loop"]: {"color": _GREY, "linestyle": "--"},
    KINDS["null_answer"]: {"color": _GREY, "linestyle": ":"},
}


def draw_study(path: Path, study: Study, names: Mapping[str, str], title: str) -> None:
    """Draw a study: curves over the length of the gap, or PLCMOS bars.

    Parameters
    ----------
    path : Path, the picture
    study : Study, the scores
    names : mapping from str to str
        Legend by method, in the order to draw.
    title : str, title of the picture

    Raises
    ------
    MissingExtraError
        If matplotlib is missing.
    ConfigError
        If ``path`` cannot be written.
    """
    if "plcmos" in study.settings["metrics"]:
        figure = _bars(study, names)
        figure.suptitle(title)
    else:
        panels = [_gap_panel(study, names, metric, LEAST_GAPS) for metric in CURVES]
        figure = figure_of(panels, title=title)
    save(figure, path)


def gap_chart(study: Study, metric: str, title: str) -> str:
    """Return a metric over the length of the gap as SVG; empty without scores."""
    panel = _gap_panel(study, {name: name for name in study.methods}, metric, bands=True)
    return svg(figure_of([panel], _PAGE_INCHES), title) if panel.curves else ""


def draw_inpainting(path: Path, reports: Sequence[InpaintReport]) -> None:
    """Draw SNR and SNR_MS over the gap length (PNG, SVG, PDF); raise as :func:`draw_study`."""
    panels = []
    for score, label in _INPAINT_SCORES:
        shown = [each for each in reports if score == "snr_db" or each.settings.has_frame]
        lengths = [each.settings.gap_ms for each in shown]
        curves = [
            Curve(
                method,
                line_style(number),
                lengths,
                [each.summary(method, score).mean for each in shown],
            )
            for number, method in enumerate(reports[0].settings.methods)
        ]
        panels.append(Panel(curves, "length of the gap (ms)", label))
    save(figure_of(panels), path)


def draw_receivers(path: Path, results: Sequence[Reception]) -> None:
    """Draw made-up sound over the mean delay, by schedule; raise as :func:`draw_study`."""
    panels = []
    for name in dict.fromkeys(each.schedule for each in results):
        curves = []
        for number, receiver in enumerate(("plc", "neteq")):
            rows = [row for row in results if (row.schedule, row.receiver) == (name, receiver)]
            x, y = [row.delay_ms for row in rows], [row.made_up_ms for row in rows]
            curves.append(Curve(receiver, line_style(number), x, y))
        panels.append(Panel(curves, "mean delay (ms)", "made up (ms)", name))
    save(figure_of(panels), path)


def draw_latency(path: Path, report: LatencyReport) -> None:
    """Draw latency over rarity, a panel for each mode.

    One combination: all kinds of calls. Several: lost packets of each, or the time from the loss
    to the audio where calls are paced, and the null loop of the first.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ConfigError
        If nothing was measured, or ``path`` cannot be written.
    """
    found = {title: curves for title, curves in panels_of(report.rows).items() if curves}
    if not found:
        raise ConfigError("nothing was measured, so there is no picture")
    panels = [_latency_panel(title, curves) for title, curves in found.items()]
    title = f"{report.machine['cpu']}, {report.machine['system']}"
    save(figure_of(panels, title=title), path)


def latency_section(folder: Path) -> str:
    """Return the charts of every ``latency*.json`` in a folder as HTML; empty without any.

    Raises
    ------
    ConfigError
        If a file is not what ``plc bench latency --save`` writes.
    """
    figures = []
    for path in sorted(folder.glob("latency*.json")):
        report = read_report(path)
        try:
            figures += [_row_html(path.stem, row, report["machine"]) for row in report["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} is not what plc bench latency --save writes ({error!r})"
            ) from error
    if not figures:
        return ""
    note = "Time of a call by percentile. The null loop only copies a packet: it shows the machine."
    return (
        f'<section id="latency"><h2>Time in push</h2><p class="note">{note}</p>'
        f"{''.join(figures)}</section>"
    )


def panels_of(rows: Sequence[LatencyRow]) -> dict[str, dict[str, TimeHistogram]]:
    """Return a latency picture's histograms, by panel and curve."""
    if len({row.settings for row in rows}) == 1:
        return {f"{row.mode}: {row.settings.name}": _by_kind(row.histograms) for row in rows}
    panels: dict[str, dict[str, TimeHistogram]] = {}
    for row in rows:
        kind = "answer" if "answer" in row.histograms else "concealed"
        curves = panels.setdefault(f"{row.mode}: {KINDS[kind]}", {})
        if not curves:
            null = "null_answer" if "null_answer" in row.histograms else "null_loop"
            curves[KINDS[null]] = merged(row.histograms[null])
        if kind in row.histograms and len(curves) <= _MOST_CURVES:
            curves[row.settings.name] = merged(row.histograms[kind])
    return panels


def rarity_ticks(rarest: int) -> list[tuple[float, str]]:
    """Return axis ticks of the percentiles 0, 50, 90, 99, …."""
    decades = max(1, math.ceil(math.log10(max(rarest, 2))))
    nines = [(10.0**k, f"{100 - 10.0 ** (2 - k):.{max(0, k - 2)}f} %") for k in range(decades + 1)]
    return [nines[0], (2.0, "50 %"), *nines[1:]]


def _gap_panel(
    study: Study,
    names: Mapping[str, str],
    metric: str,
    least_gaps: int = 1,
    *,
    bands: bool = False,
) -> Panel:
    """Return a metric over the length of the gap, by method."""
    curves = []
    for number, (method, name) in enumerate(names.items()):
        points = [one for one in gap_curve(study, method, metric) if one.gaps >= least_gaps]
        if not points:
            continue
        style = line_style(number) | {"linewidth": 2.2 if number == 0 else 1.3}
        x, y = [one.gap_ms for one in points], [one.mean for one in points]
        low, high = ([one.low for one in points], [one.high for one in points])
        curves.append(Curve(name, style, x, y, *((low, high) if bands else ())))
    return Panel(curves, "length of the gap (ms)", f"{registry.label(metric)} (lower is better)")


def _latency_panel(title: str, curves: Mapping[str, TimeHistogram]) -> Panel:
    lines = []
    for number, (name, histogram) in enumerate(curves.items()):
        rarity, took_ms = rarity_curve(histogram)
        lines.append(Curve(name, _LATENCY_STYLES.get(name) or line_style(number), rarity, took_ms))
    rarest = max(histogram.total for histogram in curves.values())
    return Panel(lines, "percentile", "time of a call (ms)", title, rarity_ticks(rarest))


def _row_html(name: str, row: Mapping[str, Any], machine: Mapping[str, str]) -> str:
    """Return a latency report's row as a figure of the page."""
    settings = row["settings"]
    title = (
        f"{name}, {row['mode']}: {settings['method']}, {settings['sample_rate']} Hz, "
        f"{settings['channels']} ch, {settings['packet_ms']:g} ms packets; "
        f"{row['deadline_misses']} of {row['pushes']} packets {missed(row['mode'])}; "
        f"{machine['cpu']}"
    )
    panel = _latency_panel("", _by_kind(row["histograms"]))
    chart = svg(figure_of([panel], _PAGE_INCHES), title)
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>"


def _by_kind(histograms: Mapping[str, Sequence[TimeHistogram]]) -> dict[str, TimeHistogram]:
    return {KINDS[kind]: merged(histograms[kind]) for kind in KINDS if histograms.get(kind)}


def _bars(study: Study, names: Mapping[str, str]) -> Any:
    """Draw the mean PLCMOS of each method, a bar for each condition."""
    conditions = study.conditions
    figure = blank_figure(8.0, 1.2 + 0.22 * len(names) * (1 + 0.6 * (len(conditions) - 1)))
    panel = figure.subplots()
    height = 0.8 / len(conditions)
    for place, condition in enumerate(conditions):
        rows = [row for row in study.rows if row.condition == condition.name]
        values = [
            summarise([row.scores["plcmos"] for row in rows if row.method == method]).mean
            for method in names
        ]
        at = [number + place * height for number in range(len(names))]
        label = condition.name if condition.trace else f"{100 * condition.loss:g} % lost"
        bars = panel.barh(at, values, height=0.9 * height, label=label, **bar_style(place))
        panel.bar_label(bars, fmt="%.2f", fontsize="x-small", padding=2)
    middle = 0.5 * (len(conditions) - 1) * height
    panel.set_yticks([number + middle for number in range(len(names))], list(names.values()))
    panel.invert_yaxis()
    panel.set_xlim(1.0, 5.0)
    panel.set_xlabel("PLCMOS (higher is better)")
    figure.legend(loc="outside right upper", frameon=False)
    return figure
