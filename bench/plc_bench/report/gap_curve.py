"""Quality over the length of a gap: the curves of ``plc bench inpaint --gap-ms 10,20,40,64``."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from plc.apps.picture import blank_figure
from plc.errors import ConfigError
from plc_bench.gaps.twosided import InpaintReport
from plc_bench.report.palette import line_style

_SCORES = (("snr_db", "SNR of the samples (dB)"), ("snr_ms_db", "SNR_MS (dB)"))


def curve_table(reports: Sequence[InpaintReport]) -> Table:
    """Return each method's scores at each length of gap: SNR_MS, where it has none SNR."""
    methods = reports[0].settings.methods
    first = methods[0]
    table = Table(title=f"SNR_MS in dB over the length of the gap, and over {first}")
    table.add_column("gap")
    for method in methods:
        table.add_column(method, justify="right")
    for report in reports:
        score = "snr_ms_db" if report.settings.has_frame else "snr_db"
        cells = []
        for method in methods:
            mean = f"{report.summary(method, score).mean:.2f}"
            if method != first:
                mean += f" ({report.difference(method, score).mean:+.2f})"
            cells.append(mean)
        of = "" if report.settings.has_frame else ", SNR of the samples"
        table.add_row(f"{report.settings.gap_ms:g} ms{of}", *cells)
    return table


def draw_curves(reports: Sequence[InpaintReport], path: Path) -> None:
    """Draw both scores over the length of the gap, a curve for each method; PNG, SVG or PDF.

    Raises
    ------
    MissingExtraError
        If matplotlib is missing.
    ConfigError
        If ``path`` cannot be written.
    """
    figure = blank_figure(10.0, 4.0)
    for k, (score, label) in enumerate(_SCORES):
        axes = figure.add_subplot(1, 2, 1 + k)
        shown = [r for r in reports if score == "snr_db" or r.settings.has_frame]
        for number, method in enumerate(reports[0].settings.methods):
            axes.plot(
                [report.settings.gap_ms for report in shown],
                [report.summary(method, score).mean for report in shown],
                label=method,
                **line_style(number),
            )
        axes.set_xlabel("length of the gap (ms)")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:  # ValueError: an ending that is no format
        raise ConfigError(f"cannot write {path}: {error}") from error
