"""A relay's streams in the terminal, a row for each: levels, losses, concealment, delays."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from plc.errors import printable
from plc.transport.live.meters import meter, open_display
from plc.transport.relay.keeper import state_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from plc.transport.relay.relay import Lane, Relay

_METER_WIDTH = 12
_STYLES = {"playing": "green", "waiting": "dim", "outage": "red", "ending": "yellow"}


def render_relay(relay: "Relay", now_s: float) -> "RenderableType":
    """Return the view of a relay's streams as they are."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("stream", "", "level"):
        table.add_column(heading, no_wrap=True)
    for heading in ("in", "lost", "late", "bursts", "concealed", "delay", "target", "out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for lane in relay.lanes:
        table.add_row(*_row(lane, now_s))
    return table


def _row(lane: "Lane", now_s: float) -> list["RenderableType"]:
    from rich.text import Text

    stream, state = lane.stream, state_of(lane, now_s)
    playout = stream.playout
    received, concealed = playout.received, playout.concealment
    lost = 100.0 * received.lost_packets / max(1, received.packets_expected)
    made = 100.0 * concealed.concealed_samples / max(1, concealed.total_samples_received)
    delay_ms = 1000.0 * max(0.0, playout.delay_s)
    target_ms = 1000.0 * playout.buffer.receiver.target_s
    return [
        Text(printable(lane.name)),
        Text(state, style=_STYLES[state]),
        meter(stream.peak.level, _METER_WIDTH),
        str(received.packets_received),
        f"{lost:.1f} %",
        str(received.late_packets),
        str(concealed.concealment_events),
        f"{made:.1f} %",
        f"{delay_ms:.0f} ms",
        f"{target_ms:.0f} ms",
        str(stream.stats.packets_sent),
    ]


@contextlib.contextmanager
def open_relay_view(stream: TextIO) -> Iterator[Callable[["Relay"], None]]:
    """Open the view on a terminal; yield a function that draws a relay."""
    with open_display(stream) as draw:
        yield lambda relay: draw(render_relay(relay, time.monotonic()))
