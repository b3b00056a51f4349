"""Charts of results: picture files, and SVG text for the report's page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from plc_bench.base.rows import OWN_DECODE
from plc_bench.gaps.twosided import InpaintReport
from plc_bench.quality.study import GAP_METRICS, Study
from plc_bench.quality.summary import gap_curve
from plc_bench.report.panels import Curve, Panel, figure_of, line_style, save, svg
from plc_bench.robust.receiver import Reception
from plc_bench.scores import registry

# Fewest gaps behind a point of a study's picture.
LEAST_GAPS = 12
_INPAINT_SCORES = (("snr_db", "SNR of the samples (dB)"), ("snr_ms_db", "SNR_MS (dB)"))

_PAGE_INCHES = (9.0, 3.8)


def draw_curves(path: Path, study: Study) -> None:
    """Draw NMSE and LSD over the length of the gap (PNG, SVG, PDF).

    Raises
    ------
    MissingExtraError
        If matplotlib is missing.
    ConfigError
        If ``path`` cannot be written.
    """
    # Of a codec what is compared with its own decode, which its coding does not lower.
    shown = [name for name in study.methods if name + OWN_DECODE not in study.methods]
    names = {name: name.removesuffix(OWN_DECODE) for name in shown}
    panels = [_gap_panel(study, names, metric, LEAST_GAPS) for metric in GAP_METRICS]
    save(figure_of(panels), path)


def gap_chart(study: Study, metric: str, title: str) -> str:
    """Return a metric over the length of the gap as SVG; empty without scores."""
    panel = _gap_panel(study, {name: name for name in study.methods}, metric, bands=True)
    return svg(figure_of([panel], _PAGE_INCHES), title) if panel.curves else ""


def draw_inpainting(path: Path, reports: Sequence[InpaintReport]) -> None:
    """Draw SNR and SNR_MS over the gap length (PNG, SVG, PDF); raise as :func:`draw_curves`."""
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
    """Draw PESQ, or else made-up sound, over the mean delay; raise as :func:`draw_curves`."""
    scored = not any(math.isnan(each.pesq) for each in results)
    label = "PESQ (higher is better)" if scored else "made up (ms)"
    panels = []
    for name in dict.fromkeys(each.schedule for each in results):
        curves = []
        for number, receiver in enumerate(("plc", "neteq")):
            rows = [row for row in results if (row.schedule, row.receiver) == (name, receiver)]
            x = [row.delay_ms for row in rows]
            y = [row.pesq if scored else row.made_up_ms for row in rows]
            curves.append(Curve(receiver, line_style(number), x, y))
        panels.append(Panel(curves, "mean delay (ms)", label, name))
    save(figure_of(panels), path)


def _gap_panel(
    study: Study, names: Mapping[str, str], metric: str, least_gaps: int = 1, *, bands: bool = False
) -> Panel:
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
