"""Meters of a live stream in the terminal: levels, losses, rungs, delays, devices."""

import contextlib
import math
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from plc.engine.stream.stats import TimeHistogram
from plc.errors import printable
from plc.transport.live.ends import DeviceSource

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from plc.transport.cards.devices import DevicePort
    from plc.transport.live.live import Live

_WIDTH = 30
_FLOOR_DB = -60.0
# From here on a level is near clipping.
_LOUD_DB = -6.0
_REFRESH_HZ = 8


def level_db(level: float) -> float:
    """Return a linear level in dB of full scale, at least -60."""
    return max(_FLOOR_DB, 20.0 * math.log10(level)) if level > 0.0 else _FLOOR_DB


def meter(level: float, width: int = _WIDTH) -> "Text":
    """Return a bar of ``width`` characters for a linear level."""
    from rich.text import Text

    db = level_db(level)
    filled = min(width, round(width * (db - _FLOOR_DB) / -_FLOOR_DB))
    colour = "red" if level >= 1.0 else "yellow" if db > _LOUD_DB else "green"
    bar = Text("█" * filled, style=colour) + Text("·" * (width - filled), style="dim")
    return bar + Text(f" {db:5.1f} dB")


def render(live: "Live") -> "RenderableType":
    """Return the view of a stream as it is."""
    from rich.table import Table

    engine = live.engine
    playout, stats = engine.playout, engine.stats
    received, concealed = playout.received, playout.concealment
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    captured = engine.source if engine.sender is None else engine.sender.source
    if isinstance(captured, DeviceSource):
        table.add_row("input", meter(captured.peak.level))
    table.add_row("output", meter(engine.sink.peak.level))
    for port in live.ports:
        table.add_row("from" if port.is_input else "to", _device(port))
    if engine.sender is not None:
        table.add_row("sent", f"{engine.sender.packets} packets to {engine.sender.to}")
    expected = max(1, received.packets_expected)
    table.add_row(
        "packets",
        f"{received.packets_received} in, {received.lost_packets} lost "
        f"({100.0 * received.lost_packets / expected:.1f} %), {received.late_packets} late, "
        f"{received.reordered_packets} reordered",
    )
    rungs = {name: n for name, n in dict(concealed.rung_samples).items() if n}
    made = max(1, sum(rungs.values()))
    shares = ", ".join(f"{name} {100.0 * n / made:.0f} %" for name, n in rungs.items())
    bursts = f"{concealed.concealment_events} bursts: {shares or 'nothing so far'}"
    if not playout.conceals:
        bursts = "OFF, lost packets are silent; key c: on"
    table.add_row("concealed", bursts)
    stream, delay = engine.config.receiver.stream, engine.config.receiver.delay
    misses = f"{concealed.deadline_misses} over the limit of {stream.time_limit_ms:.2f} ms"
    table.add_row("concealing", f"{_times(concealed.concealed_time)}; {misses}")
    table.add_row("delay", f"{_times(stats.delay)}{_latencies(live.ports)}")
    length = f"{stream.packet_ms:g} ms ({stream.packet_samples} samples)"
    table.add_row("packets of", f"{length}; delay at most {delay.max_delay_ms:g} ms")
    reserve_ms, starved = 1000.0 * engine.sink.reserve_s, stats.starved_samples
    table.add_row("reserve", f"{reserve_ms:.0f} ms kept ready; {starved} samples not in time")
    ppm = 1e6 * (playout.buffer.receiver.step - 1.0)
    table.add_row("clocks", f"{ppm:+.0f} ppm, {live.scheduling} scheduling")
    switch = "concealment off" if playout.conceals else "concealment on"
    table.add_row("keys", f"c: {switch}; Ctrl-C: play the received packets, then end")
    return table


def _device(port: "DevicePort") -> "Text":
    from rich.text import Text

    stream, counted = port.stream, port.stats
    if stream is None:
        away = port.away_since_s is not None
        text = f"{port.name}: away. {port.latest_error}" if away else f"{port.name}: closed"
        return Text(printable(text), style="red" if away else "dim")
    text = f"{printable(port.name)}: {stream.sample_rate} Hz, {stream.channels} ch"
    troubles = f", {counted.breaks} xruns, {counted.losses} times lost"
    return Text(text) + Text(troubles, style="yellow" if counted.breaks + counted.losses else "dim")


def _latencies(ports: "Sequence[DevicePort]") -> str:
    latencies_s = [port.stream.latency_s for port in ports if port.stream is not None]
    return f"; the cards add {1000.0 * sum(latencies_s):.0f} ms" if latencies_s else ""


def _times(times: TimeHistogram) -> str:
    p50, p99 = times.percentile_ms(50.0), times.percentile_ms(99.0)
    return f"{p50:.2f} ms, p99 {p99:.2f}, max {times.max_ms:.2f}"


@contextlib.contextmanager
def open_view(stream: TextIO) -> Iterator[Callable[["Live"], None]]:
    """Open the view on a terminal; yield a function that draws a stream."""
    with open_display(stream) as draw:
        yield lambda live: draw(render(live))


@contextlib.contextmanager
def open_display(stream: TextIO) -> Iterator[Callable[["RenderableType"], None]]:
    """Open a display that stays in its place; yield a function that draws."""
    from rich.console import Console
    from rich.live import Live as Display

    console = Console(file=stream, highlight=False, markup=False)
    display = Display(console=console, refresh_per_second=_REFRESH_HZ, auto_refresh=False)
    with display:
        yield lambda shown: display.update(shown, refresh=True)


_KEYS_MAX = 64


@contextlib.contextmanager
def open_keys() -> Iterator[Callable[[], str] | None]:
    """Read keys without Enter; yield a function that returns those pressed since.

    None where there is no terminal to read from, and on Windows. Ctrl-C stays what it is.
    """
    try:
        import termios
        import tty
    except ImportError:
        yield None
        return
    try:
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
    except (termios.error, ValueError, OSError, AttributeError):
        yield None
        return
    tty.setcbreak(number, termios.TCSANOW)

    def pressed() -> str:
        if not select.select([number], [], [], 0.0)[0]:
            return ""
        return os.read(number, _KEYS_MAX).decode(errors="replace")

    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSANOW, before)
