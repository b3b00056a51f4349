"""Colours, dashes and markers that tell the series of a chart apart.

Series ``k`` has a colour, a marker and a dash. Any two of the first :data:`DISTINCT` differ in at
least two of the three, so that neither a colour-blind reader nor a grey print mixes them up::

    k         0 … 7    8 … 15   16 … 23   24 … 31
    colour    k mod 8
    dash      none     long     short     both
    marker    k mod 8, begun three later with each dash

The colours are those of Okabe and Ito ("Color Universal Design", 2008) without black and yellow,
which vanish on one of the two grounds, and with an olive and a grey in their place; the page has
its own for a dark ground, in the same order.
"""

from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a6548a", "#c98500", "#2f8fc7", "#6b6b00", "#5a616d")
# Lengths of dash and space in line widths; none is a solid line.
DASHES: tuple[tuple[int, ...], ...] = ((), (9, 4), (3, 3), (9, 3, 2, 3))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DISTINCT = len(COLOURS) * len(DASHES)

# A bar has a hatch in place of a dash.
_HATCHES = ("", "//", "..", "xx")


def line_style(k: int) -> dict[str, Any]:
    """Return matplotlib's arguments of ``plot`` for series ``k``."""
    round_number = k // len(COLOURS)
    dashes = DASHES[round_number % len(DASHES)]
    return {
        "color": COLOURS[k % len(COLOURS)],
        "linestyle": (0, dashes) if dashes else "-",
        "marker": MARKERS[(k + 3 * round_number) % len(MARKERS)],
    }


def bar_style(k: int) -> dict[str, Any]:
    """Return matplotlib's arguments of ``bar`` for series ``k``."""
    hatch = _HATCHES[k // len(COLOURS) % len(_HATCHES)]
    return {"color": COLOURS[k % len(COLOURS)], "hatch": hatch, "edgecolor": "white"}
