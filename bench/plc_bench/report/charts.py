"""Charts of results: picture files, and SVG text for the report's page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plc.files.pages.picture import blank_figure
from plc_bench.base.compare import summarise
from plc_bench.quality.study import Study
from plc_bench.quality.summary import gap_curve
from plc_bench.report.panels import Curve, Panel, bar_style, figure_of, line_style, save, svg
from plc_bench.robust.receiver import Reception
from plc_bench.scores import registry

# Metrics of a study's picture, and the fewest gaps behind a point of it.
CURVES = ("nmse", "lsd")
LEAST_GAPS = 12

_PAGE_INCHES = (9.0, 3.8)


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
