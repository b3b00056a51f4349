"""How the series of a chart are told apart, on a page and in a picture.

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
# Lengths of dash and space in the units of a chart; none is a whole line.
DASHES: tuple[tuple[int, ...], ...] = ((), (9, 4), (3, 3), (9, 3, 2, 3))
# matplotlib's names; the page draws each as a path (:func:`marker_path`).
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DISTINCT = len(COLOURS) * len(DASHES)

# What fills a bar in place of a dash.
_HATCHES = ("", "//", "..", "xx")
_PATHS = {
    "o": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
    "s": "m-3 -3h6v6h-6z",
    "^": "m0 -4l4 7h-8z",
    "D": "m0 -4l4 4l-4 4l-4 -4z",
    "v": "m0 4l4 -7h-8z",
    "P": "m-1 -4h2v3h3v2h-3v3h-2v-3h-3v-2h3z",
    "X": "m-4 -2.5l1.5 -1.5l2.5 2.5l2.5 -2.5l1.5 1.5l-2.5 2.5l2.5 2.5l-1.5 1.5l-2.5 -2.5"
    "l-2.5 2.5l-1.5 -1.5l2.5 -2.5z",
    "*": "m0 -4.5l1.2 3h3.2l-2.5 2.1l0.9 3.2l-2.8 -1.9l-2.8 1.9l0.9 -3.2l-2.5 -2.1h3.2z",
}


def colour(k: int) -> int:
    """Return which of the colours series ``k`` has."""
    return k % len(COLOURS)


def dash(k: int) -> tuple[int, ...]:
    """Return the dash of series ``k``: lengths of line and space in turn; empty: a whole line."""
    return DASHES[k // len(COLOURS) % len(DASHES)]


def marker(k: int) -> str:
    """Return the marker of series ``k``, one of :data:`MARKERS`."""
    return MARKERS[(k + 3 * (k // len(COLOURS))) % len(MARKERS)]


def marker_path(k: int) -> str:
    """Return the marker of series ``k`` as an SVG path from its middle on."""
    return _PATHS[marker(k)]


def line_style(k: int) -> dict[str, Any]:
    """Return how matplotlib draws series ``k``: arguments of ``plot``."""
    dashes = dash(k)
    return {
        "color": COLOURS[colour(k)],
        "linestyle": (0, dashes) if dashes else "-",
        "marker": marker(k),
    }


def bar_style(k: int) -> dict[str, Any]:
    """Return how matplotlib fills the bars of series ``k``: arguments of ``bar``."""
    hatch = _HATCHES[k // len(COLOURS) % len(_HATCHES)]
    return {"color": COLOURS[colour(k)], "hatch": hatch, "edgecolor": "white"}
